"""What the backend is told of a charger: provisioning's file, and new keys that old ones name."""

import base64
import json
from pathlib import Path
from typing import NamedTuple

from evtill.core import jws
from evtill.core.errors import ConfigError
from tillback.store import Store
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey


class Registration(NamedTuple):
    """What `tillctl provision` left: keys in hex; its password on the broker, and the compact table
    of its tariff, where they are told."""

    charger: str
    key: PublicKey
    ack_key: str
    command_key: str
    mqtt_password: str | None
    tariff: bytes | None


def read(file: Path) -> Registration:
    """The registration in a file. Raises ConfigError."""
    try:
        found = json.loads(file.read_text())
        password, tariff = found.get("mqtt_password"), found.get("tariff")
        return Registration(
            str(found["charger"]), PublicKey(str(found["public_key"])), str(found["ack_key"]),
            str(found["command_key"]),
            str(password) if password else None,
            None if tariff is None else base64.b64decode(str(tariff), validate=True),
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{file}: not a file that `tillctl provision` left") from None


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
