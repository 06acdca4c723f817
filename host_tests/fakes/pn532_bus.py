"""The byte level of the PN532's I2C and SPI around ReaderWire (UM0701-02, 6.2.4 and 6.2.5)."""

from tillsim.reader_wire import ReaderWire

ACK = bytes.fromhex("0000ff00ff00")


class _Queue:
    """Frames that the chip has ready, one a read; `asleep`: misses what wakes it."""

    def __init__(self, wire: ReaderWire):
        self.wire = wire
        self.frames = []
        self.transfers = 0
        self.broken = False

    def hear(self, data):
        said = self.wire.feed(data)
        if data:  # a command gives up what was not read of the one before
            self.frames = []
        self.arrive(said)

    def arrive(self, said):
        """What the reader says, cut into frames: an acknowledgement is one of its own."""
        if said.startswith(ACK):
            self.frames.append(ACK)
            said = said[len(ACK) :]
        if said:
            self.frames.append(said)

    def read(self, n):
        """The next frame and what the chip shifts out behind it; read in part, the rest is lost."""
        frame = self.frames.pop(0)
        return (frame + b"\x00" * n)[:n]


class I2C(_Queue):
    def __init__(self, wire, asleep=False):
        super().__init__(wire)
        self.asleep = asleep

    def _address(self, address):
        self.transfers += 1
        if self.broken or address != 0x24:
            raise OSError(19, "ENODEV")

    def writeto(self, address, data):
        self._address(address)
        if self.asleep:
            self.asleep = False
            raise OSError(110, "ETIMEDOUT")
        self.hear(bytes(data))

    def readfrom(self, address, n):
        self._address(address)
        assert n == 1, "a longer read takes the frame with it"
        return bytes([bool(self.frames)])

    def readfrom_into(self, address, buf):
        self._address(address)
        if not self.frames:
            buf[:] = bytes(len(buf))
        else:
            buf[:] = b"\x01" + self.read(len(buf) - 1)


class SPI(_Queue):
    """With the pin that selects it: `cs`."""

    def __init__(self, wire):
        super().__init__(wire)
        self.cs = self
        self._level = 1
        self._operation = None
        self._sent = b""

    def value(self, level):
        if level == 0:
            self.transfers += 1
            self._operation, self._sent = None, b""
        elif self._operation == 1:
            self.hear(self._sent)
        self._level = level

    def write(self, data):
        assert self._level == 0
        if self.broken:
            raise OSError(5, "EIO")
        data = bytes(data)
        if self._operation is None:
            self._operation, data = data[0], data[1:]
        self._sent += data

    def readinto(self, buf):
        assert self._level == 0
        if self._operation == 2:
            assert len(buf) == 1
            buf[0] = bool(self.frames)
        else:
            assert self._operation == 3 and self.frames
            buf[:] = self.read(len(buf))


class Irq:
    """The pin: low while a frame is ready."""

    def __init__(self, bus):
        self._bus = bus

    def value(self):
        return 0 if self._bus.frames else 1
