"""The control pilot of IEC 61851-1:2017, annex A.

Whether a car is there and wants energy shows in the pilot's voltage, what it may draw in the duty
of a 1 kHz square wave on it. All numbers are integers that need no heap: mV, A, 1/65535 of a
period.
"""

# Levels: no car; a car; it wants energy; ... with ventilation; a short; a dead pilot.
_A = 0
_B = 1
_D = 3
_E = 4
LETTERS = "ABCDEF"

# Table A.4 puts the levels at 12, 9, 6, 3, 0 and -12 V, each with 1 V to both sides, and leaves 1 V
# between them to whatever was before. Noise at the border of a band does not count as leaving it.
_EDGES_MV = (10500, 7500, 4500, 1500, -6000)  # between A and B, ... E and F
_HYSTERESIS_MV = 400
_DIODE_MV = -10000  # a car's diode leaves the lower half wave at -12 V; other things pull it up
_DIODE_DUTY = 59000  # above that, 90 %, the lower half wave is too short to be sure to be hit
_READS = 32  # of an ADC that takes 60 us or so for one: two periods, 10 % of each hit thrice
# Levels alike in a row until one counts. A car that goes ends its session: that has to be sure.
_NEEDED = (6, 2, 2, 2, 10, 10)

LEAST_A = 6  # Table A.7 knows no less
_STEADY = 65535


def level_of(mv, before):
    """The level (A to F) of `mv`, after `before`."""
    level = _A
    for i in range(5):
        if mv < _EDGES_MV[i] + (-_HYSTERESIS_MV if before <= i else _HYSTERESIS_MV):
            level = i + 1
    return level


def duty_of(amperes):
    """The duty, in 1/65535, that allows a car so many A (Table A.7); steady below LEAST_A."""
    if amperes < LEAST_A:
        return _STEADY
    if amperes <= 51:
        return amperes * _STEADY // 60
    return (min(amperes, 80) * 2 + 320) * _STEADY // 500


class Pilot:
    """adc: read_uv() gives uV (machine.ADC); pwm: duty_u16(n) at 1 kHz (machine.PWM). low_mv,
    high_mv: what the ADC sees of -12 and +12 V, from calibration.

    level: what has been seen often enough; now: what was seen last."""

    def __init__(self, adc, pwm, low_mv, high_mv):
        self._adc = adc
        self._pwm = pwm
        self._low_mv = low_mv
        self._span_mv = high_mv - low_mv
        self._seen = 0  # so many times in a row, `now`
        self._duty = 0
        self.level = self.now = _A
        self.offer(0)

    def offer(self, amperes):
        """Allows the car so many A; less than LEAST_A: none."""
        duty = duty_of(amperes)
        if duty != self._duty:
            self._duty = duty
            self._pwm.duty_u16(duty)

    def offers(self):
        """Whether a car may draw anything."""
        return self._duty != _STEADY

    def sample(self):
        """Looks at the pilot; at even intervals. Returns `level`. Takes no heap."""
        most = second = -(1 << 29)
        least = below = 1 << 29
        for _ in range(_READS):
            mv = self._adc.read_uv() // 1000
            # The outermost reading of each side may be a spike: the one next to it counts.
            if mv > most:
                second = most
                most = mv
            elif mv > second:
                second = mv
            if mv < least:
                below = least
                least = mv
            elif mv < below:
                below = mv
        now = level_of(self._pilot_mv(second), self.now)
        if _B <= now <= _D and self._duty <= _DIODE_DUTY and self._pilot_mv(below) > _DIODE_MV:
            now = _E  # no car: a resistor, or a finger
        self._seen = min(self._seen + 1, 255) if now == self.now else 1
        self.now = now
        if self._seen >= _NEEDED[now]:
            self.level = now
        return self.level

    def _pilot_mv(self, mv):
        return (mv - self._low_mv) * 24000 // self._span_mv - 12000
