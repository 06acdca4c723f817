"""Meters that tell their energy by pulses alone: S0 outputs (IEC 62053-31).

A pulse is active for 30 ms at least, and so is the pause after it (4.1). Both edges interrupt: a
pulse counts when it ends, and when it was long enough to be one; so neither bouncing contacts nor
spikes count, and nothing that the event loop does loses any.
"""

from binascii import crc32

from evtill.core.errors import MeterError
from evtill.drivers.aio import ticks_diff, ticks_ms
from evtill.drivers.meters import Reading

_OVERDUE = 4  # times as long without a pulse as between the last two: nothing flows
_STANDS_MS = 600000  # ... and so long in any case


def parse(table):
    """(pulses a kWh, least ms of one, model, vendor) of a pulse meter's table: "EP", version,
    pulses (4 bytes, low first), ms (2), model, "\n", vendor, CRC-32. Raises MeterError."""
    if len(table) < 14 or table[:3] != b"EP\x01":
        raise MeterError("no meter table: provision the charger")
    if crc32(table[:-4]) & 0xFFFFFFFF != int.from_bytes(table[-4:], "little"):
        raise MeterError("the meter table is damaged")
    model, vendor = bytes(table[9:-4]).decode().split("\n")
    return int.from_bytes(table[3:7], "little"), table[7] | table[8] << 8, model, vendor


class PulseMeter:
    """Has drivers.meters.Meter's interface.

    pin: machine.Pin as input, 0 while the output conducts (it pulls down what a resistor pulls
    up). per_kwh: pulses. load() gives the count that save(count) kept last, or None; both may raise
    OSError. start_wh: the register on the meter's dial at count 0. nameplate: its serial number.
    least_ms: a shorter pulse is none; 20 of the 30, since an interrupt may come late.

    The count is kept every `keep` pulses, and whenever `keep_now` is called: after a power cut it
    is short by what came since, never over. Raises MeterError where no count can be had."""

    modulus_wh = 0
    signs = False
    model = "s0"
    vendor = "S0"

    def __init__(
        self, pin, per_kwh, load, save, start_wh=0, nameplate="", keep=100, least_ms=20
    ):  # fmt: skip
        if not 1 <= per_kwh <= 100000:
            raise MeterError("%d pulses a kWh" % per_kwh)
        self.step_wh = -(-1000 // per_kwh)
        self._pin = pin
        self._per_kwh = per_kwh
        self._save = save
        self._start_wh = start_wh
        self._nameplate = nameplate
        self._keep = keep
        self._least_ms = least_ms
        try:
            self.count = self._kept = load() or 0
        except OSError as e:
            raise MeterError("the count of pulses cannot be read: %s" % e)
        self._reading = Reading()
        now = ticks_ms()
        self._began = self._ended = now
        self._between_ms = 0  # the last two pulses; 0 before there were two
        self._is_active = not pin.value()
        self._counted = False
        pin.irq(self._edge, pin.IRQ_FALLING | pin.IRQ_RISING)

    def _edge(self, pin):
        """Interrupt. Small integers alone: it may not allocate."""
        now = ticks_ms()
        if not pin.value():
            if not self._is_active:
                self._is_active = True
                self._began = now
        elif self._is_active:
            self._is_active = False
            if ticks_diff(now, self._began) >= self._least_ms:
                if self._counted:
                    self._between_ms = ticks_diff(now, self._ended)
                self._ended = now
                self._counted = True
                self.count += 1

    async def read(self):
        """The Reading: always the same one. Raises MeterError when the count cannot be kept."""
        count = self.count
        if count - self._kept >= self._keep:
            self.keep_now()
        reading = self._reading
        reading.ticks = ticks_ms()
        reading.energy_wh = self._wh(count)
        reading.power_w = self._power_w(reading.ticks)
        return reading

    def _wh(self, count):
        return self._start_wh + count * 1000 // self._per_kwh

    def _power_w(self, now):
        """From the time between the last two pulses, or since the last when that is longer."""
        if not self._between_ms:
            return 0
        since_ms = ticks_diff(now, self._ended)
        if since_ms > min(_OVERDUE * self._between_ms, _STANDS_MS):
            self._between_ms = 0  # forgotten: ticks wrap, an old pulse would look like a new one
            self._counted = False
            return 0
        return 3600000000 // self._per_kwh // max(self._between_ms, since_ms, 1)

    async def read_energy_wh(self):
        return self._wh(self.count)

    async def identify(self):
        """A pulse output says nothing of itself."""

    async def read_serial(self):
        """The nameplate's. Raises MeterError where none was given."""
        if not self._nameplate:
            raise MeterError("a pulse meter's serial number must be set")
        return self._nameplate

    def keep_now(self):
        """Keeps the count, as before a bill. Raises MeterError."""
        count = self.count
        if count != self._kept:
            try:
                self._save(count)
            except OSError as e:
                raise MeterError("the count of pulses cannot be kept: %s" % e)
            self._kept = count
