"""Who may charge: a sorted file of keyed hashes, searched where it lies.

| offset | bytes | what (little-endian) |
| --- | --- | --- |
| 0 | 4 | "EVTK" |
| 4 | 1 | version: 2 |
| 5 | 3 | bits of an entry's word for group, expiry, ceiling: 28 together |
| 8 | 4 | number of entries |
| 12 | 6 | number of groups, expiries, ceilings (2 each) |
| 18 | 1 | bytes of a group's name |
| 19 | 1 | zero |
| 20 | 8 | HMAC-SHA256(key, "evtill tokens"), cut: whose list it is |
| 28 | 4 | CRC-32 of all behind the header |
| 32 | 4 | CRC-32 of the header before it |
| 36 | | groups: names, padded with zeros |
| | 4 each | expiries: Unix seconds |
| | 4 each | ceilings: minor units |
| | 12 each | entries: 8 of HMAC-SHA256(key, UID), then the word (4); ascending |

The word holds, from its upper end: group, expiry and ceiling, each as 1 + its index in its table
(0: none), and 4 bits of flags. So an entry has four dimensions in 4 bytes, and what many entries
share is kept once. The word 0xFFFFFFFF stands in no list: in a delta it removes a token.

Behind the list in flash stands a stamp of 44 bytes: "EVTS", version of the list (4), its SHA-256,
CRC-32 of these. It is written once all of the list has been checked, so that no boot need read a
megabyte again.

What the hash hides: without the key, everything. With it, all 4-byte UIDs can be tried out, on a
graphics card in minutes. The key belongs into an eFuse HMAC block or encrypted NVS where a board
has one.
"""

import binascii
import struct

from evtill.core.crypto.hashes import hmac_sha256
from evtill.core.errors import EvtillError

MAGIC = b"EVTK\x02"
HEADER = 36
ENTRY = 12
STAMP = 44
GONE = 0xFFFFFFFF
BLOCKED, PREPAID, FREE, ASK = 1, 2, 4, 8  # ASK: the backend first, this list while it is away
FLAG_BITS = 4
MAX_TOKENS = 1000000
_HEAD = "<5s3BI3HBx8sI"
_LAST = 42  # entries that are searched in one read: the last levels


class TokenListError(EvtillError):
    """A token list that is damaged, not one, or not this charger's."""


def token_of(key, uid):
    """The 8 bytes that stand for a card's UID everywhere but in the reader."""
    return hmac_sha256(key, uid)[:8]


def anonymous(uid):
    """Whether a UID names no card, so that it must never be looked up: one drawn anew each time
    (ISO/IEC 14443-3, 6.5.4: 4 bytes from 08 on; phones with Apple's or Google's wallet, and cards
    that hide their UID), or what some phones show that were never given one."""
    return len(uid) == 4 and (uid[0] == 0x08 or uid == b"\x01\x02\x03\x04")


def why_not(found, unix_s):
    """Why a token may not charge by the list: (event, words for the display), or None if it may.

    found: what find() gave; unix_s: now, None while the clock is not set: then nobody knows
    whether a token with an expiry is still good, and it waits for the clock."""
    if found is None:
        return "token_unknown", "card is not known"
    _, flags, expires, ceiling = found
    if flags & BLOCKED:
        return "token_blocked", "card is blocked"
    if flags & PREPAID and ceiling is None:
        return "start_refused", "credit is not known"
    if expires is not None:
        if unix_s is None:
            return "start_refused", "clock is not set"
        if unix_s >= expires:
            return "token_expired", "card has expired"
    return None


class TokenList:
    """A token list behind `read_at(offset, n) -> bytes`.

    Opening it reads the header alone: the rest was checked when it was received. key: under which
    it must have been made, None for any. size: bytes that it has. Raises TokenListError."""

    def __init__(self, read_at, key=None):
        self._read_at = read_at
        head = read_at(0, HEADER)
        if head[:4] != MAGIC[:4]:
            raise TokenListError("not a token list")
        if head[4:5] != MAGIC[4:]:
            raise TokenListError("token list of another version")
        if len(head) != HEADER or struct.unpack("<I", head[32:])[0] != binascii.crc32(head[:32]):
            raise TokenListError("token list damaged: its header")
        fields = struct.unpack(_HEAD, head[:32])
        self.bits = fields[1:4]
        self.count = fields[4]
        self.tables = fields[5:8]  # how many groups, expiries, ceilings
        self.width, whose_list, self.crc = fields[8:]
        self._expiries = HEADER + self.tables[0] * self.width
        self._ceilings = self._expiries + 4 * self.tables[1]
        self.entries = self._ceilings + 4 * self.tables[2]  # offset of the first
        self.size = self.entries + ENTRY * self.count
        if self.count > MAX_TOKENS or sum(self.bits) + FLAG_BITS != 32:
            raise TokenListError("token list damaged: its header")
        if key is not None and whose(key) != whose_list:
            raise TokenListError("token list of another charger: made under another key")

    def find(self, token):
        """(group, flags, expires, ceiling) of `token` (8 bytes): text or None, bits, Unix seconds
        or None, minor units or None; None when it is not in the list.

        TokenListError where the entries on the way are not in order; the OSError of read_at."""
        low = 0
        high = self.count
        least = b""
        most = b"\xff" * 9
        while high - low > _LAST:
            middle = (low + high) // 2
            found = self._read(self.entries + middle * ENTRY, 8)
            if not least < found < most:
                raise TokenListError("token list damaged: order")
            if found <= token:
                low = middle
                least = found
            else:
                high = middle
                most = found
        block = self._read(self.entries + low * ENTRY, (high - low) * ENTRY)
        at = block.find(token)
        while at % ENTRY:
            if at < 0:
                return None
            at = block.find(token, at + 1)
        return self._meaning(struct.unpack("<I", block[at + 8 : at + ENTRY])[0])

    def _meaning(self, word):
        flags = word & (1 << FLAG_BITS) - 1
        word >>= FLAG_BITS
        index = []
        for i in (2, 1, 0):
            index.append(word & (1 << self.bits[i]) - 1)
            word >>= self.bits[i]
            if index[-1] > self.tables[i]:
                raise TokenListError("token list damaged: an entry")
        ceiling, expires, group = index
        if group:
            name = self._read(HEADER + (group - 1) * self.width, self.width)
            try:
                group = str(name.rstrip(b"\0"), "utf-8")
            except ValueError:
                raise TokenListError("token list damaged: a group")
        return (
            group or None, flags, self._number(self._expiries, expires),
            self._number(self._ceilings, ceiling),
        )  # fmt: skip

    def _number(self, table, index):
        if not index:
            return None
        return struct.unpack("<I", self._read(table + 4 * (index - 1), 4))[0]

    def _read(self, offset, n):
        data = self._read_at(offset, n)
        if len(data) != n:
            raise TokenListError("token list cut short")
        return data


def whose(key):
    """The 8 bytes by which a list tells the key that it was made under."""
    return hmac_sha256(key, b"evtill tokens")[:8]


def stamp(version, sha256):
    """The stamp of a list that was checked. sha256: 32 bytes."""
    data = struct.pack("<4sI", b"EVTS", version) + sha256
    return data + struct.pack("<I", binascii.crc32(data))


def unstamp(data):
    """(version, SHA-256) of a stamp. Raises TokenListError."""
    if len(data) != STAMP or struct.unpack("<I", data[40:])[0] != binascii.crc32(data[:40]):
        raise TokenListError("token list damaged: its end")
    return struct.unpack("<I", data[4:8])[0], data[8:40]
