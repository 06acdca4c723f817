"""The meter's task: reads it, believes it or not, and has what it says priced in a session."""

import asyncio

from evtill.core.errors import MeterError, ModbusError, ModbusTimeout
from evtill.core.meter_trust import UNFIT, MeterTrust
from evtill.core.session import RUNNING

_TRIES = 3  # readings asked for before a start is refused, or an end goes without
_IDLE_READ_MS = 10000  # between readings while nobody charges: is the meter still there?
_LOST_READ_MS = 1000
_ON_EDGE_MS = 500  # a reading so late still counts as taken where the price changes


class Metering:
    """point: the ChargePoint, whose state says how often the meter is read, and which is told
    (post) what the car does; report(name, detail): an event; beat(task name): the supervisor's.

    reading: the last that was believed, or None; read_at_ms: when; lost: why there is none now."""

    def __init__(self, config, meter, till, clock, report, beat, point):
        self._config = config
        self._meter = meter
        self._till = till
        self._clock = clock
        self._report = report
        self._beat = beat
        self._point = point
        self._trust = MeterTrust(config["max_power_w"], meter.step_wh, meter.modulus_wh)
        self._flowed = None  # whether power flowed at the last reading with the contactor open
        self.reading = None
        self.read_at_ms = 0
        self.lost = None
        self._started = asyncio.Event()  # the meter is read more often from now on

    async def run(self):
        """Task: reads the meter, prices what it says while a session runs."""
        while True:
            self._beat("meter")
            began_ms = self._clock.now_ms()
            await self._sample()
            if self._point.state[0] in RUNNING:
                await asyncio.sleep_ms(self._pause_ms(began_ms))
            else:
                self._started.clear()
                try:
                    await asyncio.wait_for_ms(
                        self._started.wait(), _LOST_READ_MS if self.lost else _IDLE_READ_MS
                    )
                except asyncio.TimeoutError:
                    pass

    def _pause_ms(self, began_ms):
        """Until the next reading: the meter is read where the price changes, too."""
        now_ms = self._clock.now_ms()
        wait_ms = max(0, self._config["meter_period_ms"] - (now_ms - began_ms))
        edge_ms = self._till.next_edge_ms()
        if edge_ms is None:
            return wait_ms
        left_ms = edge_ms - now_ms
        return left_ms if 0 <= left_ms < wait_ms else wait_ms

    async def _sample(self):
        try:
            reading = await self.read()
        except (ModbusError, MeterError):
            return  # read() has told
        till = self._till
        if till.session is None:
            self._look_for_leaks(reading)
        state = self._point.state[0]
        if state not in RUNNING or till.session is None:
            return
        charging = reading.power_w >= self._config["idle_power_w"]
        at_ms = self.read_at_ms
        edge_ms = till.next_edge_ms()
        if edge_ms is not None and 0 <= at_ms - edge_ms <= _ON_EDGE_MS:
            at_ms = edge_ms  # asked for on the edge: the answer takes a moment
        till.sample(
            at_ms, reading.energy_wh + till.session.rolled_wh, charging, reading.power_w,
            sum(reading.current_ma),
        )  # fmt: skip
        if charging != (state == "charging"):
            self._point.post("active" if charging else "idle")

    def _look_for_leaks(self, reading):
        """Energy that flows although the contactor is open: it is welded, and nobody may charge."""
        flowing = reading.power_w >= self._config["idle_power_w"]
        flows = flowing and self._flowed
        if self._flowed is not None and (flows or self._trust.leaks(reading.energy_wh)):
            if self._point.state[0] == "available":
                self._report("contactor_welded", "%d W, open" % reading.power_w)
                self._point.post("fault", "TillFault")
        self._flowed = flowing
        self._trust.begin(self.read_at_ms, reading.energy_wh, reading.power_w)

    # -- for the session ----------------------------------------------------------------------

    async def read(self):
        """A reading that can be true, or ModbusError, MeterError. Lost and found are reported."""
        session = self._till.session
        try:
            reading = await self._meter.read()
            if self.lost is not None and session:
                await self._check_same(session)
            if session:
                self._check(session, reading)
        except (ModbusError, MeterError) as e:
            if self.lost is None:
                self.lost = str(e)
                silent = isinstance(e, ModbusTimeout)
                self._report("meter_silent" if silent else "meter_fault", str(e))
            raise
        if self.lost is not None:
            self.lost = None
            self._report("meter_back", "")
            if session:
                session.flag("meter_gap")
        self.reading = reading
        self.read_at_ms = self._clock.now_ms() - reading.age_ms()
        return reading

    async def serial(self):
        """The serial number of a meter that is the model and the one that it should be. Raises
        ModbusError, MeterError."""
        await self.patiently(self._meter.identify)
        serial = await self.patiently(self._meter.read_serial)
        bound = self._config["meter_serial"]
        if bound and serial != bound:
            self._report("meter_foreign", serial)
            raise MeterError("the meter is %s, not %s" % (serial, bound))
        return serial

    async def patiently(self, ask):
        """What `ask()` gives, asked for _TRIES times. Raises the last ModbusError, MeterError."""
        for i in range(_TRIES):
            try:
                return await ask()
            except (ModbusError, MeterError):
                if i == _TRIES - 1:
                    raise
                await asyncio.sleep_ms(200)

    def begin(self, reading):
        """A session begins with this reading."""
        self._trust.begin(self.read_at_ms, reading.energy_wh, reading.power_w)
        self._flowed = None

    def hurry(self):
        """The contactor has closed: the meter is read more often from now on."""
        self.read_at_ms = self._clock.now_ms()
        self._started.set()

    def silent_ms(self):
        """For how long there has been no reading."""
        return self._clock.now_ms() - self.read_at_ms

    # -- trust --------------------------------------------------------------------------------

    async def _check_same(self, session):
        """Refuses another meter in the place of the one that the session began with."""
        serial = await self._meter.read_serial()
        if serial != session.start["serial"]:
            if "meter_replaced" not in session.flags:
                session.flag("meter_replaced")
                self._report("meter_foreign", serial)
            raise MeterError("the meter is %s now" % serial)

    def _check(self, session, reading):
        """Refuses a register that nobody can be billed by; flags what is odd about it."""
        at_ms = self._clock.now_ms() - reading.age_ms()
        flag = self._trust.judge(at_ms, reading.energy_wh, reading.power_w)
        if flag is None:
            return
        if flag == "meter_rollover":
            session.rolled_wh += self._meter.modulus_wh
        if flag not in session.flags:
            session.flag(flag)
            self._report(flag, "register %d Wh, %d W" % (reading.energy_wh, reading.power_w))
        if flag in UNFIT:
            raise MeterError("%s: register %d Wh" % (flag, reading.energy_wh))
