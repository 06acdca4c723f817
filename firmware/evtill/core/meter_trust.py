"""Whether a meter's register can be believed: it is what is billed.

Each accepted sample is judged against the one before it, and over a minute and more against the
power that the meter itself tells. Integers only; a judgement leaves nothing on the heap."""

# The flags of registers that nobody is to be billed by, as text for `in`.
UNFIT = "meter_rollback meter_reset meter_jump"
_WINDOW_MS = 60000
_LATE_MS = 2000  # between what a register counts and when it shows it
_FEW_WH = 3  # what rounding and a power that changes between samples make of a minute


class MeterTrust:
    """max_power_w: what the charger can deliver. step_wh: the register's, 0 where finer than 1 Wh.
    modulus_wh: where it rolls over, 0 where nobody says.

    grown_wh: by how much the last accepted register was above the one before it."""

    def __init__(self, max_power_w, step_wh=0, modulus_wh=0):
        self._most_w = max_power_w + max_power_w // 5
        self._step_wh = step_wh
        self._modulus_wh = modulus_wh
        self.grown_wh = 0
        self._at_ms = None

    def begin(self, at_ms, register_wh, power_w):
        """A session's first sample, taken for true."""
        self._at_ms = at_ms
        self._wh = register_wh
        self._power_w = power_w
        self.grown_wh = 0
        self._restart()
        self._still_ws = self._still_ms = 0  # power and time since the register last moved

    def judge(self, at_ms, register_wh, power_w):
        """The flag that the sample measured at `at_ms` earns, or None.

        Not to be billed by, and not the one that the next is judged against: "meter_rollback",
        "meter_reset" (backwards, to what little can have flowed since), "meter_jump" (more than
        the charger can deliver). Good to bill by: "meter_rollover" (at the modulus), "meter_frozen"
        (power flows, the register stands), "meter_disagrees" (for a minute and more the register
        has grown by something else than the power makes)."""
        passed_ms = at_ms - self._at_ms
        # A single holds 24 bits: above 16 GWh its steps are coarser than 1 Wh.
        grain_wh = self._step_wh + (register_wh >> 23)
        most_wh = (passed_ms + _LATE_MS) // 10 * self._most_w // 360000 + grain_wh + 2
        grown_wh = register_wh - self._wh
        flag = None
        if grown_wh < 0:
            if self._modulus_wh and 0 <= grown_wh + self._modulus_wh <= most_wh:
                grown_wh += self._modulus_wh
                flag = "meter_rollover"
            else:
                return "meter_reset" if register_wh <= most_wh else "meter_rollback"
        if grown_wh > most_wh:
            return "meter_jump"
        # In watt-seconds: watt-milliseconds would be long integers.
        flowed_ws = (self._power_w + power_w) // 2 * (passed_ms // 10) // 100
        self._at_ms = at_ms
        self._wh = register_wh
        self._power_w = power_w
        self.grown_wh = grown_wh
        return self._over_time(passed_ms, grown_wh, flowed_ws, grain_wh) or flag

    def _over_time(self, passed_ms, grown_wh, flowed_ws, grain_wh):
        self._window_ms += passed_ms
        self._window_wh += grown_wh
        self._window_ws += flowed_ws
        self._still_ms += passed_ms
        self._still_ws += flowed_ws
        if grown_wh:
            self._still_ms = self._still_ws = 0
        elif self._still_ms >= _WINDOW_MS and self._still_ws // 3600 > 2 * grain_wh + _FEW_WH:
            self._still_ms = self._still_ws = 0
            self._restart()
            return "meter_frozen"
        if self._window_ms < _WINDOW_MS:
            return None
        told_wh = self._window_ws // 3600
        # A coarse register is watched until its steps do not matter.
        if max(told_wh, self._window_wh) < 20 * self._step_wh:
            return None
        differs_wh = abs(self._window_wh - told_wh)
        self._restart()
        # A twentieth: the classes of meters allow less, power that swings between samples more.
        if differs_wh > told_wh // 20 + 2 * grain_wh + _FEW_WH:
            return "meter_disagrees"
        return None

    def _restart(self):
        self._window_ms = self._window_wh = self._window_ws = 0

    def leaks(self, register_wh):
        """Whether energy has flowed since the last accepted sample although the contactor is open,
        beyond what a register may show late."""
        late_wh = self._most_w * _LATE_MS // 3600000 + self._step_wh + (register_wh >> 23) + 2
        return register_wh - self._wh > late_wh
