"""The status light: WS2812 light-emitting diodes, which tell the status by colour and by rhythm.

Nobody has to know colours apart: each status has a rhythm of its own. Nothing flashes more than
three times within a second (WCAG 2.2, success criterion 2.3.1).
"""

# Each status with its colour (red, green, blue) and which of 16 beats are lit, in hex, the first
# one in the highest bit. As text: a dictionary of them would take 0.5 kB of heap.
_RHYTHMS = """
idle 002800 ffff
busy 282828 f0f0
plug 003c3c cc00
refused 500000 8888
reserved 3c003c fff0
charging 00003c fffc
suspended 00003c c000
near 462300 fcfc
finished 003c00 ccc0
fault 500000 ff00
"""


class StatusLight:
    """leds: fill((red, green, blue)), write(), as neopixel.NeoPixel has them."""

    def __init__(self, leds):
        self._leds = leds
        self._status = None
        self._colour = (0, 0, 0)
        self._lit = 0  # the beats of the rhythm, the present one's bit on top

    def tick(self, status):
        """To be called each 125 ms: a beat of the rhythm of `status`, from its start where it is
        another one than before. One that is not known leaves the light as it is."""
        beats = self._lit
        before = beats & 1  # that was the last one
        if status != self._status:
            self._status = status
            at = _RHYTHMS.find("\n%s " % status)
            if at >= 0:
                at += len(status) + 2
                colour = int(_RHYTHMS[at : at + 6], 16)
                self._colour = (colour >> 16, colour >> 8 & 255, colour & 255)
                beats = int(_RHYTHMS[at + 7 : at + 11], 16)
                before = -1
        lit = beats >> 15
        self._lit = beats << 1 & 0xFFFF | lit
        if lit != before:
            self._leds.fill(self._colour if lit else (0, 0, 0))
            self._leds.write()
