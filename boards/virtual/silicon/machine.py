"""`machine` and `esp32.Partition` of the virtual board: what hwconfig.py finds on an ESP32."""

import array
import io
import sys
from binascii import hexlify
from hashlib import sha256
from time import gmtime

import link
import uselect

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
SOFT_RESET = 5

RESET_EXIT = 0x52  # exit code that asks the simulator for a reset
SOFT_RESET_EXIT = 0x53  # ... for a soft reset
RAW_RESET_EXIT = 0x54  # ... for a soft reset that stays at the raw prompt

_wiring = {}
panel = "text"  # the display that is connected


def wire_up(wiring):
    global panel
    """wiring: {"uart": [file descriptors], "image": path, "partitions": {name: [start, blocks]},
    "cause": reset cause, "panel": the display}, from the simulator's command line."""
    _wiring.update(wiring)
    panel = wiring["panel"]


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 2
    IRQ_FALLING = 2
    IRQ_RISING = 1

    def __new__(cls, number, *args, **others):
        """One of each, made beforehand: an ESP32 has them in C, they cost no heap there."""
        return _PINS[number]

    def __init__(self, number, mode=IN, pull=None, value=None):
        self._number = number
        self._level = 0
        if mode == self.OUT:
            self.value(value or 0)
        self._mode = mode

    def value(self, level=None):
        if level is None:
            if self._mode == self.OUT:
                return self._level
            return link.inputs() >> self._number & 1
        self._level = 1 if level else 0
        link.send(link.PIN, self._number, self._level)

    def __call__(self, level=None):
        return self.value(level)

    def irq(self, handler, trigger):
        """One pin's interrupt, the last one asked for; handled wherever the board waits."""
        before = [self.value()]

        def look(levels):
            level = levels >> self._number & 1
            if level != before[0]:
                before[0] = level
                if trigger & (self.IRQ_RISING if level else self.IRQ_FALLING):
                    handler(self)

        link.on_pins[0] = look


_PINS = []
for _n in range(21):
    _pin = object.__new__(Pin)
    _pin._number = _pin._level = _pin._mode = 0
    _PINS.append(_pin)
# Of each pin from 16 on: uV of the upper half wave, of the lower one, 1/1000 that is the upper.
_analog = array.array("i", [0] * 9)
_phase = [0]


class ADC:
    """An analog input, whose voltage may be a 1 kHz square wave."""

    def __init__(self, pin):
        self._at = (pin._number - 16) * 3

    def read_uv(self):
        _phase[0] = (_phase[0] + 61) % 1000  # a conversion takes 61 us, though time stands still
        return _analog[self._at if _phase[0] < _analog[self._at + 2] else self._at + 1]


class PWM:
    """A square wave on a pin; the simulator is told its duty."""

    def __init__(self, pin, freq=1000, duty_u16=0):
        self._number = pin._number
        self.duty_u16(duty_u16)

    def duty_u16(self, duty):
        link.send(link.PIN, self._number, duty)

    def freq(self, hz):
        link.send(link.TONE, self._number, hz)


class UART(io.IOBase):
    """A socket that the simulator holds the other end of; reads never block."""

    def __init__(self, number, baudrate=9600, **_):
        self._number = number
        self._fd = _wiring["uart"][number - 1]
        self._file = _FILES.setdefault(self._fd, None) or open(self._fd, "r+b")
        _FILES[self._fd] = self._file
        self._poll = uselect.poll()
        self._poll.register(self._file, uselect.POLLIN)

    def init(self, **_):
        pass

    def any(self):
        return 1 if self._poll.poll(0) else 0

    def read(self, n=-1):
        return self._file.read(n if n > 0 else 256)

    def readinto(self, buf, n=None):
        return self._file.readinto(buf if n is None else memoryview(buf)[:n])

    def write(self, data):
        n = self._file.write(data)
        if n:
            link.tx_totals[self._number - 1] += n
        return n

    def flush(self):
        pass

    def ioctl(self, request, arg):
        if request == 10:  # MP_STREAM_GET_FILENO
            return self._fd
        if request == 3:  # MP_STREAM_POLL
            return (arg & 1 if self.any() else 0) | (arg & 4)
        return -1


class I2C:
    """A bus that takes its time, like a board's: nothing else happens while it sends."""

    def __init__(self, number, freq=400000):
        self._freq = freq
        self._owed_us = 0

    def writeto(self, address, data):
        self._owed_us += (9 * (1 + len(data)) + 2) * 1000000 // self._freq
        if self._owed_us >= 1000:
            link.advance(self._owed_us // 1000, True)
            self._owed_us %= 1000
        if _absent[0]:
            raise OSError(19)  # ENODEV: no acknowledge
        link.send(link.I2C, address, 0, data)
        return len(data)


_FILES = {}  # an fd's only file object: a second one's finaliser would close the first one's fd


class RTC:
    """The battery-backed clock, which only the simulator sets."""

    def datetime(self, value=None):
        if value is None:
            seconds, ms = link.wall_clock()
            y, mo, d, h, mi, s, wd, _ = gmtime(seconds)
            return (y, mo, d, wd, h, mi, s, ms * 1000)


class WDT:
    def __init__(self, id=0, timeout=5000):
        self._timeout = timeout
        self.feed()

    def feed(self):
        link.send(link.WATCHDOG, 0, self._timeout)


# What the simulator says of the data partition (FLASH_STATES and HOWS in tillsim/board.py).
_FULL = 1
_READ_ERROR = 2
_HALF = 1
_GARBLED = 2
_EIO = -5
_ENOSPC = -28
_absent = [0]  # whether nobody answers on I2C
_state = [0, 0, 0]  # FLASH's arg; the count of writes at which power is cut, or 0; how
_byte = bytearray(1)


def _obey(op, arg, value, second, third):
    if op == link.ABSENT:
        _absent[0] = arg
    elif op == link.FLASH:
        _state[0] = arg
    elif op == link.CUT:
        _state[1] = link.writes[0] + value
        _state[2] = arg
    elif op == link.ANALOG:
        at = (arg - 16) * 3
        _analog[at], _analog[at + 1], _analog[at + 2] = value, second, third


link.on_order[0] = _obey


class Partition:
    """A stretch of the flash image, as a block device; nothing here allocates, since LittleFS
    also writes from finalisers, when the heap is locked."""

    BLOCK = 4096

    def __init__(self, name):
        self._is_data = name == "data"
        self._start, self._blocks = _wiring["partitions"][name]
        self._image = _image()
        self._seek = self._image.seek
        self._read = self._image.readinto
        self._write = self._image.write

    def readblocks(self, block, buf, offset=0):
        if self._is_data and _state[0] == _READ_ERROR:
            return _EIO
        self._seek((self._start + block) * 4096 + offset)
        self._read(buf)

    def writeblocks(self, block, buf, offset=0):
        self._seek((self._start + block) * 4096 + offset)
        if self._is_data and self._count():
            if _state[0] == _FULL:
                return _ENOSPC
            self._cut(buf, len(buf))
        self._write(buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return 4096
        if op == 6:  # erase: LittleFS programs only what it erased, so the old bytes may stay
            if self._is_data and self._count():
                if _state[0] == _FULL:
                    return _ENOSPC
                self._seek((self._start + arg) * 4096)
                self._cut(None, 4096)
            return 0

    def _count(self):
        """Counts a write. Whether it is not simply done."""
        if _state[0] == _FULL:
            return True
        link.writes[0] += 1
        return link.writes[0] == _state[1]

    def _cut(self, buf, n):
        """Writes what the power cut lets through of `buf` (None: of an erase), and ends it all."""
        how = _state[2]
        if how != _GARBLED:
            n = n // 2 if how == _HALF else 0
        for i in range(n):
            _byte[0] = 0xFF if buf is None else buf[i]
            if how == _GARBLED:
                _byte[0] = _byte[0] * 7 + i * 29 + 0x5A & 0xFF
            self._write(_byte)
        link.power_cut()


def rom_ioctl(op, *args):
    """`vfs.rom_ioctl` as ports with ROM partitions have it; mpremote writes ROMFS images by it."""
    if op == 1:  # number of partitions
        return 1
    if op == 2:  # the partition
        return Partition("romfs")
    return -22  # EINVAL: a partition with an ioctl() of its own needs no others


def mount_rom():
    """Mounts the ROM filesystem at /rom where there is one. Its code runs where it lies, mapped
    into memory and outside of the heap, as on an ESP32."""
    import rom

    start, blocks = _wiring["partitions"]["romfs"]
    rom.mount(_wiring["image"], start * Partition.BLOCK, blocks * Partition.BLOCK, "/rom")


def _image():
    if "file" not in _wiring:
        _wiring["file"] = _wiring["open"](_wiring["image"], "r+b")
    return _wiring["file"]


def display(lines, qr):
    text = "\n".join(lines)
    if qr:
        text += "\nQR %dx%d %s" % (qr[0], qr[0], hexlify(sha256(qr[1]).digest()).decode()[:8])
    link.send(link.DISPLAY, 0, 0, text.encode())


def reset():
    link.tell_writes()
    sys.exit(RESET_EXIT)


def soft_reset():
    link.tell_writes()
    sys.exit(SOFT_RESET_EXIT)


def reset_cause():
    return _wiring["cause"]


def unique_id():
    return bytes(_wiring["unique_id"])


def freq():
    return 240000000

