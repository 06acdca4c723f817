"""An operator's keys for cards, in a file; and the dialogues that write them to a blank card.

Commands by NXP NT4H2421Gx Rev. 3.0, section 10 (ChangeKey: 10.6.1; SetConfiguration: 10.5.1), and
MF3D(H)x3, DESFire EV3's short data sheet (CreateApplication).
"""

import json
import os
import secrets
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from evtill.app import config as config_table
from evtill.core import ev2
from evtill.core.errors import CardError, ConfigError
from tillctl.card_aes import aes

BLANK = bytes(16)  # from the factory
_CREATE_APPLICATION = 0xCA
_CHANGE_KEY = 0xC4
_SET_CONFIGURATION = 0x5C
_EXISTS = b"\x91\xde"
# Of the application: its keys change under key 0 alone; three AES keys.
_SETTINGS = b"\x0b\x83"
_HIDE_UID = b"\x02"
_VERSION = b"\x01"  # of the keys that we write

T = TypeVar("T")
Talk = Generator[bytes, Any, T]


@dataclass(frozen=True)
class Keys:
    """master: chargers have it (their card_key); issuer: only who writes cards has it."""

    master: bytes
    issuer: bytes
    aid: bytes
    system: bytes

    def of(self, uid: bytes, number: int) -> bytes:
        """A card's key."""
        master = self.issuer if number == ev2.ISSUER_KEY else self.master
        return ev2.card_key(aes, master, uid, self.aid, self.system, number)


def load(path: Path) -> Keys:
    """The keys in a file; made with fresh ones (mode 600) where there is none. Raises
    ConfigError."""
    if not path.exists():
        fresh = {
            "card_key": secrets.token_hex(16), "issuer_key": secrets.token_hex(16),
            "card_aid": config_table.KEYS["card_aid"][1],
            "card_system": config_table.KEYS["card_system"][1],
        }  # fmt: skip
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            json.dump(fresh, f, indent=1)
    try:
        given = json.loads(path.read_text())
        keys = Keys(bytes.fromhex(given["card_key"]), bytes.fromhex(given["issuer_key"]),
                    bytes.fromhex(given["card_aid"]), given["card_system"].encode())  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"{path}: a JSON object with card_key, issuer_key, card_aid (hex) and card_system "
            "expected"
        ) from None
    lengths = len(keys.master), len(keys.issuer), len(keys.aid)
    if lengths != (16, 16, 3) or not 5 <= len(keys.system) <= 16:
        raise ConfigError(f"{path}: keys of 16 bytes, card_aid of 3, card_system of 5 to 16")
    return keys


def state(keys: Keys, shown: bytes) -> Talk[str]:
    """Dialogue: "ntag424" or "desfire" for a blank card, "partly NAME" for one that was left
    half-written, "ours" for one with our keys. Raises CardError for others."""
    desfire = bytes((yield ev2.apdu(ev2.SELECT_APPLICATION, bytes(3)))) == ev2.OK
    if not (yield from ev2.select(keys.aid)):
        if desfire:
            return "desfire"
        raise CardError("neither an NTAG 424 DNA nor a DESFire")
    kind = "desfire" if desfire else "ntag424"
    if (yield from _opens(BLANK, ev2.ISSUER_KEY)):
        fresh = yield from _opens(BLANK, ev2.CARD_KEY)
        return kind if fresh else f"partly {kind}"
    if (yield from ev2.prove(aes, keys.master, keys.aid, keys.system, shown, os.urandom)):
        return "ours"
    raise CardError("no key of ours, nor blank")


def personalise(keys: Keys, kind: str, hide_uid: bool) -> Talk[bytes]:
    """Dialogue: writes the keys to a blank card; its true UID. The issuer's key comes last, so that
    a card which is pulled away is begun again. hide_uid: of an NTAG. Raises CardError."""
    if kind == "desfire":
        yield ev2.apdu(ev2.SELECT_APPLICATION, bytes(3))
        reply = bytes((yield ev2.apdu(_CREATE_APPLICATION, keys.aid + _SETTINGS)))
        if reply not in (ev2.OK, _EXISTS):
            raise CardError(f"no application can be made: status {reply[-2:].hex()}")
    if not (yield from ev2.select(keys.aid)):
        raise CardError("the application cannot be opened")
    session = yield from _session(BLANK, ev2.ISSUER_KEY)
    uid: bytes = yield from session.run(ev2.GET_CARD_UID)
    for number in (ev2.CARD_KEY, ev2.UID_KEY):
        new = keys.of(uid, number)
        if (yield from _opens(new, number)):
            continue  # of an earlier attempt
        session = yield from _session(BLANK, ev2.ISSUER_KEY)
        crc = (zlib.crc32(new) ^ 0xFFFFFFFF).to_bytes(4, "little")
        # The new key over the old one, which is all zeros.
        yield from session.run(_CHANGE_KEY, bytes([number]), new + _VERSION + crc)
    session = yield from _session(BLANK, ev2.ISSUER_KEY)
    if hide_uid:
        yield from session.run(_SET_CONFIGURATION, b"\0", _HIDE_UID)
    last = keys.of(uid, ev2.ISSUER_KEY) + _VERSION
    reply = bytes((yield session.command(_CHANGE_KEY, bytes([ev2.ISSUER_KEY]), last)))
    if reply[-2:] != ev2.OK:  # without a MAC: the session ends with its key
        raise CardError(f"the issuer's key was not taken: status {reply[-2:].hex()}")
    return uid


def _session(key: bytes, number: int) -> Talk[ev2.Session]:
    session = yield from ev2.authenticate(aes, key, number, os.urandom(16))
    if session is None:
        raise CardError(f"no key {number}")
    return session


def _opens(key: bytes, number: int) -> Talk[bool]:
    """Whether `key` is the card's key `number`."""
    try:
        return (yield from ev2.authenticate(aes, key, number, os.urandom(16))) is not None
    except CardError:
        return False
