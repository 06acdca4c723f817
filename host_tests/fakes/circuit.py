"""A control pilot for CPython tests."""

LOW_MV, HIGH_MV = 500, 2900  # 10 mV of the pilot are 1 mV at the ADC


class Circuit:
    """ADC and PWM of a pilot at `volts`; the lower half wave is at -12 V where there is a diode."""

    def __init__(self, volts=12.0):
        self.volts, self.diode, self.noise = volts, True, lambda: 0
        self.duty, self.duties, self._phase = 65535, [], 0

    def duty_u16(self, duty):
        self.duty = duty
        self.duties.append(duty)

    def read_uv(self):
        """Every 61 us of a 1 ms period, or of steady voltage."""
        self._phase = (self._phase + 4001) % 65536
        volts = self.volts
        if self._phase >= self.duty:
            volts = -12 if self.diode or volts > 10.5 else -volts
        return round((LOW_MV + (volts + 12) * 100 + self.noise()) * 1000)
