"""Energy meters: register maps as data, readings as integers.

A meter's float32 registers are turned into integers from their bits: floats on the board may be
single, and a rounded kWh is money.
"""

from collections import namedtuple

from evtill.core.errors import MeterError
from evtill.drivers.modbus import READ_HOLDING, READ_INPUT

Reading = namedtuple("Reading", ("energy_wh", "power_w", "voltage_mv", "current_ma"))

# Each model: `read`: function, first register, count of the one request that holds all values, so
# that energy and power belong together. `energy`, `power`, `voltage`, `current`: register(s) of a
# float32 (high word first), integer units per meter unit, largest magnitude that is believed.
# `serial`: function and register of a 32-bit unsigned integer.
#
# sdm630: Eastron SDM630-Modbus V2 user manual, Modbus protocol, 1.2 "Input registers" (30001 is
# register 0) and 1.3 "Holding registers". A second public list (sdm_modbus, class SDM630) has the
# same registers, reads 0..79 in one request, and the serial number at FC00; another
# public list for the V2 has that in 2A and 2C instead: untried.
# The energy register is kWh: above 16,384 kWh a single no longer holds every Wh (steps of 2 Wh, of
# 4 Wh above 32,768 kWh).
MODELS = {
    "sdm630": {
        "read": (READ_INPUT, 0x0000, 74),
        "energy": (0x0048, 1000, 9999999999),
        "power": (0x0034, 1, 200000),
        "voltage": ((0x0000, 0x0002, 0x0004), 1000, 600000),
        "current": ((0x0006, 0x0008, 0x000A), 1000, 300000),
        "serial": (READ_HOLDING, 0xFC00),
    },
}


def float32_scaled(high, low, scale):
    """IEEE 754 single of the 16-bit words `high`, `low` times the integer `scale`, as an integer.

    Halves round away from zero. Raises MeterError for infinities, NaNs, 2**40 and above."""
    exponent = (high >> 7) & 0xFF
    if exponent == 0:
        return 0  # zero, or a denormal below 1e-37
    if exponent == 0xFF:
        raise MeterError("register is not a number")
    mantissa = 0x800000 | (high & 0x7F) << 16 | low
    shift = exponent - 150  # IEEE 754 3.4: bias 127, 23 bits of fraction
    if shift > 16:
        raise MeterError("register is out of range")
    if shift >= 0:
        scaled = mantissa * scale << shift
    elif shift < -64:
        scaled = 0
    else:
        # Whole and fraction apart: the products of usual values then fit a 31-bit small integer,
        # which costs no heap.
        whole = mantissa >> -shift
        fraction = mantissa - (whole << -shift)
        scaled = whole * scale + (fraction * scale + (1 << -shift - 1) >> -shift)
    return -scaled if high & 0x8000 else scaled


def _float32(registers, index, scale, limit, name):
    """The value at register `index` of `registers` (bytes). Raises MeterError, naming it."""
    i = 2 * index
    try:
        value = float32_scaled(
            registers[i] << 8 | registers[i + 1], registers[i + 2] << 8 | registers[i + 3], scale
        )
    except MeterError as e:
        raise MeterError("%s: %s" % (name, e)) from e
    # Power alone has a sign: a meter wired the wrong way round says so.
    if value > limit or value < (-limit if name == "power" else 0):
        raise MeterError("%s: %d is out of range" % (name, value))
    return value


class Meter:
    """One meter on a bus. `master` has ModbusMaster's `read_registers`; errors of both pass."""

    def __init__(self, master, model, address, timeout_ms=600):
        if model not in MODELS:
            raise MeterError("unknown meter model %s" % model)
        self.model = model
        self.address = address
        self._master = master
        self._map = MODELS[model]
        self._timeout_ms = timeout_ms

    async def read(self):
        """A Reading: Wh imported, W (negative when exported), mV and mA of each phase.

        Raises MeterError when a value cannot be one, ModbusError when there is none."""
        registers = await self._read(*self._map["read"])
        return Reading(
            self._value(registers, "energy"),
            self._value(registers, "power"),
            self._phases(registers, "voltage"),
            self._phases(registers, "current"),
        )

    async def read_energy_wh(self):
        """Wh imported, in the shortest request there is. Raises as `read` does."""
        function = self._map["read"][0]
        register, scale, limit = self._map["energy"]
        registers = await self._read(function, register, 2)
        return _float32(registers, 0, scale, limit, "energy")

    async def read_serial(self):
        """The serial number, as decimal digits. Raises MeterError when it is blank."""
        function, register = self._map["serial"]
        r = await self._read(function, register, 2)
        serial = r[0] << 24 | r[1] << 16 | r[2] << 8 | r[3]
        if serial in (0, 0xFFFFFFFF):
            raise MeterError("the meter has no serial number")
        return str(serial)

    async def _read(self, function, start, count):
        return await self._master.read_registers(
            self.address, function, start, count, self._timeout_ms
        )

    def _value(self, registers, name):
        register, scale, limit = self._map[name]
        return _float32(registers, register - self._map["read"][1], scale, limit, name)

    def _phases(self, registers, name):
        indexes, scale, limit = self._map[name]
        first = self._map["read"][1]
        return tuple([_float32(registers, i - first, scale, limit, name) for i in indexes])
