"""tillctl provision: gives a charger its identity, keys, configuration, tariff and token list."""

import argparse
import base64
import json
import os
import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path

from evtill.app import config as config_table
from evtill.core import tokens
from evtill.core.errors import ConfigError
from tillctl import flash
from tillctl.port import Port, PortError
from tillctl.tariff_compile import compile_tariff

_HAS_FIRMWARE = "try: import evtill.app\nexcept ImportError: answer = False\nelse: answer = True"
_SECRETS = {"ack_key": 32, "command_key": 32, "token_key": 32, "mqtt_password": 16}


def add_parser(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "provision",
        help="give a charger its identity, keys, configuration, tariff and tokens",
        description="The record key is made on the board and never leaves it; its public half, and "
        "the secrets that charger and backend share, are written to DIR/<charger>.json for "
        "`tillback register`, and the public key to DIR/<charger>.pub.pem. A charger that has a "
        "key keeps it; secrets already in DIR are used again.",
        epilog="Configuration keys: "
        + "; ".join(f"{k}: {config_table.describe(v[0])}" for k, v in config_table.KEYS.items()),
    )
    p.add_argument("port", help="serial port, such as /dev/ttyUSB0")
    p.add_argument("--id", required=True, help="charger id, such as DE*EVT*E000123")
    p.add_argument("--broker", required=True, metavar="HOST:PORT", help="MQTT broker")
    p.add_argument("--tariff", required=True, type=Path, help="OCPI tariff (JSON)")
    p.add_argument("--timezone", required=True, help="IANA time zone, such as Europe/Amsterdam")
    p.add_argument("--token", action="append", default=[], metavar="UID", help="a card, in hex")
    p.add_argument("--tokens", type=Path, metavar="FILE", help="one UID in hex a line")
    p.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--out", type=Path, default=Path("chargers"), metavar="DIR",
                   help="default: %(default)s")  # fmt: skip
    p.add_argument("--board", default="virtual", choices=flash.boards())
    p.add_argument("--format", action="store_true",
                   help="erase the data partition, records included")  # fmt: skip
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    host, _, port = args.broker.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError("--broker must be HOST:PORT")
    overrides = {"broker_host": host, "broker_port": int(port)}
    overrides |= dict(_setting(text) for text in args.config)
    uids = list(args.token)
    if args.tokens:
        uids += args.tokens.read_text().split()
    try:
        tariff = json.loads(args.tariff.read_text())
    except ValueError as e:
        raise ConfigError(f"{args.tariff} is not JSON: {e}") from None
    registration = provision(
        Port(args.port), args.id, overrides, compile_tariff(tariff, args.timezone), uids,
        known=registration_in(args.out, args.id), board=args.board, may_format=args.format,
    )  # fmt: skip
    write(args.out, registration)
    Port(args.port).reset()
    print(f"provision: {args.id} is ready; give {_path(args.out, args.id)} to the backend")
    return 0


def _setting(text: str) -> tuple[str, str | int]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--config {text}: KEY=VALUE expected")
    kind = config_table.KEYS.get(key, (("text",),))[0]
    return key, int(value) if kind[0] == "int" and value.lstrip("-").isdigit() else value


def _path(folder: Path, charger: str) -> Path:
    return folder / (charger.replace("*", "_") + ".json")


def registration_in(folder: Path, charger: str) -> dict:
    """What an earlier provisioning of `charger` left in `folder`, or {}."""
    path = _path(folder, charger)
    return json.loads(path.read_text()) if path.exists() else {}


def write(folder: Path, registration: dict) -> None:
    """Leaves the registration (secrets: mode 600) and the public key in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, registration["charger"])
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        json.dump(registration, f, indent=1)
    path.with_suffix(".pub.pem").write_text(registration["public_key"])


def token_file(key: bytes, uids: Iterable[str]) -> bytes:
    """The token list of card UIDs in hex. Raises ConfigError."""
    entries = {}
    for uid in uids:
        try:
            raw = bytes.fromhex(uid)
        except ValueError:
            raw = b""
        if len(raw) not in (4, 7, 10):
            raise ConfigError(f"{uid!r} is not a card UID: 4, 7 or 10 bytes in hex expected")
        entries[tokens.token_of(key, raw)] = (0, 0)
    return tokens.encode(entries)


def provision(port: Port, charger: str, overrides: dict, tariff: bytes, uids: Iterable[str],
              known: dict | None = None, board: str = "virtual",
              may_format: bool = False) -> dict:  # fmt: skip
    """Provisions the board and returns its registration: {charger, public_key (PEM), ack_key,
    command_key, token_key (hex), mqtt_password}. Raises ConfigError before the board is touched."""
    known = known or {}
    shared = {key: known.get(key) or secrets.token_hex(n) for key, n in _SECRETS.items()}
    settings = {"charger_id": charger, **shared, **overrides}
    config_table.parse(json.dumps(settings))
    token_list = token_file(bytes.fromhex(shared["token_key"]), uids)

    if not port.ask(_HAS_FIRMWARE):
        port.say("provision: no firmware on the board yet, so that goes first")
        flash.flash(port, board)
    made = port.ask(
        "import hwconfig\nfrom evtill.app import provisioning\n"
        f"answer = provisioning.prepare(hwconfig, {may_format})"
    )
    port.say(f"provision: record key {'made on the board' if made['made_key'] else 'kept'}")
    data = port.ask("import hwconfig\nanswer = hwconfig.DATA")
    with tempfile.TemporaryDirectory() as scratch:
        files = {
            f"{data}/tariff.bin": tariff,
            f"{data}/tokens.bin": token_list,
            f"{data}/config.json": json.dumps(settings).encode(),  # last: it makes the rest count
        }
        port.put(files, Path(scratch))
    public_key = _pem(bytes.fromhex(made["spki"]))
    if known and known["public_key"] != public_key:
        raise PortError(f"{charger} has another record key than before: register it as a new one")
    return {"charger": charger, "public_key": public_key, **shared}


def _pem(spki: bytes) -> str:
    body = base64.encodebytes(spki).decode().replace("\n", "")
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
