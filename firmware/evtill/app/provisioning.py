"""What tillctl asks of a board on its serial port while it provisions it."""

import binascii
import json
import os

from evtill.app import identity
from evtill.core.crypto import p256
from evtill.core.errors import ConfigError


def prepare(hw, may_format):
    """Mounts the data partition (a blank one is formatted if `may_format`), makes the record key
    if there is none and the board has no signer of its own. Returns {"made_key", "spki":
    SubjectPublicKeyInfo DER in hex}."""
    try:
        os.stat(hw.DATA)
    except OSError:
        if not (may_format or hw.data_is_blank()):
            raise ConfigError("the data partition cannot be mounted; --format erases it")
        hw.format_data()
        hw.mount_data()
    made = not hasattr(hw, "signer") and identity.make_key(hw.DATA)
    public = identity.of(hw).public
    return {"made_key": made, "spki": binascii.hexlify(p256.spki_encode(public)).decode()}


def charger_id(hw):
    """Whose configuration this is."""
    with open(hw.DATA + "/config.json") as f:
        return json.load(f)["charger_id"]


def rotate_key(hw):
    """What the record key in force says of its successor, which is made here and not in force until
    adopt_key(): a JWS, as text. Raises ConfigError, JournalError."""
    from evtill.core import key_rotation

    if hasattr(hw, "signer"):
        raise ConfigError("this board's own signer keeps its key")
    try:
        os.mkdir(_next(hw))
    except OSError as e:
        if e.args[0] != 17:  # EEXIST: it has been asked before
            raise
    identity.make_key(_next(hw))
    old = identity.of(hw)
    seq, prev = _chain(hw)
    new = identity.Identity(_next(hw)).public
    said = key_rotation.signed(charger_id(hw), seq, prev, new, old.kid, old.sign)
    return said.decode()


def adopt_key(hw, kid, seq):
    """Puts the successor `kid` in force for the records from `seq` on, if it is not. Raises
    ConfigError where it is another one, or records were made since rotate_key()."""
    if identity.of(hw).kid != kid:
        if identity.Identity(_next(hw)).kid != kid:
            raise ConfigError("the next record key is another one")
        if _chain(hw)[0] != seq:
            raise ConfigError("records were made since the key was rotated")
        os.rename(_next(hw) + "/record.key", hw.DATA + "/record.key")
    return True


def _next(hw):
    return hw.DATA + "/next"


def _chain(hw):
    """(seq, prev) of the next record."""
    from evtill.app.flash_store import FlashStore
    from evtill.core.journal import Journal

    return Journal(FlashStore(hw.DATA + "/journal")).chain()[:2]
