"""tillback: the reference backend, from the command line."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

from evtill.core import jws
from evtill.core.commands import NAMES
from evtill.core.errors import ConfigError, EvtillError
from tillback.db.tables import UsageRecord
from tillback.store import Store
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey

_DATABASE = "sqlite:///tillback.sqlite"


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the exit code is 0, or 1 after one line on standard error."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        code: int = arguments.run(arguments)
        return code
    except EvtillError as error:
        print(f"tillback: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tillback records | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tillback", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--database", default=_DATABASE, metavar="URL",
                           help=f"SQLAlchemy's (default {_DATABASE})")  # fmt: skip
        added.set_defaults(run=run)
        return added

    serve = command("serve", _serve, "store and acknowledge what the chargers publish")
    serve.add_argument("--broker", required=True, metavar="URL",
                       help="mqtt://user:password@host:port; or @FILE that holds it")  # fmt: skip

    serve.add_argument("--pay-url", metavar="URL",
                       help="with {nonce} in it: keeps a fresh QR code of it on every display "
                       "that can show one")  # fmt: skip

    register = command("register", _register, "make a charger known")
    register.add_argument("charger", help="the file that `tillctl provision` left (its .json), or "
                          "the charger's id, such as DE*EVT*E000123")  # fmt: skip
    register.add_argument("--key", type=Path, metavar="PEM", help="its public record key")
    register.add_argument("--ack-key", type=Path, metavar="FILE",
                          help="its acknowledgement key: a file with 32 bytes in hex")  # fmt: skip
    register.add_argument("--mqtt-user", help="its user on the broker (default: its id)")

    rotate = command("rotate", _rotate, "accept the successor that a charger's record key names")
    rotate.add_argument("rotation", type=Path, help="the file that `tillctl rotate-key` left")

    records = command("records", _records, "list the usage records")
    records.add_argument("--charger", help="only this one's")
    records.add_argument("--jsonl", action="store_true",
                         help="{jws, payload, ocmf} a line, instead of a table")  # fmt: skip

    order = command("command", _command, "send a command to a charger, and print its result")
    order.add_argument("charger", help="its id")
    order.add_argument("name", metavar="NAME", help=f"one of {NAMES}")
    order.add_argument("args", nargs="*", metavar="KEY=VALUE",
                       help="its arguments, such as ceiling_minor=2000; set_display takes "
                       "url=https://.../{nonce} and seconds=900, and makes the QR code of them")
    order.add_argument("--broker", required=True, metavar="URL",
                       help="mqtt://user:password@host:port; or @FILE that holds it")  # fmt: skip

    receipt = command("receipt", _receipt, "print a session's receipt")
    receipt.add_argument("id", help="the record's id")
    form = receipt.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="a page, self-contained")
    form.add_argument("--text", action="store_true", help="for a terminal (default)")
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from tillback.ingest import Ingest

    store = Store(arguments.database)
    ingest = Ingest(store, _broker(arguments), pay_url=arguments.pay_url)

    async def serve() -> None:
        stop = asyncio.Event()
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        await ingest.start()
        await stop.wait()
        await ingest.stop()

    try:
        asyncio.run(serve())
    finally:
        store.close()
    return 0


def _broker(arguments: argparse.Namespace) -> str:
    url: str = arguments.broker
    return _read(Path(url[1:])).strip() if url.startswith("@") else url


def _command(arguments: argparse.Namespace) -> int:
    from tillback import commands, qr

    given: dict[str, int | str] = {}
    for one in arguments.args:
        name, equals, value = one.partition("=")
        if not equals:
            raise ConfigError(f"{one}: want KEY=VALUE")
        given[name] = int(value) if value.isascii() and value.isdigit() else value
    with contextlib.closing(Store(arguments.database)) as store:
        key = store.command_key(arguments.charger)
        if key is None:
            raise ConfigError(
                f"no command key of {arguments.charger}: register provisioning's .json"
            )
        if arguments.name == "set_display" and "url" in given:
            template, life_s = str(given.pop("url")), given.pop("seconds", qr.LIFE_S)
            if not isinstance(life_s, int):
                raise ConfigError("seconds: want a number")
            offer = qr.make(template, life_s)
            store.add_offer(offer.nonce, arguments.charger, offer.args["expires_s"])
            given |= offer.args
            print(offer.url)
    result = asyncio.run(
        commands.send(_broker(arguments), arguments.charger, key, arguments.name, given)
    )
    print(f"{result['status']}: {result['detail']}" if result["detail"] else result["status"])
    return 0 if result["status"] == "accepted" else 1


def _register(arguments: argparse.Namespace) -> int:
    command_text = None
    if arguments.charger.endswith(".json"):
        charger, key, text, command_text = _registration(Path(arguments.charger))
    elif arguments.key is None or arguments.ack_key is None:
        raise ConfigError("register: want provisioning's .json file, or --key and --ack-key")
    else:
        charger, key = arguments.charger, PublicKey.read(arguments.key)
        text = _read(arguments.ack_key).strip()
    ack_key = _key("ack key", text)
    command_key = None if command_text is None else _key("command key", command_text)
    if not 1 <= len(charger) <= 34 or set("/+#") & set(charger):
        raise ConfigError("charger: want 1 to 34 characters without / + #")
    with contextlib.closing(Store(arguments.database)) as store:
        store.register(charger, key.pem, ack_key, arguments.mqtt_user or charger, command_key)
    print(f"{charger} registered, record key {key.kid}")
    return 0


def _key(name: str, text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError(f"{name}: want 32 bytes in hex")
    return key


def _rotate(arguments: argparse.Namespace) -> int:
    try:
        rotation = arguments.rotation.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{arguments.rotation}: {error.strerror or error}") from error
    with contextlib.closing(Store(arguments.database)) as store:
        charger, kid = accept_rotation(store, rotation)
    print(f"{charger}: record key {kid} from now on")
    return 0


def accept_rotation(store: Store, rotation: bytes) -> tuple[str, str]:
    """Makes a rotation (JWS) known; (charger, its new key's kid). Raises EvtillError."""
    try:
        named = str(json.loads(jws.b64url_decode(rotation.split(b".")[1]))["charger"])
    except (ValueError, IndexError, KeyError, TypeError):
        raise ConfigError("not a key rotation") from None
    charger = store.charger(named)
    if charger is None:
        raise ConfigError(f"{named[:64]!a} is not registered")
    key = PublicKey(charger.public_key_pem)
    ring = KeyRing([(named, key)], [*store.rotations(named), rotation])
    if ring.faults:
        raise ConfigError(ring.faults[0])
    store.add_rotation(named, rotation)
    return named, list(ring.terms)[-1]


def _registration(file: Path) -> tuple[str, PublicKey, str, str]:
    """(charger, public key, ack key, command key in hex) of the file that provisioning left."""
    try:
        found = json.loads(_read(file))
        return (
            str(found["charger"]), PublicKey(str(found["public_key"])), str(found["ack_key"]),
            str(found["command_key"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file}: not a file that `tillctl provision` left") from None


def _records(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Store(arguments.database)) as store:
        for row in store.records(arguments.charger):
            print(as_jsonl(row) if arguments.jsonl else _as_line(row))
    return 0


def as_jsonl(row: UsageRecord) -> str:
    """{jws, payload, ocmf} of a stored record, on one line."""
    payload = json.loads(row.payload)
    return json.dumps({"jws": row.jws.decode(), "payload": payload, "ocmf": payload["ocmf"]})


def _as_line(row: UsageRecord) -> str:
    found = json.loads(row.payload)
    cost = f"{found['total_cost']['incl_minor']} {found['currency']} minor"
    return f"{row.id:36} {found['start_date_time']} {found['total_energy_wh']:>8} Wh  {cost}"


def _receipt(arguments: argparse.Namespace) -> int:
    from tillback import receipt

    with contextlib.closing(Store(arguments.database)) as store:
        row = store.record(arguments.id)
        charger = store.charger(row.charger) if row else None
        rotations = store.rotations(row.charger) if row else []
    if row is None or charger is None:
        raise ConfigError(f"no record {arguments.id}")
    ring = KeyRing([(charger.id, PublicKey(charger.public_key_pem))], rotations)
    model = receipt.model(row.jws, ring)
    print(receipt.html(model) if arguments.html else receipt.text(model), end="")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path}: cannot be read") from error


if __name__ == "__main__":
    sys.exit(main())
