"""Waiting for a UART: the one place where MicroPython's and CPython's asyncio differ for drivers.

A UART is any non-blocking object with `readinto(buf) -> int | None` and `write(buf) -> int | None`.
MicroPython waits for it with `asyncio.StreamReader`, so it must be pollable there (machine.UART
is). On CPython it has a coroutine `wait_readable()` instead.
"""

import asyncio
import sys

if sys.implementation.name == "micropython":
    from asyncio import sleep_ms, wait_for_ms
    from time import ticks_add, ticks_diff, ticks_ms

    _STREAM = asyncio.StreamReader
else:
    _STREAM = None

    def ticks_ms():
        """Milliseconds of the running loop's own clock, so that a test's loop can own time."""
        return int(asyncio.get_running_loop().time() * 1000 + 0.5)

    def ticks_add(ticks, delta_ms):
        """`ticks` moved by `delta_ms`."""
        return ticks + delta_ms

    def ticks_diff(later, earlier):
        """Milliseconds from `earlier` to `later`."""
        return later - earlier

    async def sleep_ms(ms):
        """Sleeps `ms` milliseconds."""
        await asyncio.sleep(ms / 1000)

    async def wait_for_ms(awaitable, timeout_ms):
        """The awaitable's result. Raises asyncio.TimeoutError after `timeout_ms`."""
        return await asyncio.wait_for(awaitable, timeout_ms / 1000)


class Receiver:
    """Bytes that a UART has received and nobody has used yet: `buf[:n]`.

    `view` is a memoryview of `buf`; both are overwritten by `more()`, `take()` and `drop()`."""

    def __init__(self, uart, size):
        self._uart = uart
        self._stream = _STREAM(uart) if _STREAM else None
        self.buf = bytearray(size)
        self.view = memoryview(self.buf)
        self.n = 0

    def take(self):
        """Takes what has arrived, without waiting. Returns the number of new bytes."""
        if self.n == len(self.buf):
            return 0
        got = self._uart.readinto(self.view[self.n :]) or 0
        self.n += got
        return got

    async def more(self, timeout_ms):
        """Waits for at least one byte, `timeout_ms` at most. Returns the number of new bytes.

        Needs room in the buffer. A reader of its own must not be waiting already."""
        before = self.n
        if timeout_ms > 0:
            try:
                await wait_for_ms(self._next(), timeout_ms)
            except asyncio.TimeoutError:
                pass
            else:
                if self.n == before:
                    # Readable without bytes: a line that hung up. Without this the caller would
                    # spin until its deadline.
                    await sleep_ms(5)
        # A byte may have come between the timer and this task's turn.
        self.take()
        return self.n - before

    async def _next(self):
        # The count is kept here, not returned: a result can be lost to a timeout, bytes must not.
        if self._stream:
            got = await self._stream.readinto(self.view[self.n :])
            if got:
                self.n += got
        else:
            await self._uart.wait_readable()
            self.take()

    def drop(self, count):
        """Forgets the first `count` bytes."""
        left = self.n - count
        if left > 0 and count > 0:
            self.buf[:left] = bytes(self.view[count : self.n])
        self.n = max(left, 0)

    def clear(self):
        """Forgets everything that has arrived until now. Returns how much was still in the UART."""
        stale = 0
        self.n = 0
        # Bounded: a line that babbles must not hold the loop. The caller waits for silence.
        for _ in range(8):
            got = self.take()
            self.n = 0
            stale += got
            if got < len(self.buf):
                break
        return stale
