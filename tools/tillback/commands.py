"""Commands to chargers: signed here, judged and carried out there, each answered with a result."""

import asyncio
import json
import secrets
import time
from typing import Any

import aiomqtt

from evtill.core import jws
from evtill.core.commands import NAMES
from evtill.core.errors import CommandError
from tillback.mqtt import Address

LIFE_S = 60


def sign(
    charger: str, key: bytes, nonce: str, name: str, args: dict[str, Any], *,
    now_s: int | None = None, command_id: str | None = None,
) -> tuple[str, bytes]:  # fmt: skip
    """(id, message for `evtill/v1/<charger>/cmd`). nonce: of the charger's retained status.

    Raises CommandError for a name that no charger knows."""
    if name not in NAMES.split():
        raise CommandError(f"unknown command {name}; known: {NAMES}")
    command_id = command_id or secrets.token_hex(8)
    now_s = int(time.time()) if now_s is None else now_s
    said = {"charger": charger, "cmd": name, "id": command_id, "iat": now_s,
            "exp": now_s + LIFE_S, "nonce": nonce, "args": args}  # fmt: skip
    return command_id, jws.hs256_sign(json.dumps(said).encode(), jws.COMMAND, key)


async def send(
    broker: str | Address, charger: str, key: bytes, name: str, args: dict[str, Any],
    timeout_s: float = 20.0,
) -> dict[str, Any]:  # fmt: skip
    """Sends a command over a connection of its own. Returns its result {id, status, detail}.

    Raises CommandError when the charger is offline or does not answer in time."""
    address = Address.parse(broker) if isinstance(broker, str) else broker
    base = f"evtill/v1/{charger}/"
    sent = None
    try:
        async with asyncio.timeout(timeout_s), address.client() as client:
            await client.subscribe([(base + "status", 1), (base + "cmd/result", 1)])
            async for message in client.messages:
                said = _object(message.payload)
                if str(message.topic) == base + "status" and sent is None:
                    if said.get("state") == "offline":
                        raise CommandError(f"{charger} is offline")
                    sent, body = sign(charger, key, str(said.get("nonce")), name, args)
                    await client.publish(base + "cmd", body, qos=1)
                elif str(message.topic) == base + "cmd/result" and said.get("id") == sent:
                    return said
    except TimeoutError:
        what = "answer" if sent else "status"
        raise CommandError(f"no {what} of {charger} within {timeout_s:.0f} s") from None
    except aiomqtt.MqttError as error:
        raise CommandError(f"broker: {error}") from error
    raise CommandError("the broker ended the connection")


def _object(payload: Any) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
