"""Who may charge: a sorted file of keyed hashes, searched where it lies.

File: "EVTK", version (1 byte), 3 zero bytes, entry count (u32), entries, CRC-32 of all before
(u32); little-endian. An entry is 12 bytes: 8 of HMAC-SHA256(key, UID), group (u16; 0: none), flags
(1: blocked), a zero byte. The key never leaves the charger's configuration, so the file tells a
thief no UID.
"""

import binascii
import struct

from evtill.core.crypto.hashes import hmac_sha256
from evtill.core.errors import EvtillError

MAGIC = b"EVTK\x01\0\0\0"
_HEADER = 12
_ENTRY = 12
BLOCKED = 1
MAX_TOKENS = 1000000


class TokenListError(EvtillError):
    """A token list that is damaged or not one."""


def token_of(key, uid):
    """The 8 bytes that stand for a card's UID everywhere but in the reader."""
    return hmac_sha256(key, uid)[:8]


def anonymous(uid):
    """Whether a UID names no card, so that it must never be looked up: one drawn anew each time
    (ISO/IEC 14443-3, 6.5.4: 4 bytes from 08 on; phones with Apple's or Google's wallet, and cards
    that hide their UID), or what some phones show that were never given one."""
    return len(uid) == 4 and (uid[0] == 0x08 or uid == b"\x01\x02\x03\x04")


def encode(entries):
    """The file of `entries`: {token (8 bytes): (group, flags)}. Raises TokenListError."""
    if len(entries) > MAX_TOKENS:
        raise TokenListError("more than %d tokens" % MAX_TOKENS)
    out = bytearray(MAGIC + struct.pack("<I", len(entries)))
    for token in sorted(entries):
        group, flags = entries[token]
        out += token + struct.pack("<HBB", group, flags, 0)
    return bytes(out) + struct.pack("<I", binascii.crc32(bytes(out)) & 0xFFFFFFFF)


class TokenList:
    """A token list behind `read_at(offset, n) -> bytes`, `size` bytes long.

    Opening reads it all once, in pieces, for its CRC. Raises TokenListError."""

    def __init__(self, read_at, size):
        self._read_at = read_at
        header = read_at(0, _HEADER)
        if size < _HEADER + 4 or header[:8] != MAGIC:
            raise TokenListError("not a token list")
        self.count = struct.unpack("<I", header[8:])[0]
        if self.count > MAX_TOKENS or size != _HEADER + self.count * _ENTRY + 4:
            raise TokenListError("token list cut short")
        crc = 0
        at = 0
        while at < size - 4:
            piece = read_at(at, min(1024, size - 4 - at))
            crc = binascii.crc32(piece, crc)
            at += len(piece)
        if struct.unpack("<I", read_at(size - 4, 4))[0] != crc & 0xFFFFFFFF:
            raise TokenListError("token list damaged: wrong CRC")

    def find(self, token):
        """(group, flags) of `token` (8 bytes), or None."""
        low = 0
        high = self.count
        while low < high:
            middle = (low + high) // 2
            entry = self._read_at(_HEADER + middle * _ENTRY, _ENTRY)
            found = entry[:8]
            if found == token:
                group, flags, _ = struct.unpack("<HBB", entry[8:])
                return group, flags
            if found < token:
                low = middle + 1
            else:
                high = middle
        return None
