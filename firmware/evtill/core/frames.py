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


class FrameReader:
    """Finds and reads frames in a store's files. Raises the store's OSError."""

    def __init__(self, store):
        self._store = store
        self._buffer = bytearray(256)
        self.skipped = 0  # bytes of the last scan that were no frame since the last good one

    def scan(self, name, offset=0):
        """Yields (offset, kind, sequence, length) of each whole frame from `offset` on; whatever
        else lies between is passed over."""
        buffer = self._buffer
        size = self._store.size(name)
        self.skipped = 0
        while offset < size:
            got = self._store.read_at(name, offset, buffer)
            if got <= 0:
                break
            if got >= OVERHEAD and buffer[0] == 0xE5:
                _, kind, length, sequence = struct.unpack_from(_HEADER, buffer)
                end = offset + OVERHEAD + length
                if length <= PAYLOAD_MAX and end <= size and self._whole(name, offset, end, got):
                    self.skipped = 0
                    yield offset, kind, sequence, length
                    offset = end
                    continue
                got = self._store.read_at(name, offset, buffer)
            step = buffer.find(_MAGIC, 1, got)
            if step < 0:
                step = got
            self.skipped += step
            offset += step

    def _whole(self, name, offset, end, got):
        """Whether the CRC of the frame at offset..end holds; `got` bytes of it are buffered."""
        view = memoryview(self._buffer)
        crc = 0
        while offset + got < end - 4:
            crc = crc32(view[:got], crc)
            offset += got
            got = self._store.read_at(name, offset, self._buffer)
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
