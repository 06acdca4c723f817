"""An I2C bus with displays on it, and the little of framebuf that a driver needs."""

import errno

MONO_VLSB = 0


class I2C:
    """writeto() as machine.I2C has it. `log`: (address, bytes) of every write."""

    def __init__(self, *devices):
        self.devices = {device.address: device for device in devices}
        self.log = []
        self.unplugged = False

    def writeto(self, address, data):
        if self.unplugged or address not in self.devices:
            raise OSError(errno.ENODEV, "no acknowledge")
        self.log.append((address, bytes(data)))
        self.devices[address].write(bytes(data))


class FrameBuffer:
    """MONO_VLSB: bytes of 8 rows, the lowest bit above."""

    def __init__(self, buffer, width, height, form):
        assert form == MONO_VLSB
        self._buffer, self._width, self._height = buffer, width, height

    def fill(self, colour):
        self.fill_rect(0, 0, self._width, self._height, colour)

    def fill_rect(self, left, top, width, height, colour):
        for y in range(max(0, top), min(self._height, top + height)):
            for x in range(max(0, left), min(self._width, left + width)):
                i, bit = y // 8 * self._width + x, 1 << y % 8
                self._buffer[i] = self._buffer[i] | bit if colour else self._buffer[i] & ~bit


def settle(display):
    """Sends all that a display has to send; the number of slices."""
    count = 0
    while display.step() is not None:
        count += 1
        assert count < 200
    return count
