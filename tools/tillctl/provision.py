"""tillctl provision: gives a charger its identity, keys, configuration, tariff and token list."""

import argparse
import base64
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from evtill.app import config as config_table
from evtill.core import tokens
from evtill.core.errors import ArtefactError, ConfigError, LanguageError
from tillctl import artefacts, flash, languages, meter_file, meter_table, token_list, trust
from tillctl.port import Port, PortError
from tillctl.public_key import PublicKey
from tillctl.tariff_compile import compile_tariff

_PREPARE = """
try:
    import hwconfig, os
    from evtill.app import provisioning
except ImportError:
    answer = None
else:
    answer = provisioning.prepare(hwconfig, %r)
    answer["data"] = hwconfig.DATA
    answer["files"] = os.listdir(hwconfig.DATA)
"""
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
    p.add_argument("--ca", type=Path, metavar="FILE",
                   help="certificate of the CA of the broker's, in PEM or DER")  # fmt: skip
    p.add_argument("--cert", type=Path, metavar="FILE",
                   help="the charger's own certificate, its CN the charger id")  # fmt: skip
    p.add_argument("--key", type=Path, metavar="FILE", help="the key of --cert")
    p.add_argument("--payment-ca", type=Path, metavar="FILE",
                   help="certificate of the CA of the payment API's")  # fmt: skip
    p.add_argument("--tariff", required=True, type=Path, help="OCPI tariff (JSON)")
    p.add_argument("--timezone", required=True, help="IANA time zone, such as Europe/Amsterdam")
    p.add_argument("--token", action="append", default=[], metavar="UID", help="a card, in hex")
    p.add_argument("--tokens", type=Path, metavar="FILE",
                   help="cards: CSV or OCPI Tokens as for `tillctl tokens build`, or a list that "
                   "it has built, signed or not")  # fmt: skip
    p.add_argument("--token-key", type=Path, metavar="FILE",
                   help="the key of `tillctl tokens build`, which becomes the charger's "
                   "(default: one of its own)")  # fmt: skip
    p.add_argument("--operator-key", type=Path, metavar="PEM",
                   help="public key by which the charger knows token lists that it may take")
    p.add_argument("--meter", metavar="NAME|FILE",
                   help="the energy meter: see `tillctl meter list`; default: sdm630")  # fmt: skip
    p.add_argument("--meter-baud", type=int, choices=meter_file.BAUDS,
                   help="where it is not the factory's")  # fmt: skip
    p.add_argument("--meter-parity", choices=meter_file.PARITIES)
    p.add_argument("--language", metavar="NAME|FILE",
                   help="the driver's: see `tillctl language list` (default: en, or what the "
                   "charger has)")  # fmt: skip
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
    cards = {token_list.parse_uid(uid): token_list.Token() for uid in args.token}
    source = args.tokens.read_bytes() if args.tokens else b""
    whole = source if source[:4] in (tokens.MAGIC[:4], b"eyJh") else None
    if whole and cards:
        raise ConfigError("--token and a built list: give the card to `tillctl tokens build`")
    if source and not whole:
        found = token_list.read_source(args.tokens)
        cards = found.cards | cards
        for note in found.notes:
            print(f"provision: {note}")
    meter = meter_file.find_any(args.meter) if args.meter else _meter_of(overrides)
    if isinstance(meter, meter_file.PulseFile):
        if args.meter_baud or args.meter_parity:
            raise ConfigError(f"--meter-baud, --meter-parity: a {meter.name} is on no bus")
    else:
        if args.meter_baud:
            meter = replace(meter, baud=args.meter_baud)
        if args.meter_parity:
            meter = replace(meter, parity=args.meter_parity)
    try:
        tariff = json.loads(args.tariff.read_text())
    except ValueError as e:
        raise ConfigError(f"{args.tariff} is not JSON: {e}") from None
    known = registration_in(args.out, args.id)
    if args.token_key:
        known["token_key"] = token_list.read_key(args.token_key).hex()
    registration = provision(
        Port(args.port), args.id, overrides, compile_tariff(tariff, args.timezone),
        whole or cards,
        known=known, board=args.board, may_format=args.format,
        meter=meter,
        files=trust.files(args.id, args.ca, args.payment_ca, args.cert, args.key)
        | _operator_key(args.operator_key) | language(args.language),
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


def language(name: str | None) -> dict[str, bytes]:
    """The file of the driver's language, where one is named. Raises ConfigError."""
    if name is None:
        return {}
    try:
        return {"language.bin": languages.load(name)}
    except LanguageError as e:
        raise ConfigError(f"--language: {e}") from None


def _operator_key(path: Path | None) -> dict[str, bytes]:
    if path is None:
        return {}
    return {"operator.key": b"".join(n.to_bytes(32, "big") for n in PublicKey.read(path).point)}


def _path(folder: Path, charger: str) -> Path:
    return folder / (charger.replace("*", "_") + ".json")


def _meter_of(settings: dict) -> meter_file.MeterFile | meter_file.PulseFile:
    name = settings.get("meter_model", config_table.KEYS["meter_model"][1])
    return meter_file.find_any(str(name))


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


Cards = dict[bytes, token_list.Token] | Iterable[str]


def token_file(key: bytes, cards: Cards | bytes) -> bytes:
    """What lies in flash: the list of these cards (or of UIDs in hex), or a built one, signed or
    not; and its stamp. Raises ConfigError."""
    version = 0
    try:
        if isinstance(cards, bytes):
            envelope, listed = artefacts.split(cards)
            if envelope:
                version = int(artefacts.said(envelope).get("version", 0))
            if token_list.Listed.decode(listed).whose != tokens.whose(key):
                raise ConfigError("the token list was made under another key than this charger's")
        else:
            if not isinstance(cards, dict):
                cards = {token_list.parse_uid(uid): token_list.Token() for uid in cards}
            listed = token_list.build(cards, key).encode()
    except (tokens.TokenListError, ArtefactError) as e:
        raise ConfigError(str(e)) from None
    return listed + tokens.stamp(version, hashlib.sha256(listed).digest())


def provision(port: Port, charger: str, overrides: dict, tariff: bytes, cards: Cards | bytes,
              known: dict | None = None, board: str = "virtual",
              may_format: bool = False, files: dict[str, bytes] | None = None,
              meter: meter_file.MeterFile | meter_file.PulseFile | None = None,
              ) -> dict:  # fmt: skip
    """Provisions the board and returns its registration: {charger, public_key (PEM), ack_key,
    command_key, token_key (hex), mqtt_password, tariff (its table in base64)}. meter: None for the
    one of the catalogue that the configuration names. files: trust.files(); those not among them
    that the board has already stay. Raises ConfigError, MeterError before the configuration is
    touched."""
    known = known or {}
    shared = {key: known.get(key) or secrets.token_hex(n) for key, n in _SECRETS.items()}
    meter = meter or _meter_of(overrides)
    settings = {"charger_id": charger, **shared, **overrides, "meter_model": meter.name}
    if getattr(meter, "serial", None) is None and not settings.get("meter_serial"):
        raise ConfigError(f"meter_serial is missing: no register of a {meter.name} holds it")
    config = config_table.parse(json.dumps(settings))
    listed = token_file(bytes.fromhex(shared["token_key"]), cards)

    made = port.ask(_PREPARE % may_format)
    if made is None:
        port.say("provision: no firmware on the board yet, so that goes first")
        flash.flash(port, board)
        made = port.ask(_PREPARE % may_format)
    port.say(f"provision: record key {'made on the board' if made['made_key'] else 'kept'}")
    data, files = made["data"], files or {}
    if config["broker_tls"] == "on" and trust.BROKER_CA not in {*files, *made["files"]}:
        raise ConfigError("broker_tls is on, and the charger has no CA certificate: --ca FILE")
    with tempfile.TemporaryDirectory() as scratch:
        files = {
            **{f"{data}/{name}": content for name, content in files.items()},
            f"{data}/tariff.bin": tariff,
            f"{data}/tokens.bin": listed,
            f"{data}/meter.bin": meter_table.compile_table(meter),
            f"{data}/config.json": json.dumps(settings).encode(),  # last: it makes the rest count
        }
        port.put(files, Path(scratch))
    public_key = _pem(bytes.fromhex(made["spki"]))
    if known.get("public_key", public_key) != public_key:
        raise PortError(f"{charger} has another record key than before: register it as a new one")
    return {"charger": charger, "public_key": public_key, **shared,
            "tariff": base64.b64encode(tariff).decode()}  # fmt: skip


def _pem(spki: bytes) -> str:
    body = base64.encodebytes(spki).decode().replace("\n", "")
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
