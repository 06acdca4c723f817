"""tillctl rotate-key: a new record key for a charger, which the old one names in its place."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

from evtill.core.errors import ConfigError
from tillctl import provision
from tillctl.key_ring import KeyRing
from tillctl.port import Port, PortError
from tillctl.public_key import PublicKey

_ASK = "import hwconfig\nfrom evtill.app import provisioning\nanswer = provisioning."


def add_parser(commands: Any) -> None:
    """Registers `rotate-key` with argparse's subparsers."""
    p = commands.add_parser(
        "rotate-key", help="give a charger a new record key", description="The new key is made on "
        "the board and never leaves it; the old one signs that it is the next, from which record "
        "on (a key rotation, a JWS), and is gone. The rotation is left in DIR/<charger>.rotation-"
        "<old kid>.jws: keep it with the records. The backend has to know of it before the charger "
        "uses the new key: give --database, or run `tillback rotate FILE` and then this again with "
        "--adopt; the charger waits meanwhile.",
    )  # fmt: skip
    p.add_argument("port", help="serial port, such as /dev/ttyUSB0")
    p.add_argument("--out", type=Path, default=Path("chargers"), metavar="DIR",
                   help="where provisioning left its files; default: %(default)s")  # fmt: skip
    then = p.add_mutually_exclusive_group()
    then.add_argument("--database", metavar="URL", help="tillback's, to be told first")
    then.add_argument("--adopt", action="store_true", help="the backend has been told")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises EvtillError; the key in force is then the old one."""
    port = Port(args.port)
    charger = port.ask(f"{_ASK}charger_id(hwconfig)")
    registration = provision.registration_in(args.out, charger)
    if not registration:
        raise ConfigError(f"{args.out} holds no registration of {charger}")
    old = PublicKey(registration["public_key"])
    file = rotation_file(args.out, charger, old.kid)
    if args.adopt:
        rotation = file.read_bytes().strip()
    else:
        rotation = port.ask(f"{_ASK}rotate_key(hwconfig)").encode()
    ring = KeyRing([(charger, old)], [rotation])
    if ring.faults or len(ring.terms) != 2:
        raise PortError(f"{args.port}: {(ring.faults or ['nothing is rotated'])[0]}")
    new = list(ring.terms.values())[-1]
    if not args.adopt:
        file.write_bytes(rotation + b"\n")
        print(f"rotate-key: {file}: key {new.key.kid} signs from seq {new.first} on")
        if not args.database:
            print(f"rotate-key: now `tillback rotate {file}`, then this again with --adopt")
            return 0
        _tell(args.database, rotation)
    port.ask(f"{_ASK}adopt_key(hwconfig, {new.key.kid!r}, {new.first})")
    kept = file.with_suffix(".pub.pem")
    kept.write_text(old.pem)
    provision.write(args.out, registration | {"public_key": new.key.pem})
    port.reset()
    print(f"rotate-key: {charger} has its new key; {kept} verifies what was before and, with the "
          "rotation, what comes")  # fmt: skip
    return 0


def rotation_file(folder: Path, charger: str, kid: str) -> Path:
    """Where the rotation of the key `kid` is left: one for each key, whatever is tried again."""
    return folder / f"{charger.replace('*', '_')}.rotation-{kid[:8]}.jws"


def _tell(database: str, rotation: bytes) -> None:
    from tillback.registration import accept_rotation
    from tillback.store import Store

    with contextlib.closing(Store(database)) as store:
        accept_rotation(store, rotation)
