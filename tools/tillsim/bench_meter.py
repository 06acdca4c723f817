"""Meters: time on the bus against what the wire format needs, and what a reading costs the board,
beside a public MicroPython Modbus library that reads the same registers in the same run."""

import hashlib
import json
import resource
import statistics
import tarfile
import tempfile
from pathlib import Path

from pypi_simple import PyPISimple

from evtill.core.errors import EvtillError
from evtill.drivers import modbus
from tillctl import firmware, meter_table
from tillsim import on_board
from tillsim.meter_wire import MeterWire

MODELS = ("sdm630", "sdm120", "em340", "b23", "iem3155", "pac2200")
BAUDS = (9600, 19200)
GOAL = 1.15
_SAMPLES = 12
_READS = 2000
_PEER = {"project": "micropython-modbus", "version": "2.3.7",
         "sha256": "b9351a66af0ff29dd585900e53827a989dedcb02ec63b1041358165089652271"}  # fmt: skip

# The UART of a meter whose answers are known, in real time: each answer begins 3.5 characters
# (1.75 ms at least) after its request has ended, and comes a character at a time.
UART = """
import time
class Line:
    def __init__(self, answers, char_us):
        self.answers = {bytes.fromhex(k): bytes.fromhex(v) for k, v in answers.items()}
        self.char_us = char_us
        self.rest = b""
    def write(self, data):
        self.rest = self.answers[bytes(data)]
        self.from_us = time.ticks_add(time.ticks_us(), 8 * self.char_us
                                      + (self.char_us and max(1750, self.char_us * 7 // 2)))
        return len(data)
    def any(self):
        passed = time.ticks_diff(time.ticks_us(), self.from_us) if self.rest else -1
        if passed < 0:
            return 0
        return min(len(self.rest), passed // self.char_us if self.char_us else 1000)
    def readinto(self, buf):
        n = min(self.any(), len(buf))
        if not n:
            return None
        buf[:n] = self.rest[:n]
        self.rest = self.rest[n:]
        if self.rest:
            self.from_us = time.ticks_add(self.from_us, n * self.char_us)
        return n
    def read(self):
        n = self.any()
        if not n:
            return None
        said, self.rest = self.rest[:n], self.rest[n:]
        return said
    def flush(self):
        pass
"""

BUS_TIME = UART + """
import asyncio, json
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
table, answers, baud, bits, n = json.loads(given)
async def main():
    line = Line(answers, bits * 1000000 // baud)
    meter = Meter(ModbusMaster(line, baud, bits), bytes.fromhex(table))
    took = []
    for i in range(n + 3):
        start = time.ticks_us()
        await meter.read()
        if i > 2:
            took.append(time.ticks_diff(time.ticks_us(), start))
    print(took)
asyncio.run(main())
"""

# `given`: table, answers, readings, in JSON. Says the bytes of heap that a reading takes, its Wh,
# and for how many microseconds it holds up other tasks at 9600 baud.
OURS = UART + """
import asyncio, gc, json
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
table, answers, n = json.loads(given)
async def main():
    meter = Meter(ModbusMaster(Line(answers, 0), 1000000), bytes.fromhex(table))
    await meter.read()
    for i in range(n):
        reading = await meter.read()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for i in range(10):
        reading = await meter.read()
    left = (gc.mem_alloc() - before) // 10
    gc.enable()
    meter = Meter(ModbusMaster(Line(answers, 10000000 // 9600), 9600, 10), bytes.fromhex(table))
    await meter.read()
    longest = [0]

    async def others():
        last = time.ticks_us()
        while True:
            await asyncio.sleep_ms(1)
            now = time.ticks_us()
            longest[0] = max(longest[0], time.ticks_diff(now, last) - 1000)
            last = now

    task = asyncio.create_task(others())
    await asyncio.sleep_ms(20)
    longest[0] = 0
    reading = await meter.read()
    task.cancel()
    print(left, reading.energy_wh, longest[0])
asyncio.run(main())
"""

PEER = UART + """
import gc, json, struct, sys
table, answers, n = json.loads(given)
class machine: pass
char_us = [0]
machine.UART = lambda *args, **options: Line(answers, char_us[0])
class Pin: pass
machine.Pin = Pin
sys.modules["machine"] = machine
from umodbus.serial import Serial
host = Serial(pins=(0, 0), baudrate=1000000)
def value(registers, i):
    return struct.unpack(">f", struct.pack(">HH", registers[i], registers[i + 1]))[0]
def read():
    first = host.read_input_registers(1, 0, 12, False)
    second = host.read_input_registers(1, 0x34, 22, False)
    return (round(value(second, 20) * 1000), round(value(second, 0)),
            [value(first, i) for i in (0, 2, 4)], [value(first, i) for i in (6, 8, 10)])
for i in range(n):
    reading = read()
gc.collect()
gc.disable()
before = gc.mem_alloc()
for i in range(10):
    reading = read()
left = (gc.mem_alloc() - before) // 10
gc.enable()
char_us[0] = 10000000 // 9600
host = Serial(pins=(0, 0), baudrate=9600)
start = time.ticks_us()
reading = read()
print(left, reading[0], time.ticks_diff(time.ticks_us(), start) if n else 0)
"""


def lines() -> list[str]:
    """Printable figures."""
    found = [f"bus time a sample, 32-bit interpreter, real time; goal: at most {GOAL} of the least"]
    found += [_bus_line(name) for name in MODELS]
    ours, theirs = _cost(OURS), _cost(PEER, (_fetch(),))
    peer = f"{_PEER['project']} {_PEER['version']}"
    found.append("one reading of an SDM630 (energy, power, 3 voltages, 3 currents):")
    for who, (cpu_us, heap, held_us) in (("evtill", ours), (peer, theirs)):
        cost = f"{cpu_us:5.0f} us of this PC's CPU, {heap:5} bytes of heap"
        held = f"holds up other tasks for {held_us / 1000:5.1f} ms at 9600 baud"
        found.append(f"  {who:24} {cost}; {held}")
    return found


def _answers(wire: MeterWire) -> dict[str, str]:
    """What the meter says to all that a board asks it for, in hex."""
    meter = wire.meter
    asked = [(meter.function, count, start) for (start, count), _ in meter_table.plan(meter)]
    asked += [part[:3] for part in (meter.serial, meter.identity) if part]
    request = bytearray(8)
    answers = {}
    for function, count, start in asked:
        modbus.put_request(request, wire.address, function, start, count)
        answers[request.hex()] = wire.exchange(bytes(request)).hex()
    return answers


def _bus_line(name: str) -> str:
    wire = MeterWire(model=name)
    try:
        wire.set(register_wh=1045120, power_w=11000)
        answers = _answers(wire)
    finally:
        wire.close()
    meter = wire.meter
    table = meter_table.compile_table(meter).hex()
    bits = 10 if meter.parity == "none" and meter.stop_bits == 1 else 11
    parts = []
    for baud in BAUDS:
        given = json.dumps([table, answers, baud, bits, _SAMPLES])
        said = on_board.run(f"given = {given!r}\n{BUS_TIME}")
        took_ms = statistics.median(json.loads(said)) / 1000
        least_ms = meter_table.minimum_chars(meter) * bits * 1000 / baud
        parts.append(f"{took_ms:6.1f} ms of {least_ms:6.1f} at {baud} ({took_ms / least_ms:.2f})")
    requests = len(meter_table.plan(meter))
    return f"  {name:8} {requests} requests  " + "   ".join(parts)


def _cost(program: str, folders: tuple[Path, ...] = ()) -> tuple[float, int, int]:
    """(microseconds of CPU, bytes of heap, microseconds for which no other task runs) of a
    reading; starting up is taken off."""
    wire = MeterWire(model="sdm630")
    try:
        wire.set(register_wh=1045120, power_w=11000)
        answers = _answers(wire)
    finally:
        wire.close()
    table = meter_table.compile_table(wire.meter).hex()
    spent = []
    for n in (0, 0, _READS):  # once before it counts: the firmware may have to be compiled
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        given = json.dumps([table, answers, n])
        said = on_board.run(f"given = {given!r}\n{program}", folders=folders)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    left, energy_wh, held_us = map(int, said.split())
    if energy_wh != 1045120:
        raise EvtillError(f"read {energy_wh} Wh, not 1045120")
    return (spent[2] - spent[1]) / _READS * 1e6, left, held_us


def _fetch() -> Path:
    """The folder that holds the peer's package, once it has been had from PyPI."""
    folder = firmware.BUILD / "bench" / f"{_PEER['project']}-{_PEER['version']}"
    if (folder / "umodbus").exists():
        return folder
    with PyPISimple() as client, tempfile.TemporaryDirectory() as scratch:
        page = client.get_project_page(_PEER["project"])
        found = [p for p in page.packages if p.filename.endswith(f"{_PEER['version']}.tar.gz")]
        archive = Path(scratch) / "sdist.tar.gz"
        client.download_package(found[0], archive)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != _PEER["sha256"]:
            raise EvtillError(f"{_PEER['project']}: the archive is not the pinned one")
        with tarfile.open(archive) as tar:
            tar.extractall(folder.parent, filter="data")
    return folder


if __name__ == "__main__":
    print(*lines(), sep="\n")
