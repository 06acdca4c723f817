"""`neopixel` of the virtual board: one diode, seen by the simulator."""

import link


class NeoPixel:
    def __init__(self, pin, n):
        self.fill((0, 0, 0))

    def fill(self, colour):
        self._colour = colour

    def write(self):
        red, green, blue = self._colour
        link.send(link.LIGHT, 0, red << 16 | green << 8 | blue)
