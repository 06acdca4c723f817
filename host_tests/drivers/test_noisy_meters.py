"""Six of the catalogue's meters, each a pymodbus RTU server, on a line where everything goes wrong.

Bits flip, bytes get lost, doubled, added or delayed by up to two seconds, in one frame of twenty
each way; and a second master asks the same meter for other registers, in requests of the same
shape as ours, whenever it likes. Each second the meter shows other values, so that a reading that
is late, mixed or another register's is told from a true one. A sample in each run, an hour of
simulated time a meter in `make soak`. All is seeded: a failure comes again."""

import asyncio
import os
import random

import pytest

from evtill.core.errors import MeterError, ModbusError, ModbusExceptionReply
from evtill.drivers import modbus
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
from host_tests.drivers.test_modbus import framed
from host_tests.fakes.bad_line import BadLine
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillctl.meter_table import compile_table, plan
from tillsim.meter_wire import MeterWire

SOAK = pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: EVTILL_SOAK=1")
MARKS = [pytest.mark.soak, SOAK, pytest.mark.timeout(3600)]
NOISE = 0.05
MODELS = ("sdm630", "sdm120", "em340", "b23", "iem3155", "wm3m4")


class Line(Uart):
    """A UART on a bus with one meter and a second master."""

    def __init__(self, wire, seed):
        super().__init__(self._ask, char_us=1146)
        self.wire = wire
        self.random = random.Random(seed)
        self.harm = BadLine(self.random, NOISE)
        self.foreign = 0

    def _ask(self, request):
        """The reply that is not delayed; a delayed one comes by itself, after the meter's others:
        a slave answers in turn."""
        reply = self.wire.feed(self.harm(request))
        if not reply or self.random.random() >= NOISE:
            return self.harm(reply)
        self.harm.damaged += 1
        cut = self.random.randrange(len(reply))
        self.arrive_in(self.random.randrange(20, 2000), reply[cut:])
        return reply[:cut]

    async def second_master(self):
        """Asks for registers beside ours, as many as we ask for."""
        meter = self.wire.meter
        while True:
            await asyncio.sleep(self.random.uniform(0.01, 2 / NOISE))
            self.foreign += 1
            (start, count), _ = self.random.choice(plan(meter))
            request = bytes([self.wire.address, meter.function, *(start + 2).to_bytes(2, "big"),
                             *count.to_bytes(2, "big")])  # fmt: skip
            registers = self.random.randbytes(2 * count)
            self.arrive(framed(request))
            self.arrive_in(
                self.random.randrange(10, 90),
                framed(bytes([self.wire.address, meter.function, 2 * count]) + registers),
            )


def truth(second, step_wh):
    wh = 1045000 + 3 * second * max(step_wh, 1)
    volts = [229000 + second % 7 * 100, 230000 + second % 11 * 100, 231000 + second % 13 * 100]
    return wh, 3000 + second % 4000, volts


async def poll(line, seconds):
    """Readings that were right, that were the poll's before, that were wrong; seconds without."""
    meter = Meter(ModbusMaster(line), compile_table(line.wire.meter))
    other = asyncio.ensure_future(line.second_master())
    right = late = wrong = missing = 0
    before = ()
    for second in range(seconds):
        wh, power_w, volts = truth(second, meter.step_wh)
        line.wire.set(register_wh=wh, power_w=power_w, voltage_mv=volts)
        true = (line.wire.register_wh, power_w, *volts)
        try:
            reading = await meter.read()
        except (ModbusError, MeterError):
            missing += 1
        else:
            said = (reading.energy_wh, reading.power_w, *reading.voltage_mv)
            fresh = [value == now for value, now in zip(said, true, strict=False)]
            old = [value == then for value, then in zip(said, before, strict=False)]
            right += all(fresh)
            late += any(old) and all(map(max, fresh, old)) and not all(fresh)
            wrong += not all(map(max, fresh, old or fresh))
        before = true
        await asyncio.sleep(0.5)
    other.cancel()
    return right, late, wrong, missing


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seconds", [200, pytest.param(3600, marks=MARKS)])
def test_no_wrong_reading_is_accepted(model, seconds):
    wire = MeterWire(model=model)
    try:

        async def go():
            line = Line(wire, f"{model} {seconds}")
            return *await poll(line, seconds), line.harm.damaged, line.foreign

        right, late, wrong, missing, harmed, foreign = run(go())[0]
    finally:
        wire.close()
    print(f"{model}: {right} readings right, {late} late, {wrong} wrong, {missing} refused; "
          f"{harmed} frames harmed, {foreign} of another master")  # fmt: skip
    assert wrong == 0 and late <= seconds // 1000
    assert right > seconds * 0.4 and missing < seconds * 0.6
    assert harmed > seconds * NOISE and foreign > seconds * NOISE / 10


@pytest.mark.parametrize("frames", [20_000, pytest.param(1_000_000, marks=MARKS)])
def test_replies_made_of_anything(frames):
    """Random bytes, right frames of other requests, and right ones harmed: nothing but the frame
    that was asked for is accepted, and nothing but a ModbusError is raised."""
    rng = random.Random(frames)
    accepted = crossed = 0
    for _ in range(frames):
        address, function, count = rng.randrange(1, 248), rng.choice((3, 4)), rng.randrange(1, 126)
        kind = rng.randrange(4)
        if kind == 0:
            said = rng.randbytes(rng.randrange(257))
        else:
            n = count if kind == 1 else rng.randrange(1, 126)
            who = address if kind < 3 else rng.randrange(256)
            what = function if kind != 2 else rng.choice((3, 4, 0x83, 0x84))
            head = bytes([who, what, 2 * n])
            said = framed(head + rng.randbytes(2 * n if head[1] < 0x80 else 0))
            if rng.randrange(2):
                said = bytearray(said)
                said[rng.randrange(len(said))] ^= 1 << rng.randrange(8)
        try:
            modbus.check_reply(said, len(said), address, function, count)
        except ModbusExceptionReply as e:
            assert bytes(said) == framed(bytes([address, function | 0x80, e.code]))
            crossed += 1
            continue
        except ModbusError:
            continue
        accepted += 1
        assert bytes(said[:3]) == bytes([address, function, 2 * count])
        assert len(said) == 5 + 2 * count
        assert bytes(said) == framed(bytes(said[:-2]))
    assert accepted > frames // 20 and crossed > frames // 1000
