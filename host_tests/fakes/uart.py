"""A UART for CPython tests: what the driver writes goes to a peer, which may answer at once."""

import asyncio


class Uart:
    """`peer(bytes) -> bytes` answers each write; the answer arrives `delay_ms` later.

    `chunk`: bytes that arrive at a time, 1 ms apart; 0 for all at once. `char_us`: what a byte
    takes on the wire either way, when that is to be counted. `written` is all that the driver
    sent."""

    def __init__(self, peer=None, delay_ms=1, chunk=0, char_us=0):
        self.peer = peer
        self.delay_ms = delay_ms
        self.chunk = chunk
        self.char_us = char_us
        self.written = []
        self.rx = bytearray()
        self.broken = False
        self._arrived = asyncio.Event()

    def arrive(self, data):
        """Bytes on the line, now."""
        self.rx += data
        if data:
            self._arrived.set()

    def arrive_in(self, ms, data):
        """Bytes on the line, `ms` from now."""
        asyncio.get_running_loop().call_later(ms / 1000, self.arrive, bytes(data))

    def write(self, data):
        if self.broken:
            raise OSError(5, "EIO")
        self.written.append(bytes(data))
        said = self.peer(bytes(data)) if self.peer else b""
        size = self.chunk or max(1, len(said))
        for i in range(0, len(said), size):
            piece = said[i : i + size]
            air_ms = (len(data) + i + len(piece)) * self.char_us / 1000
            self.arrive_in(self.delay_ms + i // size + air_ms, piece)
        return len(data)

    def readinto(self, buf, nbytes=None):
        if self.broken:
            raise OSError(5, "EIO")
        n = min(len(buf) if nbytes is None else nbytes, len(self.rx))
        if n == 0:
            return None
        buf[:n] = self.rx[:n]
        del self.rx[:n]
        if not self.rx:
            self._arrived.clear()
        return n

    def any(self):
        return len(self.rx)

    async def wait_readable(self):
        """What machine.UART's poll is on a board; see evtill/drivers/aio.py."""
        await asyncio.sleep(0)
        await self._arrived.wait()
