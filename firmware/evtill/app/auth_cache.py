"""What the backend said of tokens that the list does not know, for as long as it said so.

Loaded for a look and given back: it keeps nothing in the heap. File auth.bin: up to 64 slots of 24
bytes (little-endian): token (8), expiry in Unix seconds (4), ceiling (4; 0xFFFFFFFF: none), flags
as in core.tokens (1), 3 zeros, CRC-32 of these (4). One that is damaged is a free one. The token
list is asked first: what it blocks stays blocked.
"""

from evtill.app.files import put_slot, slots
from evtill.core.tokens import PREPAID

SLOTS = 64
_SLOT = 24
_END = SLOTS * _SLOT
_FILE = "/auth.bin"
_FORMAT = "<8sIIB3x"
_NO_CEILING = 0xFFFFFFFF


def settle(folder, token, unix_s, life_s, answer):
    """What holds for a token that the backend was asked about: its `answer` (allowed, text, ref,
    ceiling, flags), which is remembered for life_s, but not of prepaid credit, which may be used
    elsewhere; for None, an earlier one that still lasts, or None. unix_s: now, None while the clock
    is not set. Raises OSError."""
    if answer is None:
        found = look(folder, token, unix_s)
        return None if found is None else (True, None, None, found[3], found[1])
    if answer[0] and life_s and unix_s is not None and not answer[4] & PREPAID:
        keep(folder, token, unix_s, unix_s + life_s, answer[3])
    else:
        forget(folder, token)
    return answer


def look(folder, token, unix_s):
    """(None, flags, expires, ceiling), as TokenList.find() has it, of a token that the backend
    allowed and whose time is not over; else None. unix_s: now; with None (the clock is not set)
    nothing is known. Raises OSError."""
    if unix_s is not None:
        for _, found in slots(folder + _FILE, _FORMAT):
            if found and found[0] == token and unix_s < found[1]:
                _, expires, ceiling, flags = found
                return None, flags, expires, None if ceiling == _NO_CEILING else ceiling
    return None


def keep(folder, token, unix_s, expires, ceiling=None, flags=0):
    """Remembers until `expires` that the backend allowed `token`. What makes room for it: a free
    slot, one whose time is over, the one that would be over first. Raises OSError."""
    path = folder + _FILE
    places = []
    end = None
    for at, found in slots(path, _FORMAT):
        if found and found[0] == token:
            places = [(0, at)]
            end = _END
            break
        places.append((found[1] if found and found[1] > unix_s else 0, at))
        end = at + _SLOT
    if end is None or end < _END:
        places.append((0, end))
    ceiling = _NO_CEILING if ceiling is None else ceiling
    put_slot(path, min(places)[1], _FORMAT, token, expires, ceiling, flags)


def forget(folder, token):
    """The backend does not allow `token` any more. Raises OSError."""
    for at, found in slots(folder + _FILE, _FORMAT):
        if found and found[0] == token:
            put_slot(folder + _FILE, at, _FORMAT, token, 0, 0, 0)
