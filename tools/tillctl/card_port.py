"""A PN532 on a serial port of this PC, driven by the firmware's own driver."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator
from typing import Any, TypeVar

import serial

from evtill.core.errors import CardError, ReaderError
from evtill.drivers.pn532 import PN532
from evtill.drivers.pn532_cards import Dialogue

BAUD = 115200  # the chip's own after power-up (UM0701-02, 7.2.7)

T = TypeVar("T")


class SerialUart:
    """A serial port as evtill.drivers.aio wants a UART on CPython."""

    def __init__(self, path: str) -> None:
        self._port = serial.Serial(path, BAUD, timeout=0, write_timeout=1)

    def readinto(self, buf: memoryview) -> int | None:
        data = self._port.read(len(buf))
        buf[: len(data)] = data
        return len(data) or None

    def write(self, data: bytes) -> int | None:
        return self._port.write(bytes(data))

    async def wait_readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._port.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._port.fileno())

    def close(self) -> None:
        self._port.close()


@contextlib.asynccontextmanager
async def reader_on(path: str) -> AsyncIterator[PN532]:
    """The reader at `path`, ready. Raises ReaderError."""
    try:
        uart = SerialUart(path)
    except (serial.SerialException, ValueError) as e:
        raise ReaderError(f"{path}: {e}") from None
    try:
        reader = PN532(uart, all_kinds=True)
        await reader.begin()
        yield reader
    except serial.SerialException as e:
        raise ReaderError(f"{path}: {e}") from None
    finally:
        uart.close()


async def wait_for_card(reader: PN532, timeout_ms: int) -> bytes:
    """The id of the card that is put on the reader. Raises CardError when none comes."""
    uid = await reader.read_uid(timeout_ms)
    if uid is None:
        raise CardError(f"no card within {timeout_ms // 1000} s")
    return uid


async def converse(card: Dialogue, dialogue: Generator[bytes, Any, T]) -> T:
    """What a dialogue of evtill.core.ev2 comes to with `card`. Raises CardError, CardGone."""
    reply = None
    while True:
        try:
            command = dialogue.send(reply)
        except StopIteration as end:
            return end.value
        reply = await card.exchange(command)
