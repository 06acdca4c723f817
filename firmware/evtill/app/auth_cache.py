"""What the backend said of tokens that the list does not know, for as long as it said so.

Loaded for a look and given back: it keeps nothing in the heap. File auth.bin: 64 slots of 24 bytes
(little-endian): token (8), expiry in Unix seconds (4), ceiling (4; 0xFFFFFFFF: none), flags as in
core.tokens (1), 3 zeros, CRC-32 of these (4). LittleFS replaces a slot whole or not at all; one
that is damaged is a free one. The token list is asked first: what it blocks stays blocked.
"""

import binascii
import struct

SLOTS = 64
_SLOT = 24
_FILE = "/auth.bin"
_FORMAT = "<8sIIB3x"
_NO_CEILING = 0xFFFFFFFF


def settle(folder, token, unix_s, life_s, answer):
    """What holds for a token that the backend was asked about: its `answer` (allowed, text, ref,
    ceiling), which is remembered for life_s; for None, an earlier one that still lasts, or None.
    unix_s: now, None while the clock is not set. Raises OSError."""
    if answer is None:
        found = look(folder, token, unix_s)
        return None if found is None else (True, None, None, found[3])
    if answer[0] and life_s and unix_s is not None:
        keep(folder, token, unix_s, unix_s + life_s, answer[3])
    else:
        forget(folder, token)
    return answer


def look(folder, token, unix_s):
    """(None, flags, expires, ceiling), as TokenList.find() has it, of a token that the backend
    allowed and whose time is not over; else None. unix_s: now; with None (the clock is not set)
    nothing is known. Raises OSError."""
    if unix_s is not None:
        for _, known, expires, ceiling, flags in _slots(folder):
            if known == token and unix_s < expires:
                return None, flags, expires, None if ceiling == _NO_CEILING else ceiling
    return None


def keep(folder, token, unix_s, expires, ceiling=None, flags=0):
    """Remembers until `expires` that the backend allowed `token`. What makes room for it: a free
    slot, one whose time is over, the one that would be over first. Raises OSError."""
    places = []
    for at, known, until, _, _ in _slots(folder):
        if known == token:
            places = [(0, at)]
            break
        places.append((until if until > unix_s else 0, at))
    if not places:
        with open(folder + _FILE, "wb") as file:
            file.write(bytes(SLOTS * _SLOT))
        places = [(0, 0)]
    data = struct.pack(
        _FORMAT, token, expires, _NO_CEILING if ceiling is None else ceiling, flags
    )  # fmt: skip
    _write(folder, min(places)[1], data + struct.pack("<I", binascii.crc32(data)))


def forget(folder, token):
    """The backend does not allow `token` any more. Raises OSError."""
    for at, known, _, _, _ in _slots(folder):
        if known == token:
            _write(folder, at, bytes(_SLOT))


def _slots(folder):
    """Yields (offset, token, expires, ceiling, flags) of each slot, a free one with zeros; nothing
    where there is no file."""
    try:
        file = open(folder + _FILE, "rb")
    except OSError as e:
        if e.args[0] != 2:  # ENOENT
            raise
        return
    with file:
        for at in range(0, SLOTS * _SLOT, _SLOT):
            slot = file.read(_SLOT)
            if len(slot) != _SLOT or (
                struct.unpack("<I", slot[20:])[0] != binascii.crc32(slot[:20])
            ):  # fmt: skip
                yield at, None, 0, 0, 0
            else:
                known, expires, ceiling, flags = struct.unpack(_FORMAT, slot[:20])
                yield at, known, expires, ceiling, flags


def _write(folder, at, slot):
    with open(folder + _FILE, "r+b") as file:
        file.seek(at)
        file.write(slot)
