"""The plug's side of a charger whose board has the circuit for it: what the car wants and may
have, the socket's lock, protection, temperature, and a supply that fails.

All of it in one task that waits for nobody: what opens the contactor here opens it before the
session, the meter or the journal hear of it. People are protected by the charger's own residual-
current device and emergency stop, which need no program: this one reads them, and obeys."""

import asyncio

from evtill.drivers.pilot import LEAST_A, LETTERS

_STEP_MS = 50
_RECLOSE = 60  # steps that an open contactor stays open: no contact that bounces makes it chatter
_EASE_MS = 3000  # what a car is given to stop drawing, before the contactor opens under load
_CONTACT = 10  # steps in which contactor and bolt must have moved
_AGAIN = 5  # steps between reminders that there is a fault
_LOOK = 20  # steps between looks at the temperature
_UNLOCK = 600  # steps until a bolt that is stuck is tried again
_COOLER_C = 5  # below a limit, until it counts as cooler

_A = 0  # levels as in drivers.pilot
_C = 2
_D = 3
_E = 4
# Bits of the inputs, in the order in which hwconfig gives them.
_RCD = 1
_EMERGENCY = 2
_STOP = 4
_POWER_FAIL = 8
# What keeps energy from flowing, beside _RCD and _EMERGENCY.
_PILOT = 16
_WELDED = 32
_LOCK = 64
_CONTACTOR = 128
# The bit of a cause, stop reason, event, as the driver reads it; the gravest first.
_CAUSES = """2 EmergencyStop emergency_stop emergency stop
1 GroundFault ground_fault ground fault
32 TillFault contactor_welded please call us
128 TillFault contactor_fault please call us
16 Other plug_fault fault in cable or car
64 Other lock_fault cable is not locked"""


def _of(causes):
    """[stop reason, event, words] of each of `causes`."""
    rows = [row.split(" ", 3) for row in _CAUSES.split("\n")]
    return [row[1:] for row in rows if causes & int(row[0])]


class PlugSide:
    """circuit: {"pilot", "inputs", "lock" (pins as drivers.lock takes them; None: the cable is the
    charger's own), "ohm" (function: proximity), "celsius" (function; may give None)} as hwconfig
    made them. point: the ChargePoint.

    Stands in for the contactor: close() lets energy flow whenever the car asks for it, until
    open(). why: why nobody can charge, as the driver reads it, or None."""

    def __init__(self, config, circuit, contactor, report, beat, point):
        self._config = config
        self._pilot = circuit["pilot"]
        self._inputs = circuit["inputs"]
        self._lock = circuit["lock"]
        self._ohm = circuit["ohm"]
        self._celsius = circuit["celsius"]
        self._contactor = contactor
        self._report = report
        self._beat = beat
        self._point = point
        self._ventilated = config["ventilated"] == "on"
        self._most_a = config["max_current_a"]  # ... of charger and cable
        self._cool_a = self._most_a  # ... at this temperature
        self._felt = 0  # degrees Celsius, or None without a sensor
        self._heat = 0  # 0: cool, 1: derated, 2: paused
        self._held = False  # the cable, from before a session until after it
        self._allowed = False  # energy, by the session
        self._plugged = False
        self._causes = 0
        self._faulted = False  # by us: then it is ours to clear
        self.why = None
        self._away = 0  # steps since the car last asked for energy
        self._eased = 0  # steps for which it has drawn what it may not have any more
        self._rest = 0  # steps until the contactor may close again
        self._odd = 0  # steps for which contactor or bolt have not been where they should
        self._steps = 0
        self._bolting = False  # the motor is driven
        self._unlock_in = 0  # steps until the bolt is moved out (again)
        self._ventilation = False  # was asked for, and told

    # -- for the session ----------------------------------------------------------------------

    async def prepare(self):
        """Locks the cable. Returns why nothing can be charged through it, or None."""
        if self.why:
            return self.why
        if self._heat > 1:
            return "charger is too hot"
        self._most_a = self._config["max_current_a"]
        if self._lock is None:
            return None
        from evtill.app.compose import forget
        from evtill.drivers.limits import cable_a

        amperes = cable_a(self._ohm())
        if not self._heat:
            forget("limits", "evtill.drivers")
        if not amperes:
            return "cable is not recognised"
        self._most_a = min(self._most_a, amperes)
        self._held = True
        if await self._move(True):
            return None
        self._report("lock_fault", "does not lock")
        return "cable cannot be locked"

    def close(self):
        """The car may have energy when it asks for it."""
        self._allowed = True

    def open(self):
        """No energy any more, and the cable is let go when there is none."""
        self._allowed = self._held = False
        self._let_go()
        self._pilot.offer(0)
        self._unlock_in = _CONTACT

    async def ease(self):
        """Has the car stop drawing, so that the contactor need not open under load."""
        self._allowed = False
        self._pilot.offer(0)
        for _ in range(_EASE_MS // _STEP_MS):
            if not self._contactor.commanded_closed:
                break
            await asyncio.sleep_ms(_STEP_MS)

    def welded(self):
        if not self._contactor.welded():
            return False
        self._causes |= _WELDED  # the session tells of it
        return True

    def unlock(self):
        """Moves the bolt out as soon as no energy can flow. Returns why not, or None."""
        if self._lock is None:
            return "there is no lock"
        if self._contactor.welded():
            return "the contactor is welded"
        self._unlock_in = 1
        return None

    # -- the task -----------------------------------------------------------------------------

    async def run(self):
        """Task: one step each _STEP_MS, and the bolt where it is to be."""
        self._unlock_in = 1
        while True:
            self._beat("plug")
            if self.step():
                asyncio.create_task(self._move_out())
            await asyncio.sleep_ms(_STEP_MS)

    def step(self):
        """Looks at everything, and acts. Whether the bolt is to be moved out. Takes no heap while
        nothing changes."""
        self._steps += 1
        inputs = self._inputs.sample()
        level = self._pilot.sample()
        if inputs & (_RCD | _EMERGENCY | _POWER_FAIL):
            self._let_go()
        self._find_causes(inputs, level)
        if self._steps >= _LOOK:
            self._steps = 0
            celsius = self._celsius()
            if celsius != self._felt:
                self._felt = celsius
                self._feel(celsius)
        self._give(level, inputs)
        rose = self._inputs.rose
        if rose & _POWER_FAIL:
            self._point.save_now()
            self._report("power_failing", "")
        if rose & _STOP:
            self._point.post("stop", "Local")
        if level <= _D and self._plugged != (level != _A):
            self._plugged = level != _A
            self._ventilation = False
            self._point.post("plugged" if self._plugged else "unplugged")
        if self._steps % _AGAIN == 0:
            self._tell(level)
        if self._lock is None or self._held or self._contactor.closed() or not self._unlock_in:
            return False
        self._unlock_in -= 1
        return not self._unlock_in

    def _let_go(self):
        if self._contactor.commanded_closed:
            self._contactor.open()
            self._rest = _RECLOSE

    def _find_causes(self, inputs, level):
        """Sets the causes that there are; a weld stays one until a technician has been there."""
        causes = self._causes & _WELDED | inputs & (_RCD | _EMERGENCY)
        if level >= _E:
            causes |= _PILOT
        if inputs & _POWER_FAIL:
            self._odd = 0  # the coil lets go by itself
        elif not self._contactor.agrees():
            self._odd += 1
            if self._odd >= _CONTACT:
                causes |= _CONTACTOR if self._contactor.commanded_closed else _WELDED
        elif self._allowed and self._lock and not self._lock[2].value():
            self._odd += 1
            if self._odd >= _CONTACT:
                causes |= _LOCK
        else:
            self._odd = 0
        new = causes & ~self._causes
        self._causes = causes
        if new:
            self._let_go()
            for _, event, _ in _of(new):
                self._report(event, "pilot %s" % LETTERS[level])
            self._tell(level)

    def _feel(self, celsius):
        """Derates, in words of its own where the limits are crossed."""
        start_c, stop_c = self._config["derate_start_c"], self._config["derate_stop_c"]
        if celsius is None:  # a sensor that is torn off: little is safe at any temperature
            heat, self._cool_a = 1, LEAST_A
        else:
            before = self._heat
            heat = 0
            if celsius > stop_c - (_COOLER_C if before > 1 else 0):
                heat = 2
            elif celsius > start_c - (_COOLER_C if before else 0):
                heat = 1
            self._cool_a = 0 if heat > 1 else self._config["max_current_a"]
            if heat == 1:
                from evtill.drivers.limits import derated_a

                self._cool_a = derated_a(self._cool_a, celsius, start_c, stop_c)
        if heat != self._heat:
            self._heat = heat
            said = "no sensor" if celsius is None else "%d C" % celsius
            self._report("temperature", said + (": normal", ": derated", ": paused")[heat])

    def _give(self, level, inputs):
        """Offers the car what it may have, and closes the contactor when it wants it."""
        barred = self._causes or self._faulted or inputs & _POWER_FAIL
        may = self._allowed and not barred
        amperes = min(self._most_a, self._cool_a) if may else 0
        self._pilot.offer(amperes)
        wants = level == _C or level == _D and self._ventilated
        if level == _D and not wants and self._allowed and not self._ventilation:
            self._ventilation = True
            self._report("plug_fault", "the car asks for ventilation")
        if self._rest:
            self._rest -= 1
        if wants and _C <= self._pilot.now <= _D:
            self._away = 0
            is_locked = self._lock is None or self._lock[2].value()
            if amperes and is_locked and not self._rest and not self._contactor.commanded_closed:
                self._contactor.close()
            if amperes or not self._contactor.commanded_closed:
                self._eased = 0
                return
            # What it may not have any more, it is given time to give up.
            self._eased += 1
            if self._eased >= _EASE_MS // _STEP_MS:
                self._let_go()
            return
        self._away += 1
        if self._away > 1:
            self._let_go()

    def _tell(self, level):
        """Keeps the session informed of what it must not miss."""
        name = self._point.state[0]
        if self._causes:
            reason, _, self.why = _of(self._causes)[0]
            if name != "faulted" and name != "unavailable":
                self._faulted = True
                if name != "finishing":
                    self._point.post("fault", reason)
            return
        if self._faulted and level != _A:
            self.why = "unplug, please"
            return
        self.why = None
        if self._faulted:
            self._faulted = False
            if name == "faulted":
                self._point.post("cleared")

    # -- the bolt -----------------------------------------------------------------------------

    async def _move(self, inwards):
        """Whether the bolt is there now. One at a time: the session may wait for the task."""
        from evtill.app.compose import forget

        while self._bolting:
            await asyncio.sleep_ms(_STEP_MS)
        self._bolting = True
        from evtill.drivers import lock

        try:
            return await lock.move(self._lock, inwards)
        finally:
            self._bolting = False
            forget("lock", "evtill.drivers")

    async def _move_out(self):
        if not self._lock[2].value() or await self._move(False) or self._held:
            return
        self._unlock_in = _UNLOCK
        self._report("lock_fault", "does not unlock")
        self._point.face.message(("fault", ["Cable is stuck:"], ["push it in"]))
