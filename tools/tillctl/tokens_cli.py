"""`tillctl tokens build | diff | sign | show | lookup`."""

import argparse
import hashlib
import json
import subprocess
import time
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evtill.core import artefact, jws, token_update, tokens
from evtill.core.errors import ArtefactError, SignatureError
from evtill.core.tokens import TokenListError
from tillsim import runtime

from . import artefacts, firmware, token_list
from .public_key import OpenSsl, PublicKey
from .runner import token_runner
from .tariff_cases import INTERPRETERS

_RUNNER = Path(token_runner.__file__).parent
_COLUMNS = """
columns of the CSV, of which uid alone is needed:
  uid            4, 7, 8 or 10 bytes in hex; colons and dashes are passed over
  group          cards of one group stop each other's sessions (any name; empty or 0: none)
  expires        2027-12-31: the last day (UTC) it may charge; or a time, 2027-12-31T18:00:00Z
  flags          of blocked, prepaid, free, ask, separated by spaces or |
                   prepaid: the backend alone, never offline; with none, the ceiling is its
                   credit; free: a session is recorded, not collected
                   ask: the backend first, this list while it is out of reach
  ceiling_minor  most that a session may cost, VAT included, in cents (or the like)

OCPI 2.2.1 Tokens (JSON) are taken as well: group_id is the group; valid false is blocked;
whitelist ALLOWED_OFFLINE is ask, NEVER is left to the backend.

A list holds keyed hashes, not UIDs. Who has list and key can try out all 4-byte UIDs: keep the key
where the charger's other secrets are.

example:
  tillctl tokens build cards.csv -o tokens.bin --key tokens.key
  tillctl tokens lookup tokens.bin 04A2243B6C5E80 --key tokens.key
  tillctl tokens sign tokens.bin --key operator.pem --audience charger:DE*EVT*E1 --version 7
"""


def add_parser(subparsers: Any) -> None:
    """Registers `tokens` with its own commands; each sets `run`, which returns the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        "tokens", help="who may charge: build, compare, sign and search token lists",
        description="Token lists: who may charge, decided at the charger.",
        epilog=_COLUMNS, formatter_class=raw,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="tokens_command", required=True, metavar="COMMAND")

    made = commands.add_parser("build", help="a list from CSV or OCPI 2.2.1 Tokens",
                               epilog=_COLUMNS, formatter_class=raw)  # fmt: skip
    made.add_argument("source", type=Path, metavar="CSV", help="cards: CSV, or OCPI Tokens (JSON)")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    made.add_argument("--key", type=Path, required=True, metavar="FILE",
                      help="token key: 32 bytes in hex, or what `tillctl provision` left in "
                      "chargers/; made if absent")  # fmt: skip
    made.add_argument("--block", type=Path, action="append", default=[], metavar="CSV",
                      help="cards that are blocked, whatever the other file says")  # fmt: skip
    made.add_argument("--after", type=Path, metavar="OLD",
                      help="keep this list's tables: a delta to it is small then")  # fmt: skip
    made.set_defaults(run=_build)

    diffed = commands.add_parser("diff", help="what changes from one list to the next")
    diffed.add_argument("old", type=Path, metavar="OLD")
    diffed.add_argument("new", type=Path, metavar="NEW")
    diffed.add_argument("-o", "--output", type=Path, required=True, metavar="DELTA")
    diffed.set_defaults(run=_diff)

    signed = commands.add_parser(
        "sign", help="sign a list or a delta, for chargers to take",
        description="Writes an artefact: the envelope that the operator's key signs, and the list "
        "or delta behind it. A charger takes it if it was provisioned with the key's public half, "
        "is of the audience, and has no higher version.",
    )  # fmt: skip
    signed.add_argument("file", type=Path, metavar="FILE")
    signed.add_argument("--key", type=Path, required=True, metavar="OPERATOR_KEY",
                        help="P-256 private key (PEM), kept offline")  # fmt: skip
    signed.add_argument("--make-key", action="store_true", help="make the key if absent; its "
                        "public half goes to OPERATOR_KEY.pub")  # fmt: skip
    signed.add_argument("--audience", required=True, help="all, charger:ID or group:NAME")
    signed.add_argument("--version", type=int, required=True, help="higher than the last one's")
    signed.add_argument("--not-before", metavar="TIME", help="such as 2027-01-01T00:00:00Z "
                        "(default: now)")  # fmt: skip
    signed.add_argument("--expires", metavar="TIME", help="no charger takes it afterwards; those "
                        "that have keep it (default: in 30 days)")  # fmt: skip
    signed.add_argument("-o", "--output", type=Path, help="default: FILE.signed")
    signed.set_defaults(run=_sign)

    shown = commands.add_parser("show", help="what is in a list, delta or signed file")
    shown.add_argument("file", type=Path, metavar="FILE")
    shown.add_argument("--operator-key", type=Path, metavar="PEM",
                       help="public key by which to check the signature")  # fmt: skip
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(run=_show)

    found = commands.add_parser("lookup", help="one card, searched as the charger does")
    found.add_argument("file", type=Path, metavar="FILE")
    found.add_argument("uid", metavar="UID", help="in hex")
    found.add_argument("--key", type=Path, required=True, metavar="FILE", help="token key")
    found.add_argument("--on", choices=["cpython", *INTERPRETERS], default="cpython")
    found.add_argument("--json", action="store_true",
                       help="{found, group, flags, ceiling, flash_reads, heap_bytes}")  # fmt: skip
    found.set_defaults(run=_lookup)


def _build(args: argparse.Namespace) -> int:
    source = token_list.read_source(args.source)
    for path in args.block:
        token_list.block(source.cards, token_list.read_source(path).cards)
    after = token_list.read_list(args.after) if args.after else None
    listed = token_list.build(source.cards, token_list.read_key(args.key, make=True), after)
    data = listed.encode()
    args.output.write_bytes(data)
    for note in source.notes:
        print(f"note: {note}")
    print(f"{args.output}: {len(listed.entries)} tokens, {len(data)} bytes, "
          f"sha256 {hashlib.sha256(data).hexdigest()}")  # fmt: skip
    return 0


def _content(path: Path) -> bytes:
    return artefacts.split(path.read_bytes())[1]


def _diff(args: argparse.Namespace) -> int:
    new = _content(args.new)
    delta = token_list.diff(_content(args.old), new)
    args.output.write_bytes(delta)
    changes = int.from_bytes(delta[76:80], "little")
    print(f"{args.output}: {changes} changes, {len(delta)} bytes (the list: {len(new)})")
    if len(delta) > len(new) // 2:
        print("note: build the new list with --after the old one for a smaller delta")
    return 0


def _sign(args: argparse.Namespace) -> int:
    content = args.file.read_bytes()
    if content[:4] == tokens.MAGIC[:4]:
        token_list.Listed.decode(content)
        typ = "tokens"
    else:
        token_update.delta_of(lambda offset, n: content[offset : offset + n], len(content))
        typ = "tokens-delta"
    begins = _unix_s(args.not_before, int(time.time()))
    ends = _unix_s(args.expires, begins + 30 * 86400)
    if ends <= begins:
        raise ArtefactError("--expires is not after --not-before")
    key = artefacts.OperatorKey(args.key, args.make_key)
    if args.make_key:
        args.key.with_name(args.key.name + ".pub").write_text(key.public.pem)
    sealed = artefacts.seal(content, typ, args.audience, args.version, begins, ends, key)
    output = args.output or args.file.with_name(args.file.name + ".signed")
    output.write_bytes(sealed)
    print(f"{output}: {typ} version {args.version} for {args.audience}, until {_time(ends)}, "
          f"the file's sha256 {hashlib.sha256(sealed).hexdigest()}")  # fmt: skip
    return 0


def _unix_s(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArtefactError(f"{text!r} is no time such as 2027-01-01T00:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _show(args: argparse.Namespace) -> int:
    envelope, content = artefacts.split(args.file.read_bytes())
    shown: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if envelope is not None:
        said = artefacts.said(envelope)
        for name in ("typ", "audience", "version"):
            shown[name] = said.get(name)
        for name in ("not_before", "expires"):
            shown[name] = _time(int(said.get(name) or 0))
        if said.get("sha256") != shown["sha256"]:
            raise ArtefactError(f"{args.file}: content is not what was signed")
        if args.operator_key:
            key = PublicKey.read(args.operator_key)
            jws.es256_verify(envelope, artefact.TYP, key.point, OpenSsl())
            shown["signed by"] = key.kid
    elif args.operator_key:
        raise SignatureError(f"{args.file}: not signed")
    shown |= _delta(content) if content[:4] == token_update.DELTA[:4] else _list(content)
    if args.json:
        print(json.dumps(shown, indent=2))
        return 0
    for name, value in shown.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
        print(f"{name}: {value}")
    return 0


def _delta(content: bytes) -> dict[str, Any]:
    before, after, length = token_update.delta_of(
        lambda offset, n: content[offset : offset + n], len(content)
    )
    words = content[token_update.DELTA_HEADER + length :]
    changes = [words[i + 8 : i + 12] for i in range(0, len(words), tokens.ENTRY)]
    gone = changes.count(tokens.GONE.to_bytes(4, "little"))
    return {"changes": before.hex(), "makes": after.hex(), "removed": gone,
            "added or changed": len(changes) - gone}  # fmt: skip


def _list(content: bytes) -> dict[str, Any]:
    listed = token_list.Listed.decode(content)
    entries = listed.entries.values()
    return {
        "tokens": len(entries),
        "key": listed.whose.hex(),
        "flags": dict(sorted(Counter(n for t in entries for n in t.flag_names).items())),
        "groups": dict(sorted(Counter(t.group for t in entries if t.group).items())),
        "expiring": sum(t.expires is not None for t in entries),
        "first expiry": min((_time(t.expires) for t in entries if t.expires is not None),
                            default=None),
        "with a ceiling": sum(t.ceiling is not None for t in entries),
    }  # fmt: skip


def _lookup(args: argparse.Namespace) -> int:
    key = token_list.read_key(args.key)
    uid = token_list.parse_uid(args.uid)
    envelope, _ = artefacts.split(args.file.read_bytes())
    base = 0 if envelope is None else len(envelope) + 1
    try:
        said = lookup(args.file, base, key, uid, args.on)
    except TokenListError as e:
        raise TokenListError(f"{args.file}: {e}") from None
    expires = said.pop("expires")
    said["flags"] = token_list.Token(flags=said["flags"]).flag_names
    if said["group"] and said["group"].isdigit():
        said["group"] = int(said["group"])
    names = ("found", "group", "flags", "ceiling", "flash_reads", "heap_bytes")
    if args.json:
        print(json.dumps({name: said[name] for name in names}))
    elif not said["found"]:
        print(f"{args.uid}: not in the list ({said['flash_reads']} reads)")
    else:
        until = "no expiry" if expires is None else f"expires {_time(expires)}"
        ceiling = "no ceiling" if said["ceiling"] is None else f"ceiling {said['ceiling']}"
        flags = " ".join(said["flags"]) or "no flags"
        print(f"{args.uid}: group {said['group']}, {until}, {flags}, {ceiling} "
              f"({said['flash_reads']} reads)")  # fmt: skip
    return 0


def lookup(path: Path, base: int, key: bytes, uid: bytes, on: str) -> dict[str, Any]:
    """What token_runner.lookup finds on that interpreter. Raises TokenListError."""
    if on == "cpython":
        tracemalloc.start()
        try:
            readings = iter((_heap_now, _heap_at_most))
            return token_runner.lookup(path, base, key, uid, lambda: next(readings)())
        finally:
            tracemalloc.stop()
    tree = firmware.build(
        firmware.BUILD / "mpy" / "tillctl", firmware.ROOT / "firmware", _RUNNER
    )
    try:
        interpreter = runtime.micropython(INTERPRETERS[on])
    except runtime.RuntimeMissing as e:
        raise TokenListError(str(e)) from None
    done = subprocess.run(
        [*interpreter, "-X", "heapsize=112k", "-c", "import token_runner; token_runner.main()"],
        input=f"{path.resolve()}\n{base}\n{key.hex()}\n{uid.hex()}\n",
        env={"MICROPYPATH": f"{tree}:.frozen"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise TokenListError(f"MicroPython stopped: {' '.join(reason)}")
    said = json.loads(done.stdout)
    if "error" in said:
        raise TokenListError(said["error"])
    return said


def _heap_now() -> int:
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def _heap_at_most() -> int:
    return tracemalloc.get_traced_memory()[1]
