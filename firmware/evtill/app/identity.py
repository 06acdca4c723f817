"""Who signs a charger's records: a key in a file, or a chip of the board that keeps its own.

File record.key: 32 bytes, big-endian private key, CRC-32; made on the board, never shown to
anybody; the public key is derived from it. A board with a secure element has `signer()` in its
hwconfig instead, which returns the signer that core/crypto describes.
"""

import binascii
import os
import struct

from evtill.core import jws
from evtill.core.crypto import p256
from evtill.core.crypto.curve import N
from evtill.core.errors import SignatureError

_FILE = "/record.key"


def engine():
    """The P-256 engine with its table."""
    package = __file__.rsplit("/", 2)[0]
    return p256.P256(p256.FileTable(open(package + "/core/crypto/p256.tab", "rb")))


def of(hw):
    """The Identity of the board that `hw` (its hwconfig) describes. Raises SignatureError."""
    return Identity(hw.DATA, hw.signer() if hasattr(hw, "signer") else None)


class Identity:
    """A signer: sign(digest) -> (r, s), s in the lower half; public: the point (x, y). Also kid:
    its RFC 7638 thumbprint. It signs by `signer`, or without one by the key in `folder`."""

    def __init__(self, folder, signer=None):
        self._engine = engine()
        self._signer = signer
        self.public = signer.public if signer else self._read_key(folder)
        self.kid = jws.thumbprint(self.public)

    def _read_key(self, folder):
        try:
            with open(folder + _FILE, "rb") as f:
                data = f.read(64)
        except OSError:
            raise SignatureError("no record key: provision the charger")
        if len(data) != 36 or struct.unpack("<I", data[32:])[0] != binascii.crc32(data[:32]):
            raise SignatureError("the record key is damaged")
        self._key = int.from_bytes(data[:32], "big")
        return self._engine.public_key(self._key)

    def sign(self, digest):
        """(r, s) of a 32-byte digest, checked before anybody sees it. Raises SignatureError."""
        if self._signer is None:
            return self._engine.sign(self._key, digest, os.urandom(32))
        r, s = self._signer.sign(digest)
        if not self._engine.verify(self.public, digest, r, s):
            raise SignatureError("the board's signer signed wrongly")
        return r, min(s, N - s)


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
