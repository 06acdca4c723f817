"""`tillctl verify`: checks usage records offline, and the chain that they are."""

import argparse
import json
from pathlib import Path
from typing import Any

from evtill.core.errors import SignatureError
from tillctl import amounts, sources
from tillctl.chain import follow
from tillctl.explain import explain
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey
from tillctl.tariff_file import TariffFile, TariffFiles
from tillctl.verify import FAIL, OK, SKIPPED, Check, Verified, verify

_EXPLAINED = 20  # records: each may take two seconds


def add_parser(commands: Any) -> None:
    """Registers `verify` with argparse's subparsers."""
    parser = commands.add_parser(
        "verify", help="check usage records offline", description="Checks usage records from the "
        "charger's public key alone, one line a check with what it proves; with several, the chain "
        "that they are. Exit code 0 when everything holds.",
        epilog="Of a record that is not as signed, it says which bytes are not, as far as that can "
        "be known: beside a copy that is as signed (--against, or one among the records), by "
        "undoing what was changed (one bit anywhere, one digit, whatever the OCMF string says "
        "otherwise), or else which signature covers which bytes and which of them fails.",
    )  # fmt: skip
    parser.add_argument("record", nargs="+", metavar="RECORD",
                        help="a file with a usage record (JWS) or one a line, a folder of such "
                        "(*.jws, *.jsonl), or tillback's database (sqlite:///FILE)")  # fmt: skip
    add_keys(parser)
    parser.add_argument("--meter-key", type=Path, metavar="FILE",
                        help="the public key of a meter that signs: PEM, JWK or hex")
    tariff = parser.add_mutually_exclusive_group()
    tariff.add_argument(
        "--tariff", action="append", type=Path, metavar="FILE", default=[],
        help="the tariff: OCPI JSON or a compiled table; may be repeated",
    )  # fmt: skip
    tariff.add_argument("--no-tariff", action="store_true", help="do without the bill's check")
    parser.add_argument("--timezone", metavar="NAME",
                        help="an OCPI tariff's (default: the one that fits)")  # fmt: skip
    parser.add_argument(
        "--against", action="append", metavar="RECORD", default=[],
        help="where a copy may be, to name the bytes that were changed",
    )  # fmt: skip
    parser.add_argument(
        "--all", action="store_true",
        help="every check of every record, of folders and databases too",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def add_keys(parser: argparse.ArgumentParser) -> None:
    """The options that open() takes."""
    parser.add_argument(
        "--key", action="append", type=Path, metavar="FILE", default=[],
        help="the charger's public record key: PEM, JWK, hex or provisioning's file; may be "
        "repeated. Default: what a database has registered",
    )  # fmt: skip
    parser.add_argument("--charger", metavar="ID", help="of a database, only this one's")


def open_sources(args: argparse.Namespace) -> tuple[sources.Found, KeyRing]:
    """What `args` name, with the keys to verify it. Raises EvtillError."""
    found = sources.read(args.record, args.charger)
    given: list[tuple[str | None, PublicKey]] = [(None, PublicKey.read(path)) for path in args.key]
    roots = given or list(found.keys)
    if not roots:
        raise SignatureError("--key is needed: the charger's public record key")
    return found, KeyRing(roots, found.rotations)


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when every check holds. Raises EvtillError for what cannot be read."""
    found, ring = open_sources(args)
    tariff = None
    if args.tariff:
        tariff = TariffFiles([TariffFile(path, args.timezone) for path in args.tariff])
    copies = sources.read(args.against).records if args.against else []
    meter_key = PublicKey.read(args.meter_key) if args.meter_key else None
    records = [verify(one, ring, tariff, meter_key) for one in found.records]
    is_chain = len(records) > 1 or found.rotations
    chains = follow(records, ring) if is_chain else {}
    rotations = [Check("rotation", FAIL, fault) for fault in ring.faults]
    explained = _explained(records, copies)
    good = all(one.holds(args.no_tariff) for one in records) and not rotations
    good = good and all(check.result != FAIL for found in chains.values() for check in found)
    if args.json:
        print(json.dumps(_as_json(records, explained, chains, rotations, good), indent=1))
        return 0 if good else 1
    for one in records:
        if found.whole and not args.all:
            _print_brief(one, args.no_tariff)
        else:
            prefix = f"{one.name}  " if len(records) > 1 else ""
            for check in one.checks:
                print(prefix + str(check))
        for line in explained.get(id(one), ()):
            print(f"       {line}")
    for charger, checks in chains.items():
        prefix = f"{charger or 'unreadable'}  " if len(chains) > 1 else ""
        for check in checks:
            print(prefix + str(check))
    for check in rotations:
        print(check)
    if found.whole:
        bad = sum(not one.holds(True) for one in records)
        print(f"{len(records)} records, {bad} of them not good; the chain is "
              f"{'BROKEN' if _is_broken(chains, rotations) else 'whole'}")  # fmt: skip
        if not args.tariff and not args.no_tariff:
            print("the bills were not recomputed: give --tariff, or do without by --no-tariff")
    return 0 if good else 1


def _is_broken(chains: dict[str, list[Check]], rotations: list[Check]) -> bool:
    failing = (check.result == FAIL for checks in chains.values() for check in checks)
    return bool(rotations) or any(failing)


def _print_brief(one: Verified, without_tariff: bool) -> None:
    """A record on one line, and a line for each of its checks that does not hold."""
    state = OK if one.holds(without_tariff) else SKIPPED[:4] if one.holds(True) else FAIL
    if one.record is None:
        print(f"{state:4} {one.name}")
    else:
        found = one.record
        cost = amounts.money(found["total_cost"]["incl_minor"], found["currency"])
        told = " ".join([found["stop_reason"], *found["flags"]])
        print(f"{state:4} {one.name}  {found['start_date_time']}  "
              f"{amounts.energy(found['total_energy_wh']):>12}  {cost:>10}  {told}")  # fmt: skip
    for check in one.checks:
        if check.result == FAIL:
            print(f"       {check}")


def _explained(records: list[Verified], copies: list[bytes]) -> dict[int, list[str]]:
    """{id of one: lines} for records that are not as signed."""
    whole = [one for one in records if one.is_signed]
    after = {one.record["seq"] + 1: one.sha256 for one in whole if one.record}
    copies = [*copies, *(one.jws for one in whole)]
    found = {}
    for one in [one for one in records if not one.is_signed][:_EXPLAINED]:
        seq = one.record["seq"] if one.record else None
        found[id(one)] = explain(one.jws, one.key, copies, after.get(seq))
    return found


def _as_json(
    records: list[Verified], explained: dict[int, list[str]], chains: dict[str, list[Check]],
    rotations: list[Check], good: bool,
) -> dict[str, Any]:  # fmt: skip
    def plain(check: Check) -> dict[str, str | None]:
        return {"check": check.name, "result": check.result.lower(), "text": check.text,
                "proves": check.proves}  # fmt: skip

    return {
        "ok": good,
        "records": [
            {"id": one.record["id"] if one.record else None, "sha256": one.sha256,
             "checks": [plain(check) for check in one.checks],
             "not_as_signed": explained.get(id(one), [])}
            for one in records
        ],
        "chains": {charger: [plain(check) for check in found] for charger, found in chains.items()},
        "rotations": [plain(check) for check in rotations],
    }  # fmt: skip
