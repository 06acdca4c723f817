"""Frames in append-only files: what a cut, a torn write or a flipped bit may cost is one frame.

| offset | bytes | what (little-endian) |
| --- | --- | --- |
| 0 | 1 | 0xE5: stands in no ASCII text, so the next frame is found again behind damage |
| 1 | 1 | kind |
| 2 | 2 | length of the payload |
| 4 | 4 | sequence: one higher than the frame's before in the same log |
| 8 | length | payload |
| 8 + length | 4 | CRC-32 (IEEE 802.3) of everything before it |

A store holds the files: names() -> list of str, size(name), read_at(name, offset, buffer) -> bytes
read, append(name, *chunks) (durable when it returns), remove(name), rename(old, new) (replaces),
free_bytes(). It raises OSError.
"""

import struct
from binascii import crc32

OVERHEAD = 12
PAYLOAD_MAX = 4096
_MAGIC = b"\xe5"
_HEADER = "<BBHI"
_PIECE = 256


def encode(kind, sequence, *parts):
    """The chunks of one frame whose payload is `parts` (bytes-like) together."""
    length = 0
    for part in parts:
        length += len(part)
    if length > PAYLOAD_MAX:
        raise ValueError("a payload of %d bytes" % length)
    header = struct.pack(_HEADER, 0xE5, kind, length, sequence)
    crc = crc32(header)
    for part in parts:
        crc = crc32(part, crc)
    chunks = [header]
    chunks += parts
    chunks.append(struct.pack("<I", crc))
    return chunks


def size_of(chunks):
    """Bytes of several chunks together."""
    n = 0
    for chunk in chunks:
        n += len(chunk)
    return n


class FrameReader:
    """Finds and reads frames in a store's files. Raises the store's OSError.

    skipped: bytes behind the last good frame of the last scan that were none. unreadable: whether
    a tolerant scan has met bytes that the store could not read."""

    def __init__(self, store):
        self._store = store
        self._buffer = bytearray(_PIECE + 4)  # room for a CRC that begins at the piece's end
        self._piece = memoryview(self._buffer)[:_PIECE]
        self.skipped = 0
        self.unreadable = False

    def scan(self, name, offset=0, tolerant=False):
        """Yields (offset, kind, sequence, length) of each whole frame from `offset` on; whatever
        else lies between is passed over, when `tolerant` also what cannot be read."""
        size = self._store.size(name)
        self.skipped = 0
        while offset < size:
            try:
                found = self._frame_at(name, offset, size)
            except OSError:
                if not tolerant:
                    raise
                self.unreadable = True
                found = _PIECE
            if isinstance(found, int):
                self.skipped += found
                offset += found
            else:
                self.skipped = 0
                yield found
                offset += OVERHEAD + found[3]

    def _frame_at(self, name, offset, size):
        """What scan() yields, or how many bytes to go on."""
        buffer = self._buffer
        got = self._store.read_at(name, offset, self._piece)
        if got >= OVERHEAD and buffer[0] == 0xE5:
            _, kind, length, sequence = struct.unpack_from(_HEADER, buffer)
            end = offset + OVERHEAD + length
            if length <= PAYLOAD_MAX and end <= size:
                if self._whole(name, offset, end, got):
                    return offset, kind, sequence, length
                got = self._store.read_at(name, offset, self._piece)
        step = buffer.find(_MAGIC, 1, got)
        return step if step > 0 else max(got, 1)

    def _whole(self, name, offset, end, got):
        """Whether the CRC of the frame at offset..end holds; `got` bytes of it are buffered."""
        view = memoryview(self._buffer)
        crc = 0
        while offset + got < end - 4:
            crc = crc32(view[:got], crc)
            offset += got
            got = self._store.read_at(name, offset, self._piece)
            if got <= 0:
                return False
        rest = end - 4 - offset
        crc = crc32(view[:rest], crc)
        if got < rest + 4:
            self._store.read_at(name, end - 4, view[rest : rest + 4])
        return struct.unpack_from("<I", self._buffer, rest)[0] == crc

    def payload(self, name, offset, length):
        """A frame's payload as a new bytearray, by what scan() said of it."""
        out = bytearray(length)
        if self._store.read_at(name, offset + 8, out) != length:
            raise OSError(5)
        return out
