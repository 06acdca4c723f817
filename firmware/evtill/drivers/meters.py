"""Energy meters: register maps as data, readings as integers.

A meter's map is a compact table that tillctl compiles from its file in meters/ (see the README
there, and tools/tillctl/meter_table.py, which writes what is read here). Registers are turned into
integers from their bits: floats on the board may be single, and a rounded kWh is money.
"""

from binascii import crc32

from evtill.core.errors import MeterError, ModbusExceptionReply
from evtill.drivers.aio import sleep_ms, ticks_diff, ticks_ms

# The table: "EM", version; number of requests, of values; baud rate (4 bytes, low first), parity,
# stop bits, address; step of the energy register in Wh (2 bytes), its modulus in Wh (8 bytes);
# then the requests: function, count, start (2 bytes, high first);
# the values, in the order of their requests: what, request, byte in the reply, kind, byte of its
# decimal exponent (255: none), times and through (3 bytes each, low first);
# serial number and identity: function (0: none), count, start, and the form or how many options;
# the options; model, "\n", vendor, "\nocmf" if it signs; CRC-32 (low first).
# Numbers stand here as such: names for them would cost heap. tillctl's meter_file.py has the names.
_REQUESTS = 22  # where they begin
_VALUE = 11  # bytes of one

_MAINS_MV = (80000, 300000)  # between a phase and neutral, wherever there are mains


def decode(buf, at, kind, times=1, through=1, exponent=0):
    """The value of `kind` at buf[at:], times `times` * 10**exponent / `through`, as an integer;
    halves round away from zero.

    Kinds: 0 u16, 1 s16, 2 u32, 3 s32, 4 u64, 5 s64, 6 float32, 7 float64; Iskra's 8 T5 and 9 T6,
    a signed decimal exponent, then 24 bits, unsigned or signed. Plus 16: the words come lowest
    first; the bytes in a word never do (V1.1b3 4.2). Raises MeterError for what says "not
    available" (all ones, or the largest signed number), for infinities, NaNs, absurd exponents."""
    n = b"\x01\x01\x02\x02\x04\x04\x02\x04\x02\x02"[kind & 15]
    step = 2
    if kind & 16:
        at += 2 * n - 2
        step = -2
        kind &= 15
    top = buf[at]
    rest = buf[at + 1]
    if kind == 6:
        low = buf[at + step] << 8 | buf[at + step + 1]
        return _divide(float32_scaled(top << 8 | rest, low, times), through)
    if kind >= 8:
        exponent = top - (top << 1 & 0x100)
        value = rest << 16 | buf[at + 2] << 8 | buf[at + 3]
        rest &= buf[at + 2] & buf[at + 3]
        if kind == 9 and value & 0x800000:
            value -= 0x1000000
    else:
        value = top << 8 | rest
        for _ in range(n - 1):
            at += step
            rest &= buf[at] & buf[at + 1]
            value = value << 16 | buf[at] << 8 | buf[at + 1]
        if kind == 7:
            return _divide(_float64_scaled(value, times), through)
        if kind & 1:
            if top & 0x80:
                value -= 1 << 16 * n
            top += 0x80  # so that the largest number begins with ones, as others do
    if rest == 0xFF and top == 0xFF:
        raise MeterError("not available")
    if not -9 <= exponent <= 9:
        raise MeterError("exponent %d" % exponent)
    if exponent < 0:
        through *= 10**-exponent
    elif exponent:
        times *= 10**exponent
    return _divide(value * times, through)


def _divide(value, through):
    """`value` / `through`, halves away from zero."""
    if through == 1:
        return value
    half = through >> 1
    return (value + half) // through if value >= 0 else -((half - value) // through)


def float32_scaled(high, low, scale):
    """IEEE 754 single of the 16-bit words `high`, `low` times the integer `scale`, as an integer.

    Halves round away from zero. Raises MeterError for infinities, NaNs, 2**40 and above."""
    exponent = (high >> 7) & 0xFF
    if exponent == 0:
        return 0  # zero, or a denormal below 1e-37
    if exponent == 0xFF:
        raise MeterError("not a number")
    mantissa = 0x800000 | (high & 0x7F) << 16 | low
    shift = exponent - 150  # IEEE 754 3.4: bias 127, 23 bits of fraction
    if shift > 16:
        raise MeterError("out of range")
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


def _float64_scaled(bits, scale):
    """As float32_scaled, of the 64 bits of an IEEE 754 double; through long integers."""
    exponent = bits >> 52 & 0x7FF
    if exponent == 0x7FF:
        raise MeterError("not a number")
    if exponent < 900:
        return 0
    scaled = (bits & (1 << 52) - 1 | 1 << 52) * scale
    shift = exponent - 1075  # IEEE 754 3.4: bias 1023, 52 bits of fraction
    if shift > -12:
        raise MeterError("out of range")
    scaled = scaled + (1 << -shift - 1) >> -shift
    return -scaled if bits >> 63 else scaled


class Reading:
    """Integers: energy_wh imported, power_w (negative when exported), and of each phase that the
    meter tells of voltage_mv and current_ma. `ticks`: when the meter was asked."""

    def __init__(self):
        self.energy_wh = self.power_w = self.ticks = 0
        self.voltage_mv = []
        self.current_ma = []

    def age_ms(self):
        """How long ago this was measured; a reader keeps it no longer than some days."""
        return ticks_diff(ticks_ms(), self.ticks)


def line_of(table):
    """(baud, parity "N", "E" or "O", stop bits) of a meter's table. Raises MeterError for one that
    is damaged."""
    if not table or len(table) < _REQUESTS or table[:3] != b"EM\x01":
        raise MeterError("no meter table: provision the charger")
    if crc32(table[:-4]) & 0xFFFFFFFF != int.from_bytes(table[-4:], "little"):
        raise MeterError("the meter table is damaged")
    return int.from_bytes(table[5:9], "little"), chr(table[9]), table[10]


class Meter:
    """One meter on a bus. `master` has ModbusMaster's `transact`, `buf` and `strays`.

    table: what tillctl made of the meter's file. address: 0 for the factory's. nameplate: the
    serial number of a meter that has it in no register. Several tasks may share it. Raises
    MeterError for a table that is damaged."""

    def __init__(self, master, table, address=0, nameplate="", timeout_ms=600):
        line_of(table)
        self._table = table
        self.address = address or table[11]
        self.step_wh = table[12] | table[13] << 8  # of the energy register; 0: finer than 1 Wh
        # Where the energy register rolls over; 0 where nobody says.
        self.modulus_wh = int.from_bytes(table[14:22], "little")
        self._first = _REQUESTS + 4 * table[3]  # value
        self._serial = self._first + _VALUE * table[4]
        at = self._serial + 10
        at += 2 * table[at - 4] * table[at - 1]
        names = bytes(table[at:-4]).decode().split("\n")
        self.model, self.vendor = names[:2]
        self.signs = len(names) > 2  # sessions, by drivers.iskra
        self._reading = Reading()
        for at in range(self._first, self._serial, _VALUE):
            what = table[at]
            if what == 0:
                self._energy = table[at + 1]
            elif what > 1:
                (self._reading.voltage_mv if what < 5 else self._reading.current_ma).append(0)
        self._new = [0] * table[4]  # a sample's values until all are there
        self.master = master
        self._nameplate = nameplate
        self._timeout_ms = timeout_ms
        self._busy = False
        self._doubt = True  # an earlier request may still be answered
        self._strays = 0

    async def read(self):
        """The Reading: always the same one, overwritten by the next that succeeds.

        Raises MeterError when a value cannot be one, ModbusError when there is none."""
        if self._busy:
            await self._turn()
        self._busy = True
        table = self._table
        try:
            # Awaited only where there is something to do: each call of a coroutine is heap.
            if self._doubt or self.master.strays != self._strays:
                await self._resync()
            self._doubt = True
            at = self._first
            for i in range(table[3]):
                if i == self._energy:
                    asked = ticks_ms()
                r = _REQUESTS + 4 * i
                await self.master.transact(
                    self.address, table[r], table[r + 2] << 8 | table[r + 3], table[r + 1],
                    self._timeout_ms,
                )  # fmt: skip
                while at < self._serial and table[at + 1] == i:
                    self._new[(at - self._first) // _VALUE] = self._value(at)
                    at += _VALUE
            self._doubt = False
        finally:
            self._busy = False
        reading = self._reading
        reading.ticks = asked
        for i in range(len(self._new)):
            what = table[self._first + _VALUE * i]
            if what == 0:
                reading.energy_wh = self._new[i]
            elif what == 1:
                reading.power_w = self._new[i]
            elif what < 5:
                reading.voltage_mv[what - 2] = self._new[i]
            else:
                reading.current_ma[what - 5] = self._new[i]
        return reading

    async def read_energy_wh(self):
        """Wh imported, in one request. Raises as `read` does."""
        await self._turn()
        try:
            await self._resync()
            await self._ask(_REQUESTS + 4 * self._energy)
            for at in range(self._first, self._serial, _VALUE):
                if self._table[at] == 0:
                    return self._value(at)
        finally:
            self._busy = False

    async def identify(self):
        """Raises MeterError when the meter is not the one that the table is of, or its words come
        in another order, as far as that can be told; ModbusError."""
        at = self._serial + 5
        try:
            got = await self._raw(at) if self._table[at] else b""
        except ModbusExceptionReply:
            got = b""  # some early ones have no such register
        if got:
            options = self._table[at + 5 : at + 5 + len(got) * self._table[at + 4]]
            if got not in [options[i : i + len(got)] for i in range(0, len(options), len(got))]:
                raise MeterError("not a %s: it says %r" % (self.model, got))
        voltages = (await self.read()).voltage_mv
        low, high = _MAINS_MV
        if voltages and not [mv for mv in voltages if low <= mv <= high]:
            raise MeterError("no mains voltage: %s mV; order of words?" % voltages)

    async def read_serial(self):
        """The serial number as it is written on the meter. Raises MeterError when it is blank,
        ModbusError."""
        at = self._serial
        if not self._table[at]:
            if not self._nameplate:
                raise MeterError("no register holds a %s's serial number: set it" % self.model)
            return self._nameplate
        return serial_text(await self._raw(at), self._table[at + 4])

    def keep_now(self):
        """A register keeps itself; a count of pulses would have to be kept."""

    async def _turn(self):
        while self._busy:
            await sleep_ms(5)
        self._busy = True

    async def _raw(self, at):
        """The registers that the request at table[at] asks for."""
        await self._turn()
        try:
            await self._ask(at)
            return bytes(memoryview(self.master.buf)[3 : 3 + 2 * self._table[at + 1]])
        finally:
            self._busy = False

    async def _resync(self):
        """After a failure, asks for something of another shape than readings have: who it is.

        A slave answers its requests in turn: when it has answered this one, no late answer can be
        taken for a reading's."""
        self._strays = self.master.strays
        at = self._serial if self._table[self._serial] else self._serial + 5
        if self._table[at]:
            try:
                await self._ask(at)
            except ModbusExceptionReply:
                pass  # an answer as well
        self._doubt = False

    async def _ask(self, at):
        """The request at table[at]; its answer is then in the master's buf."""
        table = self._table
        doubt = self._doubt
        self._doubt = True
        await self.master.transact(
            self.address, table[at], table[at + 2] << 8 | table[at + 3], table[at + 1],
            self._timeout_ms,
        )  # fmt: skip
        self._doubt = doubt

    def _value(self, at):
        """The value at table[at], from the answer. Raises MeterError, naming it."""
        table = self._table
        buf = self.master.buf
        what = table[at]
        try:
            exponent = table[at + 4]
            value = decode(
                buf, 3 + table[at + 2], table[at + 3],
                table[at + 5] | table[at + 6] << 8 | table[at + 7] << 16,
                table[at + 8] | table[at + 9] << 8 | table[at + 10] << 16,
                decode(buf, 3 + exponent, 1) if exponent < 255 else 0,
            )  # fmt: skip
            # Believed at most: 8 GWh, 1 MW, 1 kV, 2 kA. Power alone may be negative: a meter that
            # is wired the wrong way round says so.
            if value < (-1000000 if what == 1 else 0) or (
                value >> 33 if what == 0 else value > (1000000 if what < 5 else 2000000)
            ):
                raise MeterError("%d is out of range" % value)
        except MeterError as e:
            name = "energy power voltage current".split()[(what + 4) // 3 if what > 1 else what]
            raise MeterError("%s: %s" % (name, e)) from e
        return value


def serial_text(raw, form):
    """A serial number's registers as it is written. Forms: 0 characters, 1 one in each word's low
    byte, 2 a number, 3 a number's digits in hex. Raises MeterError when they are blank."""
    if form < 2:
        text = ""
        for i in range(form, len(raw), 1 + form):
            if raw[i]:
                text += chr(raw[i])
        text = text.strip()
        if not text or [c for c in text if not "!" <= c <= "~"]:
            raise MeterError("the meter has no serial number")
        return text
    number = 0
    for byte in raw:
        number = number << 8 | byte
    if number == 0 or number == (1 << 8 * len(raw)) - 1:
        raise MeterError("the meter has no serial number")
    return str(number) if form == 2 else "%0*x" % (2 * len(raw), number)
