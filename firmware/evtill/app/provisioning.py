"""What tillctl asks of a board on its serial port while it provisions it."""

import binascii
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
