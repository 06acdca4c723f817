"""What the backend is told of a charger: provisioning's file, and new keys that old ones name."""

import json
from pathlib import Path

from evtill.core import jws
from evtill.core.errors import ConfigError
from tillback.store import Store
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey


def read(file: Path) -> tuple[str, PublicKey, str, str]:
    """(charger, public key, ack key, command key in hex) of the file that provisioning left."""
    try:
        found = json.loads(file.read_text())
        return (
            str(found["charger"]), PublicKey(str(found["public_key"])), str(found["ack_key"]),
            str(found["command_key"]),
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file}: not a file that `tillctl provision` left") from None


def mqtt_password(file: Path) -> str | None:
    """The charger's password on the broker, where such a file holds one."""
    found = json.loads(file.read_text())
    password = found.get("mqtt_password") if isinstance(found, dict) else None
    return password if isinstance(password, str) and password else None


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
