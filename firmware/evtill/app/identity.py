"""The charger's record key: made on the board, never shown to anybody.

File record.key: 32 bytes, big-endian private key, CRC-32. The public key is derived from it.
"""

import binascii
import os
import struct

from evtill.core import jws
from evtill.core.crypto import p256
from evtill.core.errors import SignatureError

_FILE = "/record.key"


def engine():
    """The P-256 engine with its table."""
    folder = p256.__file__.rsplit("/", 1)[0]
    return p256.P256(p256.FileTable(open(folder + "/p256.tab", "rb")))


class Identity:
    """sign(digest) -> (r, s) with the record key; public: (x, y); kid: its RFC 7638 thumbprint."""

    def __init__(self, folder):
        self._engine = engine()
        try:
            with open(folder + _FILE, "rb") as f:
                data = f.read(64)
        except OSError:
            raise SignatureError("no record key: provision the charger")
        if len(data) != 36 or struct.unpack("<I", data[32:])[0] != binascii.crc32(data[:32]):
            raise SignatureError("the record key is damaged")
        self._key = int.from_bytes(data[:32], "big")
        self.public = self._engine.public_key(self._key)
        self.kid = jws.thumbprint(self.public)

    def sign(self, digest):
        return self._engine.sign(self._key, digest, os.urandom(32))


def make_key(folder):
    """Makes a record key in `folder` if there is none. Returns whether it did."""
    try:
        os.stat(folder + _FILE)
        return False
    except OSError:
        pass
    key = engine().generate(os.urandom).to_bytes(32, "big")
    with open(folder + _FILE + ".new", "wb") as f:
        f.write(key + struct.pack("<I", binascii.crc32(key)))
    os.rename(folder + _FILE + ".new", folder + _FILE)
    return True
