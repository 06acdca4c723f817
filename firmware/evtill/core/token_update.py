"""Token lists as they arrive: checked whole before they count, and deltas merged into them.

A delta (little-endian): "EVTD", version (1 byte), 3 zero bytes, SHA-256 of the list that it
changes (32), of the list that it makes (32), bytes of that one's header and tables (4), number of
changes (4); the header and tables; 12 bytes a change, ascending: token, and its new word or
tokens.GONE.

Both are generators that yield between pieces of a few ms, for the caller to let others run.
"""

import binascii
import struct

from evtill.core.tokens import ENTRY, GONE, HEADER, TokenList, TokenListError

DELTA = b"EVTD\x01\0\0\0"
DELTA_HEADER = 80
_PIECE = 42 * ENTRY


def check(read_at, size, key):
    """Checks the list behind read_at(offset, n), `size` bytes, made under `key`: length, CRC and
    order. Raises TokenListError."""
    found = TokenList(read_at, key)
    if size != found.size:
        raise TokenListError("token list of %d bytes, not %d" % (size, found.size))
    crc = 0
    at = HEADER
    while at < found.entries:
        crc = binascii.crc32(_whole(read_at, at, min(_PIECE, found.entries - at)), crc)
        at = min(at + _PIECE, found.entries)
    last = b""
    while at < size:
        piece = _whole(read_at, at, min(_PIECE, size - at))
        crc = binascii.crc32(piece, crc)
        for i in range(0, len(piece), ENTRY):
            token = piece[i : i + 8]
            if token <= last:
                raise TokenListError("token list out of order")
            last = token
        at += len(piece)
        yield
    if crc != found.crc:
        raise TokenListError("token list damaged: wrong CRC")


def delta_of(read_at, size):
    """(SHA-256 of the list that a delta changes, of the list that it makes, bytes of that one's
    head). Raises TokenListError."""
    head = read_at(0, DELTA_HEADER)
    if len(head) != DELTA_HEADER or head[:8] != DELTA:
        raise TokenListError("not a delta of a token list")
    length, changes = struct.unpack("<II", head[72:])
    if length < HEADER or size != DELTA_HEADER + length + changes * ENTRY:
        raise TokenListError("delta cut short")
    return head[8:40], head[40:72], length


def merge(old, read_old, read_delta, size, write):
    """Writes, by write(data), the list that a delta of `size` bytes makes of `old` (a TokenList),
    whose file is behind read_old. Raises TokenListError."""
    at = DELTA_HEADER
    end = at + delta_of(read_delta, size)[2]
    while at < end:
        piece = _whole(read_delta, at, min(_PIECE, end - at))
        write(piece)
        at += len(piece)
        yield
    left = _Entries(read_old, old.entries, old.size)
    last = b""
    while at < size:
        changes = _whole(read_delta, at, min(_PIECE, size - at))
        at += len(changes)
        for i in range(0, len(changes), ENTRY):
            change = changes[i : i + ENTRY]
            token = change[:8]
            if token <= last:
                raise TokenListError("delta out of order")
            last = token
            while left._copy_below(token, write):
                yield
            known = left._skip(token)
            if struct.unpack("<I", change[8:])[0] != GONE:
                write(change)
            elif not known:
                raise TokenListError("delta removes a token that is not there")
        yield
    while left._copy_below(b"\xff" * 9, write):
        yield


class _Entries:
    """Those of a list that are not copied yet."""

    def __init__(self, read_at, at, end):
        self._read_at = read_at
        self._at = at
        self._end = end
        self._piece = b""
        self._done = 0  # bytes of the piece

    def _copy_below(self, token, write):
        """Copies the entries of this piece that are below `token`. Whether more may follow."""
        piece = self._piece
        if self._done == len(piece):
            if self._at == self._end:
                return False
            self._piece = piece = _whole(self._read_at, self._at, min(_PIECE, self._end - self._at))
            self._at += len(piece)
            self._done = 0
        low = self._done // ENTRY
        high = len(piece) // ENTRY
        while low < high:
            middle = (low + high) // 2
            if piece[middle * ENTRY : middle * ENTRY + 8] < token:
                low = middle + 1
            else:
                high = middle
        write(piece[self._done : low * ENTRY])
        self._done = low * ENTRY
        return self._done == len(piece)

    def _skip(self, token):
        """Passes over the next entry if it is of `token`. Whether it was."""
        at = self._done
        known = self._piece[at : at + 8] == token
        if known:
            self._done = at + ENTRY
        return known


def _whole(read_at, offset, n):
    data = read_at(offset, n)
    if len(data) != n:
        raise TokenListError("token list cut short")
    return data
