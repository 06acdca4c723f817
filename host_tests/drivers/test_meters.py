"""Meters read over the wire, against pymodbus behind MeterWire and against exact fractions."""

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtill.core.errors import (
    MeterError,
    ModbusError,
    ModbusExceptionReply,
    ModbusFrameError,
    ModbusTimeout,
)
from evtill.drivers import meters
from evtill.drivers.modbus import ModbusMaster
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillctl import meter_file
from tillctl.meter_table import compile_table
from tillsim.meter_wire import MeterWire

CATALOGUE = {meter.name: meter for meter in meter_file.catalogue()}
TABLE = compile_table(CATALOGUE["sdm630"])


@pytest.fixture(scope="module")
def shared_wire():
    wire = MeterWire()
    yield wire
    wire.close()


@pytest.fixture
def wire(shared_wire):
    shared_wire.fault = "none"
    shared_wire.set(register_wh=1045120, power_w=11000, voltage_mv=[230000] * 3)
    return shared_wire


def meter_on(wire, chunk=0, table=TABLE):
    return meters.Meter(ModbusMaster(Uart(wire.feed, chunk=chunk)), table)


def asked(wire, *names, chunk=0):
    """Results (or errors) of the Meter methods `names`, one after the other."""

    async def go():
        meter = meter_on(wire, chunk)
        results = []
        for name in names:
            try:
                results.append(await getattr(meter, name)())
            except Exception as e:  # noqa: BLE001 - the tests look at what it is
                results.append(e)
        return results

    return run(go())[0]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_meter_is_read_over_the_wire(name):
    wire = MeterWire(model=name, serial=7654321)
    try:
        wire.set(register_wh=1045120, power_w=-3000, voltage_mv=[229500, 230200, 231000],
                 current_ma=[4350, 4340, 4330])  # fmt: skip

        async def go():
            meter = meters.Meter(
                ModbusMaster(Uart(wire.feed)), compile_table(wire.meter), nameplate="7654321"
            )
            await meter.identify()
            reading = await meter.read()
            assert await meter.read_energy_wh() == reading.energy_wh
            return reading, await meter.read_serial()

        reading, serial = run(go())[0]
        assert reading.energy_wh == wire.register_wh
        assert abs(reading.energy_wh - 1045120) < 100
        assert reading.power_w == -3000
        phases = len(reading.voltage_mv)
        assert reading.voltage_mv == [229500, 230200, 231000][:phases]
        assert reading.current_ma == [4350, 4340, 4330][:phases]
        assert serial.lstrip("0") == "7654321"
    finally:
        wire.close()


@given(st.floats(width=32, min_value=0, max_value=2.0**39))
def test_singles_are_rounded_half_up_exactly(value):
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    wanted = int(Fraction(value) * 1000 + Fraction(1, 2))
    assert meters.float32_scaled(high, low, 1000) == wanted
    assert meters.float32_scaled(high | 0x8000, low, 1000) == -wanted


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_any_bits_give_a_bounded_integer_or_an_error(high, low):
    try:
        value = meters.float32_scaled(high, low, 1000)
    except MeterError:
        return
    assert isinstance(value, int) and abs(value) < 1 << 51


def test_reading_is_what_the_meter_measures(wire):
    wire.set(voltage_mv=[229500, 230250, 231000])
    reading, energy_wh, serial = asked(wire, "read", "read_energy_wh", "read_serial")
    assert reading.energy_wh == energy_wh == wire.register_wh == 1045120
    assert reading.power_w == 11000
    assert reading.voltage_mv == [229500, 230250, 231000]
    assert reading.current_ma == [round(11e6 / 3 / v) for v in (229.5, 230.25, 231.0)]
    assert serial == "1234567"


def test_energy_and_power_come_from_one_request(wire):
    """While the energy register moves with the power at each request."""
    feed = wire.feed
    said = []

    def moving(data):
        said.append(data.hex())
        wire.set(register_wh=1045000 + 100 * len(said), power_w=1000 * len(said))
        return feed(data)

    async def go():
        meter = meters.Meter(ModbusMaster(Uart(moving)), TABLE)
        for _ in range(5):
            reading = await meter.read()
            assert reading.energy_wh - 1045000 == reading.power_w // 10

    run(go())
    assert [request[4:12] for request in said[1:3]] == ["0000000c", "00340016"]


@pytest.mark.parametrize("wh", [0, 1, 999, 16383999, 16777216, 123456789])
def test_energy_is_the_register_over_its_range(wire, wh):
    wire.set(register_wh=wh)
    assert asked(wire, "read_energy_wh") == [wire.register_wh]


def test_exported_power_is_negative(wire):
    wire.set(power_w=-3000)
    assert asked(wire, "read")[0].power_w == -3000


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("silent", ModbusTimeout),
        ("wrong_crc", ModbusFrameError),
        ("exception", ModbusExceptionReply),
        ("foreign_reply", ModbusFrameError),
        ("wrong_function", ModbusFrameError),
        ("wrong_count", ModbusFrameError),
        ("short", ModbusTimeout),
        ("long", ModbusFrameError),
    ],
)
@pytest.mark.parametrize("chunk", [0, 7])
def test_each_fault_is_an_error_and_never_a_reading(wire, fault, error, chunk):
    wire.fault = fault
    names = ("read", "read_energy_wh", "read_serial")
    assert [type(e) for e in asked(wire, *names, chunk=chunk)] == [error] * 3
    wire.fault = "none"
    assert asked(wire, "read", chunk=chunk)[0].energy_wh == 1045120


class Registers:
    """A master whose registers hold what no real meter should say."""

    strays = 0

    def __init__(self, serial=1, code=0x70, **floats):
        self.held = {0xFC00: serial.to_bytes(4, "big"), 0xFC02: code.to_bytes(2, "big")}
        at = {"voltage": 0, "current": 6, "power": 0x34, "energy": 0x48}
        self.inputs = bytearray(148)
        for i in range(0, 12, 4):
            struct.pack_into(">f", self.inputs, i, 230.0)
        for name, value in floats.items():
            struct.pack_into(">f", self.inputs, 2 * at[name], value)
        self.buf = bytearray(256)
        self.asked = []

    async def transact(self, address, function, start, count, timeout_ms):
        self.asked.append((function, start, count))
        registers = self.held[start] if function == 3 else self.inputs[2 * start :]
        self.buf[3 : 3 + 2 * count] = registers[: 2 * count]


def reading_of(**registers):
    return run(meters.Meter(Registers(**registers), TABLE).read())[0]


@pytest.mark.parametrize("name", ["energy", "power", "voltage", "current"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e12, -3e12])
def test_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(MeterError, match=name):
        reading_of(**{name: value})


@pytest.mark.parametrize("name", ["energy", "voltage", "current"])
def test_negative_value_is_refused_by_name(name):
    with pytest.raises(MeterError, match=name):
        reading_of(**{name: -1.0})


def test_a_refused_reading_leaves_the_last_one_whole():
    async def go():
        registers = Registers(energy=1.0, power=100.0)
        meter = meters.Meter(registers, TABLE)
        reading = await meter.read()
        struct.pack_into(">f", registers.inputs, 0, 240.0)
        struct.pack_into(">f", registers.inputs, 2 * 0x34, float("nan"))
        with pytest.raises(MeterError, match="power"):
            await meter.read()
        return reading.energy_wh, reading.power_w, reading.voltage_mv

    assert run(go())[0] == (1000, 100, [230000] * 3)


@pytest.mark.parametrize("serial", [0, 0xFFFFFFFF])
def test_blank_serial_is_refused(serial):
    with pytest.raises(MeterError):
        run(meters.Meter(Registers(serial), TABLE).read_serial())


def test_a_meter_without_a_serial_register_has_its_nameplate():
    table = compile_table(CATALOGUE["pac2200"])
    assert run(meters.Meter(None, table, nameplate="LQN1").read_serial())[0] == "LQN1"
    with pytest.raises(MeterError, match="pac2200"):
        run(meters.Meter(None, table).read_serial())


def test_another_meter_code_is_refused():
    with pytest.raises(MeterError, match="not a sdm630"):
        run(meters.Meter(Registers(code=0x89), TABLE).identify())


def test_a_meter_without_a_code_may_be_an_early_one():
    class Early(Registers):
        async def transact(self, address, function, start, count, timeout_ms):
            if start == 0xFC02:
                raise ModbusExceptionReply(2)
            await super().transact(address, function, start, count, timeout_ms)

    run(meters.Meter(Early(energy=1.0), TABLE).identify())


def test_words_in_another_order_are_found_at_identification():
    """Every register pair the wrong way round: what "Register Order" does to an Eastron."""
    registers = Registers(energy=1045.12, power=11000.0, current=16.0)
    words = [registers.inputs[i : i + 2] for i in range(0, 148, 2)]
    registers.inputs[:] = b"".join(words[i ^ 1] for i in range(74))
    with pytest.raises(MeterError):
        run(meters.Meter(registers, TABLE).identify())


@pytest.mark.parametrize("ms", [*range(20, 2000, 60)])
def test_a_late_reply_is_never_taken_for_a_later_one(wire, ms):
    """The reply to a reading that timed out comes `ms` later than due, with the register of then;
    meanwhile the meter answers, in its turn, whatever is asked."""

    async def go():
        uart = Uart(wire.feed)
        meter = meters.Meter(ModbusMaster(uart), TABLE, timeout_ms=200)
        await meter.read()
        wire.set(register_wh=1000000)
        behind = []

        def slow(request):
            """In its turn: nothing overtakes the late reply."""
            behind.append(wire.feed(request))
            if len(behind) == 1:
                uart.arrive_in(200 + ms, behind[0])
                loop_ms[0] = 200 + ms
                return b""
            return behind[-1]

        loop_ms = [0]
        uart.peer = slow
        with pytest.raises(ModbusError):
            await meter.read()
        wire.set(register_wh=2000000)
        seen = []
        for _ in range(12):
            try:
                seen.append((await meter.read()).energy_wh)
            except ModbusError:
                continue
        return seen

    seen = run(go())[0]
    assert seen and set(seen) == {wire.register_wh}


def test_tasks_share_a_meter(wire):
    """A session's start asks while the polling task does: neither sees half of the other's."""

    async def go():
        meter = meter_on(wire, chunk=9)

        async def one(name):
            return [await getattr(meter, name)() for _ in range(10)]

        import asyncio

        results = await asyncio.gather(one("read"), one("read_energy_wh"), one("read_serial"))
        assert {r.energy_wh for r in results[0]} == set(results[1]) == {1045120}
        assert set(results[2]) == {"1234567"}

    run(go())


def test_a_reading_tells_when_it_was_measured(wire):
    async def go():
        import asyncio

        meter = meters.Meter(ModbusMaster(Uart(wire.feed, delay_ms=70)), TABLE)
        reading = await meter.read()
        await asyncio.sleep(3)
        return reading.age_ms()

    assert 3070 <= run(go())[0] <= 3200


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: b"", "no meter table"),
        (lambda t: t[:20], "no meter table"),
        (lambda t: b"XX" + t[2:], "no meter table"),
        (lambda t: t[:30] + bytes([t[30] ^ 1]) + t[31:], "damaged"),
        (lambda t: t[:-1] + bytes([t[-1] ^ 1]), "damaged"),
    ],
)
def test_a_damaged_table_is_refused(change, why):
    with pytest.raises(MeterError, match=why):
        meters.Meter(None, change(TABLE))


@given(st.integers(0, 9), st.booleans(), st.binary(min_size=8, max_size=8), st.integers(-9, 9))
def test_any_bits_of_any_kind_are_the_exact_number_or_an_error(base, low_first, raw, exponent):
    """Against struct and fractions."""
    kind = base | (16 if low_first else 0)
    raw = raw[: 2 * meter_file.SIZES[base]]
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    high_first = b"".join(words[::-1]) if low_first and base < 8 else raw
    try:
        got = meters.decode(raw, 0, base if base >= 8 else kind, 1000, 10, exponent)
    except MeterError:
        return
    if base >= 8:
        number = struct.unpack(">i", raw[1:] + b"\0")[0] >> 8
        number = number & 0xFFFFFF if base == 8 else number
        number *= Fraction(10) ** struct.unpack(">b", raw[:1])[0]
    else:
        number = Fraction(struct.unpack(">" + "HhIiQqfd"[base], high_first)[0])
        if base < 6:
            number *= Fraction(10) ** exponent
    exact = number * 100
    if base == 6:  # rounded to a tenth of the unit's thousandth first
        exact = Fraction(int(abs(number) * 1000 + Fraction(1, 2)), 10) * (1 if number > 0 else -1)
    if base == 7:
        exact = Fraction(int(abs(number) * 1000 + Fraction(1, 2)), 10) * (1 if number > 0 else -1)
    assert abs(got - exact) <= Fraction(1, 2)
