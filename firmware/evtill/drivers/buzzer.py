"""The buzzer: a few short tones where somebody waits for an answer, and nothing else.

Accepted rises, refused is low and twice, finished falls: told apart without looking.
"""

# Each status with its tones, one a beat of 125 ms: hundreds of Hz as a digit or letter, 0: silence.
_TUNES = """
plug fk
refused 40440
finished kfa
near a0a
"""
_HALF = 32768


class Buzzer:
    """pwm: freq(Hz), duty_u16(0 to 65535), as machine.PWM has them."""

    def __init__(self, pwm):
        self._pwm = pwm
        self._status = None
        self._note = -1  # where in _TUNES, or -1 for silence
        pwm.duty_u16(0)

    def tick(self, status):
        """To be called each 125 ms: a beat of the tune of `status`, if it has one; what was playing
        for another one ends."""
        if status != self._status:
            self._status = status
            at = _TUNES.find("\n%s " % status)
            if at < 0 <= self._note:
                self._pwm.duty_u16(0)
            self._note = at if at < 0 else at + len(status) + 2
        if self._note >= 0:
            hz = 100 * int(_TUNES[self._note : self._note + 1].strip() or "0", 36)
            if hz:
                self._pwm.freq(hz)
            self._pwm.duty_u16(_HALF if hz else 0)
            self._note = -1 if _TUNES[self._note] == "\n" else self._note + 1
