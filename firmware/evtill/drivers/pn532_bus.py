"""The PN532's I2C and SPI: what pn532.PN532 takes in place of a UART. The frames are the same.

Source: NXP UM0701-02, Rev. 02: 6.2.4 (I2C), 6.2.5 (SPI); IRQ pin: 7.2.10 and 6.2.4.3. Each link has
what a UART and its Receiver have: write, readinto's buffer `buf` with `n` bytes in it, more, drop,
clear. The chip tells by a status byte, or by its IRQ pin going low, that a frame is ready: with the
pin the bus is silent until then; without it the status is read each _POLL_MS.
"""

from evtill.core.errors import ReaderError
from evtill.drivers.aio import sleep_ms, ticks_add, ticks_diff, ticks_ms

_ADDRESS = 0x24  # 6.2.4.1: 48 and 49 with the direction bit
_READY = 1  # bit 0 of the status byte
_DATA_WRITE = 0x01  # 6.2.5.1: the first byte of each SPI transfer
_STATUS_READ = 0x02
_DATA_READ = 0x03
_POLL_MS = 10
_LOOK_MS = 2  # between looks at the IRQ pin
_ACK = 6  # bytes of what answers a command first (6.2.1.3)
_BUFFER = 96  # as pn532._BUFFER; a frame is read in one transfer, whatever its length
_NOT_READY = 0


class _Link:
    """irq: a Pin that is low while a frame is ready, or None."""

    def __init__(self, irq):
        self._irq = irq
        self.buf = bytearray(_BUFFER)
        self.view = memoryview(self.buf)
        self.n = 0
        self._ack_due = False

    def write(self, data):
        """Sends `data`; the number of its bytes. Raises OSError."""
        self._ack_due = True
        self._send(data)
        return len(data)

    async def more(self, timeout_ms):
        """Waits for a frame, `timeout_ms` at most. Returns the number of its bytes.

        Bytes behind the frame are whatever the chip shifts out. Raises OSError."""
        deadline = ticks_add(ticks_ms(), max(timeout_ms, 0))
        while not self._ready():
            left_ms = ticks_diff(deadline, ticks_ms())
            if left_ms <= 0:
                return 0
            await sleep_ms(min(left_ms, _LOOK_MS if self._irq else _POLL_MS))
        room = _BUFFER - self.n
        wanted = min(room, _ACK if self._ack_due else room)
        if wanted == 0:
            raise ReaderError("frames without end")
        self._ack_due = False
        self._read(self.view[self.n : self.n + wanted])
        self.n += wanted
        return wanted

    def _ready(self):
        return not self._irq.value() if self._irq else self._status() & _READY != _NOT_READY

    def drop(self, count):
        """Forgets the first `count` bytes."""
        left = self.n - count
        if left > 0 and count > 0:
            self.buf[:left] = bytes(self.view[count : self.n])
        self.n = max(left, 0)

    def clear(self):
        """Forgets what was read; what the chip still has is given up with the next command."""
        self.n = 0
        return 0


class I2CLink(_Link):
    """i2c: a machine.I2C of at most 400 kHz; the chip stretches its clock."""

    def __init__(self, i2c, irq=None):
        super().__init__(irq)
        self._i2c = i2c
        self._in = bytearray(1 + _BUFFER)

    def _send(self, data):
        try:
            self._i2c.writeto(_ADDRESS, data)
        except OSError:
            self._i2c.writeto(_ADDRESS, data)  # asleep, it wakes at its address and misses that

    def _status(self):
        try:
            return self._i2c.readfrom(_ADDRESS, 1)[0]
        except OSError:
            return _NOT_READY  # busy, it may not answer to its address

    def _read(self, buf):
        into = memoryview(self._in)[: 1 + len(buf)]  # the status byte comes first each time
        self._i2c.readfrom_into(_ADDRESS, into)
        if not into[0] & _READY:
            raise OSError("frame withdrawn")
        buf[:] = into[1:]


class SPILink(_Link):
    """spi: a machine.SPI, mode 0, least significant bit first, at most 5 MHz; cs: an output Pin."""

    def __init__(self, spi, cs, irq=None):
        super().__init__(irq)
        self._spi = spi
        self._cs = cs
        cs.value(1)

    def _transfer(self, operation, data=None, buf=None):
        self._cs.value(0)
        try:
            self._spi.write(bytes((operation,)))
            if data is not None:
                self._spi.write(data)
            if buf is not None:
                self._spi.readinto(buf)
        finally:
            self._cs.value(1)

    def _send(self, data):
        self._transfer(_DATA_WRITE, data)

    def _status(self):
        status = bytearray(1)
        self._transfer(_STATUS_READ, buf=status)
        return status[0]

    def _read(self, buf):
        self._transfer(_DATA_READ, buf=buf)
