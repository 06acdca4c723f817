"""`tillctl verify`: what a usage record proves, checked offline from the charger's public key."""

import argparse
import contextlib
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evtill.core import bill, jws, record_check
from evtill.core.errors import EvtillError, RecordError, SignatureError
from evtill.core.tariff import Tariff
from tillctl import reprice
from tillctl.amounts import money
from tillctl.public_key import OpenSsl, PublicKey
from tillctl.tariff_file import TariffFile
from tillctl.tariff_model import minor_digits

OK, FAIL, SKIPPED = "ok", "FAIL", "skipped"
_FILE_MAX = 256 * 2**20  # bytes


@dataclass(frozen=True)
class Check:
    """One line of the answer: what was checked, whether it holds, and what it was found to be."""

    name: str
    result: str
    text: str

    def __str__(self) -> str:
        return f"{self.result:4} {self.name}: {self.text}"


@dataclass
class Verified:
    """A record and its checks. `record`: None when its payload cannot be read."""

    jws: bytes
    sha256: str
    record: dict[str, Any] | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The record's id, or the beginning of its hash."""
        return str(self.record["id"]) if self.record else self.sha256[:12]

    def holds(self, without_tariff: bool = False) -> bool:
        """Whether every check holds; those that need the tariff may be waived."""
        good = (OK, SKIPPED) if without_tariff else (OK,)
        return all(check.result in good for check in self.checks)


def verify(published: bytes, key: PublicKey, tariff: TariffFile | None = None) -> Verified:
    """Checks one published usage record (a JWS) against the charger's `key`."""
    done = Verified(published, hashlib.sha256(published).hexdigest())
    say = _Sayer(done.checks)
    payload = _check_envelope(published, key, say)
    if payload is not None:
        with say("payload") as said:
            done.record = record_check.parse(payload)
            said.text = f"well-formed, {done.record['id']}"
    found = done.record
    if found is None:
        for name in ("ocmf signature", "ocmf readings", "energy", "periods", "tariff", "bill"):
            say.skip(name, "the payload cannot be read", FAIL)
        return done
    _check_ocmf(found, key, say)
    with say("energy") as said:
        meter, total = found["meter"], found["total_energy_wh"]
        if meter["end_wh"] - meter["start_wh"] != total:
            raise RecordError(f"{total} Wh is not {meter['end_wh']} - {meter['start_wh']}")
        said.text = f"{total} Wh = {meter['end_wh']} - {meter['start_wh']}"
    with say("periods") as said:
        said.text = _add_up(found)
    _check_bill(found, tariff, say)
    return done


def verify_chain(records: list[Verified]) -> Check:
    """Whether the records (in any order) are one unbroken chain of one charger's."""
    say = _Sayer([])
    with say("chain") as said:
        said.text = _follow([one for one in records if one.record], len(records))
    return say.checks[0]


class _Sayer:
    """Turns what happens inside `with say(name) as said` into a Check."""

    class _Said:
        def __init__(self, sayer: "_Sayer", name: str) -> None:
            self._sayer, self._name, self.text = sayer, name, ""

        def __enter__(self) -> "_Sayer._Said":
            return self

        def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> bool:
            if error is not None and not isinstance(error, EvtillError | reprice.Mismatch):
                return False
            result, text = (OK, self.text) if error is None else (FAIL, str(error))
            self._sayer.checks.append(Check(self._name, result, text))
            return True

    def __init__(self, checks: list[Check]) -> None:
        self.checks = checks

    def __call__(self, name: str) -> "_Sayer._Said":
        return self._Said(self, name)

    def skip(self, name: str, why: str, result: str = SKIPPED) -> None:
        self.checks.append(Check(name, result, why))


def _check_envelope(published: bytes, key: PublicKey, say: _Sayer) -> bytes | None:
    """The payload, also of a JWS that is not as signed, so that the rest can be looked at."""
    payload = None
    with say("jws signature") as said:
        payload, kid = jws.es256_verify(published, jws.USAGE, key.point, OpenSsl())
        said.text = f"ES256, by the key given, over {len(published)} bytes"
    if payload is not None:
        with say("key id") as said:
            if kid != key.kid:
                raise SignatureError(f"kid {kid[:43]!a} is not the key's thumbprint {key.kid}")
            said.text = f"{kid} is the key's thumbprint"
        return payload
    say.skip("key id", "not looked at in an envelope that is not as signed", FAIL)
    try:
        return jws.b64url_decode(published.split(b".")[1])
    except (EvtillError, IndexError):
        return None


def _check_ocmf(found: dict[str, Any], key: PublicKey, say: _Sayer) -> None:
    meant = None
    with say("ocmf signature") as said:
        body, meant, der = record_check.parse_ocmf(found["ocmf"])
        if not key.is_signed(body, der):
            raise SignatureError("does not verify")
        said.text = f"ECDSA-secp256r1-SHA256, by the key given, over {len(body)} bytes"
    if meant is None:
        say.skip("ocmf readings", "the OCMF string cannot be read", FAIL)
        return
    with say("ocmf readings") as said:
        begin, end = meant["RD"]
        meter = found["meter"]
        for name, one, other in (
            ("begin", begin["wh"], meter["start_wh"]), ("end", end["wh"], meter["end_wh"]),
            ("MS", meant["MS"], meter["serial"]), ("CI", meant["CI"], found["charger"]),
        ):  # fmt: skip
            if one != other:
                raise RecordError(f"{name} is {one}, the record says {other}")
        start_s = record_check.unix_s(found["start_date_time"])
        end_s = record_check.unix_s(found["end_date_time"])
        if not start_s <= begin["unix_s"] <= end["unix_s"] <= end_s:
            raise RecordError("the readings were not taken within the session")
        said.text = f"{begin['TM']} {begin['wh']} Wh to {end['TM']} {end['wh']} Wh, as recorded"


def _add_up(found: dict[str, Any]) -> str:
    """Says that the periods add up to the totals. Raises RecordError."""
    lines = [line for period in found["charging_periods"] for line in period["dimensions"]]
    for key in ("excl_minor", "incl_minor"):
        total = sum(line[key] for line in lines)
        if total != found["total_cost"][key]:
            raise RecordError(f"{key} of the lines is {total}, not {found['total_cost'][key]}")
    whole, _, decimals = found["total_cost"]["exact_excl"].lstrip("-").partition(".")
    scale = 10 ** minor_digits(found["currency"])
    sign = -1 if found["total_cost"]["exact_excl"].startswith("-") else 1
    exact = bill.half_up(sign * int(whole + decimals) * scale, 10 ** len(decimals))
    if exact != found["total_cost"]["excl_minor"]:
        raise RecordError("exact_excl does not round to excl_minor")
    energy_n = sum(reprice.volume_nano(line) for line in lines if line["type"] == "ENERGY")
    over_n = energy_n - found["total_energy_wh"] * reprice.NANO
    if over_n < 0:
        raise RecordError("the ENERGY lines are less than total_energy_wh")
    counted = found["total_time_ms"], found["total_time_ms"] + found["total_parking_time_ms"]
    if all(abs(ms - found["clock"]["duration_ms"]) > 1000 for ms in counted):
        raise RecordError("charging and parking time are not the session's duration")
    text = f"lines: {len(lines)}, periods: {len(found['charging_periods'])}; they add up"
    return text + (f", {over_n / reprice.NANO:g} Wh of it by a step size" if over_n else "")


def _check_bill(found: dict[str, Any], file: TariffFile | None, say: _Sayer) -> None:
    if file is None:
        say.skip("tariff", "no tariff given")
        say.skip("bill", "not recomputed without the tariff")
        return
    tariff: Tariff | None = None
    with say("tariff") as said:
        tariff = file.find(found)
        said.text = f"{tariff.id}, sha256 {tariff.sha256} as recorded"
    if tariff is None:
        say.skip("bill", "not recomputed with another tariff", FAIL)
        return
    with say("bill") as said:
        wrong = reprice.differences(found, reprice.reprice(found, tariff))
        if wrong:
            raise RecordError("; ".join(wrong[:3]))
        cost = found["total_cost"]
        excl, incl = (money(cost[key], found["currency"]) for key in ("excl_minor", "incl_minor"))
        said.text = f"recomputed from the tariff: {excl} excl. VAT, {incl} incl. VAT"


def _follow(records: list[Verified], given: int) -> str:
    if len(records) < given:
        raise RecordError(f"{given - len(records)} of {given} records cannot be read")
    found = sorted(((one.record or {}, one.sha256) for one in records), key=lambda r: r[0]["seq"])
    if len({record["charger"] for record, _ in found}) != 1:
        raise RecordError("the records are of several chargers")
    if found[0][0]["seq"] == 1 and found[0][0]["prev"] != "0" * 64:
        raise RecordError("seq 1 does not begin the chain")
    for (before, sha256), (record, _) in itertools.pairwise(found):
        if record["seq"] == before["seq"]:
            raise RecordError(f"seq {record['seq']} stands twice")
        if record["seq"] != before["seq"] + 1:
            raise RecordError(f"records between {before['seq']} and {record['seq']} are missing")
        if record["prev"] != sha256:
            raise RecordError(f"seq {record['seq']} does not name the record before it (prev)")
    return f"seq {found[0][0]['seq']} to {found[-1][0]['seq']} without a hole, each names the last"


def add_parser(commands: Any) -> None:
    """Registers `verify` with argparse's subparsers."""
    parser = commands.add_parser("verify", help="check usage records offline", description=__doc__)
    parser.add_argument("record", nargs="+", type=Path, metavar="RECORD",
                        help="a file with a usage record (JWS), or with one a line")  # fmt: skip
    parser.add_argument("--key", required=True, type=Path, metavar="PEM",
                        help="the charger's public record key")  # fmt: skip
    tariff = parser.add_mutually_exclusive_group()
    tariff.add_argument("--tariff", type=Path, metavar="FILE",
                        help="the tariff: OCPI JSON or a compiled table")  # fmt: skip
    tariff.add_argument("--no-tariff", action="store_true", help="do without the bill's check")
    parser.add_argument("--timezone", metavar="NAME",
                        help="an OCPI tariff's (default: the one that fits)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when every check holds. Raises EvtillError for files that cannot be read."""
    key = PublicKey.read(args.key)
    tariff = TariffFile(args.tariff, args.timezone) if args.tariff else None
    records = [verify(one, key, tariff) for path in args.record for one in _read(path)]
    chain = verify_chain(records) if len(records) > 1 else None
    good = all(one.holds(args.no_tariff) for one in records)
    good = good and (chain is None or chain.result == OK)
    if args.json:
        print(json.dumps(_as_json(records, chain, good), indent=1))
        return 0 if good else 1
    for one in records:
        prefix = f"{one.name}  " if len(records) > 1 else ""
        for check in one.checks:
            print(prefix + str(check))
    if chain is not None:
        print(chain)
    return 0 if good else 1


def _as_json(records: list[Verified], chain: Check | None, good: bool) -> dict[str, Any]:
    def plain(check: Check) -> dict[str, str]:
        return {"check": check.name, "result": check.result.lower(), "text": check.text}

    return {
        "ok": good,
        "records": [
            {"id": one.record["id"] if one.record else None, "sha256": one.sha256,
             "checks": [plain(check) for check in one.checks]}
            for one in records
        ],
        "chain": plain(chain) if chain else None,
    }  # fmt: skip


def _read(path: Path) -> list[bytes]:
    """The JWS in a file, one a line. Raises RecordError."""
    try:
        if path.stat().st_size > _FILE_MAX:
            raise RecordError(f"{path}: too large")
        lines = [line.strip() for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error
    found = [_published(line) for line in lines if line]
    if not found:
        raise RecordError(f"{path}: no record in it")
    if any(len(line) > jws.MAX_JWS_BYTES or line.count(b".") != 2 for line in found):
        raise RecordError(f"{path}: not a usage record (JWS)")
    return found


def _published(line: bytes) -> bytes:
    """The JWS in a line: itself, or in the object that `tillback records --jsonl` makes of it."""
    if line.startswith(b"{"):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            return str(json.loads(line)["jws"]).encode()
    return line
