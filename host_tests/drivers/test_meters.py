"""Meter maps and readings, against pymodbus behind MeterWire and against exact fractions."""

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtill.core.errors import MeterError, ModbusExceptionReply, ModbusFrameError, ModbusTimeout
from evtill.drivers import meters
from evtill.drivers.modbus import ModbusMaster
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillsim.meter_wire import MeterWire


@pytest.fixture(scope="module")
def shared_wire():
    wire = MeterWire()
    yield wire
    wire.close()


@pytest.fixture
def wire(shared_wire):
    shared_wire.fault = "none"
    shared_wire.set(register_wh=1045120, power_w=11000)
    return shared_wire


def asked(wire, *names, chunk=0):
    """Results (or errors) of the Meter methods `names`, one after the other."""

    async def go():
        meter = meters.Meter(ModbusMaster(Uart(wire.feed, chunk=chunk)), "sdm630", wire.address)
        results = []
        for name in names:
            try:
                results.append(await getattr(meter, name)())
            except Exception as e:  # noqa: BLE001 - the tests look at what it is
                results.append(e)
        return results

    return run(go())[0]


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
    wire.set(voltage_mv=[230000] * 3)
    assert reading.energy_wh == energy_wh == wire.register_wh == 1045120
    assert reading.power_w == 11000
    assert reading.voltage_mv == (229500, 230250, 231000)
    assert reading.current_ma == tuple(round(11e6 / 3 / v) for v in (229.5, 230.25, 231.0))
    assert serial == "1234567"


def test_a_reading_is_one_request(wire):
    before = wire.requests
    asked(wire, "read")
    assert wire.requests == before + 1


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
    """A master whose input registers hold floats: what no real meter should say."""

    def __init__(self, serial=0, **floats):
        self.serial = serial
        at = {"voltage": 0, "current": 6, "power": 0x34, "energy": 0x48}
        self.buf = bytearray(148)
        for name, value in floats.items():
            struct.pack_into(">f", self.buf, 2 * at[name], value)

    async def read_registers(self, address, function, start, count, timeout_ms):
        if function == 3:
            return self.serial.to_bytes(4, "big")
        return memoryview(self.buf)[2 * start : 2 * (start + count)]


@pytest.mark.parametrize("name", ["energy", "power", "voltage", "current"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e12, -3e12])
def test_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(MeterError, match=name):
        run(meters.Meter(Registers(**{name: value}), "sdm630", 1).read())


@pytest.mark.parametrize("name", ["energy", "voltage", "current"])
def test_negative_value_is_refused_by_name(name):
    with pytest.raises(MeterError, match=name):
        run(meters.Meter(Registers(**{name: -1.0}), "sdm630", 1).read())


@pytest.mark.parametrize("serial", [0, 0xFFFFFFFF])
def test_blank_serial_is_refused(serial):
    with pytest.raises(MeterError):
        run(meters.Meter(Registers(serial), "sdm630", 1).read_serial())


def test_unknown_model_is_refused_by_name():
    with pytest.raises(MeterError, match="sdm999"):
        meters.Meter(None, "sdm999", 1)
