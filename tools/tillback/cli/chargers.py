"""`tillback register`, `rotate` and `command`: the chargers, their keys, and orders to them."""

import argparse
import asyncio
import contextlib
from pathlib import Path

from evtill.core.commands import NAMES
from evtill.core.errors import ConfigError
from tillback import registration, tariffs
from tillback.broker import passwords
from tillback.cli.common import AddCommand, add_broker, broker, read_text
from tillback.store import Store
from tillctl.public_key import PublicKey


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    register = command("register", _register, "make a charger known")
    register.add_argument("charger", help="the file that `tillctl provision` left (its .json), or "
                          "the charger's id, such as DE*EVT*E000123")  # fmt: skip
    register.add_argument("--key", type=Path, metavar="PEM", help="its public record key")
    register.add_argument("--ack-key", type=Path, metavar="FILE",
                          help="its acknowledgement key: a file with 32 bytes in hex")  # fmt: skip
    register.add_argument("--mqtt-user", help="its user on the broker (default: its id)")

    rotate = command("rotate", _rotate, "accept the successor that a charger's record key names")
    rotate.add_argument("rotation", type=Path, help="the file that `tillctl rotate-key` left")

    order = command("command", _command, "send a command to a charger, and print its result")
    order.add_argument("charger", help="its id")
    order.add_argument("name", metavar="NAME", help=f"one of {NAMES}")
    order.add_argument("args", nargs="*", metavar="KEY=VALUE",
                       help="its arguments, such as ceiling_minor=2000; set_display takes "
                       "url=https://.../{nonce} and seconds=900, and makes the QR code of them")
    add_broker(order, "the one that `tillback serve` embeds")


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
        commands.send(broker(arguments), arguments.charger, key, arguments.name, given)
    )
    print(f"{result['status']}: {result['detail']}" if result["detail"] else result["status"])
    return 0 if result["status"] == "accepted" else 1


def _register(arguments: argparse.Namespace) -> int:
    command_text = mqtt_password = tariff = None
    if arguments.charger.endswith(".json"):
        charger, key, text, command_text, mqtt_password, tariff = registration.read(
            Path(arguments.charger)
        )
    elif arguments.key is None or arguments.ack_key is None:
        raise ConfigError("register: want provisioning's .json file, or --key and --ack-key")
    else:
        charger, key = arguments.charger, PublicKey.read(arguments.key)
        text = read_text(arguments.ack_key).strip()
    ack_key = _key("ack key", text)
    command_key = None if command_text is None else _key("command key", command_text)
    if not 1 <= len(charger) <= 34 or set("/+#") & set(charger):
        raise ConfigError("charger: want 1 to 34 characters without / + #")
    with contextlib.closing(Store(arguments.database)) as store:
        store.register(
            charger, key.pem, ack_key, arguments.mqtt_user or charger, command_key,
            passwords.hashed(mqtt_password) if mqtt_password else None,
        )  # fmt: skip
        if tariff is not None:
            tariffs.add_tariff(store.database, tariff)
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
        charger, kid = registration.accept_rotation(store, rotation)
    print(f"{charger}: record key {kid} from now on")
    return 0
