"""MicroPython's `time` and asyncio names for CPython, on a clock that the test moves."""

import asyncio
import time
from collections.abc import Iterator

import pytest


class FakeTicks:
    """ticks_ms() of a board that has run for `now_ms`; wraps at 2^30 as an ESP32's does."""

    def __init__(self) -> None:
        self.now_ms = 0

    def ticks_ms(self) -> int:
        return self.now_ms % (1 << 30)

    @staticmethod
    def ticks_add(ticks: int, delta: int) -> int:
        return (ticks + delta) % (1 << 30)

    @staticmethod
    def ticks_diff(end: int, start: int) -> int:
        return (end - start + (1 << 29)) % (1 << 30) - (1 << 29)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTicks]:
    """A FakeTicks behind `time.ticks_*`, and an asyncio.sleep_ms that moves it at once."""
    fake = FakeTicks()
    for name in ("ticks_ms", "ticks_add", "ticks_diff"):
        monkeypatch.setattr(time, name, getattr(fake, name), raising=False)

    async def sleep_ms(ms: int) -> None:
        fake.now_ms += ms
        await asyncio.sleep(0)

    monkeypatch.setattr(asyncio, "sleep_ms", sleep_ms, raising=False)
    yield fake
