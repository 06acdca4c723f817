"""Drivers on the board's interpreter and asyncio, over a UART that plays recorded dialogues.

`play(table, meter, reader)` takes a meter's table in hex and two dialogues, each a list of
(written, reply) in hex, recorded with the wire simulators on CPython. Prints what the drivers made
of them."""

import asyncio
import gc
import io
import time

from evtill.core.errors import ModbusTimeout, ReaderError
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
from evtill.drivers.pn532 import PN532

_POLL = 3  # MP_STREAM_POLL
_READABLE = 1


class Uart(io.IOBase):
    """A pollable stream that expects each write of its dialogue, and then has its reply."""

    def __init__(self, dialogue):
        self.dialogue = [(bytes.fromhex(w), bytes.fromhex(r)) for w, r in dialogue]
        self.rx = b""
        self.wrong = None

    def write(self, data):
        if self.dialogue:
            wanted, reply = self.dialogue.pop(0)
            if bytes(data) != wanted:
                self.wrong = (bytes(data), wanted)
            self.rx += reply
        return len(data)

    def readinto(self, buf):
        n = min(len(buf), len(self.rx))
        if n == 0:
            return None
        buf[:n] = self.rx[:n]
        self.rx = self.rx[n:]
        return n

    def ioctl(self, request, argument):
        if request == _POLL:
            return argument & _READABLE if self.rx else 0
        return 0


async def _play(table, meter_dialogue, reader_dialogue):
    uart = Uart(meter_dialogue)
    meter = Meter(ModbusMaster(uart), bytes.fromhex(table), timeout_ms=100)
    reading = await meter.read()
    print(reading.energy_wh, reading.power_w, reading.voltage_mv, reading.current_ma)
    print(await meter.read_energy_wh(), await meter.read_serial())
    start = time.ticks_ms()
    try:
        await meter.read()
    except ModbusTimeout:
        ms = time.ticks_diff(time.ticks_ms(), start)
        print("timeout", 100 <= ms < 400)
    print("modbus", uart.wrong, len(uart.dialogue))

    uart = Uart(reader_dialogue)
    reader = PN532(uart)
    await reader.begin()
    print(reader.firmware, await reader.read_uid(50))
    print((await reader.read_uid(50)).hex())
    try:
        await reader.read_uid(50)
    except ReaderError as e:
        print(e)
    print("pn532", uart.wrong, len(uart.dialogue))


async def _other_task(ticks):
    while True:
        await asyncio.sleep_ms(1)
        ticks.append(1)
        if len(ticks) > 1000:
            ticks.clear()


def play(table, meter_dialogue, reader_dialogue):
    async def main():
        ticks = []
        task = asyncio.create_task(_other_task(ticks))
        await _play(table, meter_dialogue, reader_dialogue)
        task.cancel()
        print("others ran", len(ticks) > 50)

    asyncio.run(main())
    gc.collect()
    print("heap", gc.mem_alloc())
