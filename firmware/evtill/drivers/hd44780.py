"""A text display of 4 x 20 letters: HD44780 behind a PCF8574 on I2C.

"DS" is Hitachi's HD44780U data sheet (ADE-207-272), with character ROM A00. The PCF8574's pins, as
on the usual adapter: P0 RS, P1 R/W, P2 E, P3 back light, P4 to P7 D4 to D7. It takes 100 kHz (NXP
PCF8574 data sheet, 8): then two of its bytes last longer than the 37 us of an instruction.
"""

from evtill.drivers.display import COLUMNS, LINES, codes

_DATA = 0x01
_ENABLE = 0x04
_LIGHT = 0x08
_ROWS = b"\x00\x40\x14\x54"  # where a line of 20 begins (DS "2-line display", wired as 4)
# Into 4-bit mode from whatever mode it is in (DS figure 24): nibbles, and ms to wait after them.
_WAKE = ((0x30, 5), (0x30, 1), (0x30, 1), (0x20, 1))
_SETUP = b"\x28\x06\x0c"  # two lines; to the right; on, no cursor (DS table 6)
_OWN = "äßñöü£°".encode()  # in UTF-8, two bytes each
_ROM = b"\xe1\xe2\xee\xef\xf5\xed\xdf"  # in ROM A00 (DS table 4; beta for the sharp s)
_LACKING = b"\\~"  # of ASCII


class HD44780:
    """i2c: writeto(address, bytes), machine.I2C at 100 kHz. address: 0x27, a PCF8574A's 0x3F."""

    glyphs = "äßñöü£°"

    def __init__(self, i2c, address=0x27):
        self._i2c = i2c
        self._address = address
        self._out = bytearray(4 * (1 + COLUMNS))
        self._n = 0
        self._want = [None] * LINES
        self._shown = [None] * LINES
        self._woken = 0  # steps of _WAKE done, and one more for _SETUP

    def room(self, with_qr):
        return None if with_qr else (COLUMNS, LINES)

    def show(self, lines, qr=None):
        changed = False
        for row in range(LINES):
            letters = codes(lines[row] if row < len(lines) else "")
            changed = changed or letters != self._shown[row]
            self._want[row] = letters
        return changed

    def anew(self):
        self._woken = 0
        self._shown = [None] * LINES

    def step(self):
        try:
            self._n = 0
            if self._woken <= len(_WAKE):
                return self._wake()
            for row in range(LINES):
                if self._shown[row] != self._want[row]:
                    self._send(row)
                    return 0
        except OSError:
            self.anew()
            raise

    def _wake(self):
        wait_ms = 1
        if self._woken < len(_WAKE):
            nibble, wait_ms = _WAKE[self._woken]
            self._put_nibble(nibble)
        else:
            for byte in _SETUP:
                self._put(byte, 0)
        self._write()
        self._woken += 1
        return wait_ms

    def _send(self, row):
        """Sends a row's letters from the first to the last that changed."""
        letters = self._want[row]
        before = self._shown[row]
        low = 0
        high = COLUMNS
        if before is not None:
            while letters[low] == before[low]:
                low += 1
            while letters[high - 1] == before[high - 1]:
                high -= 1
        self._put(0x80 | _ROWS[row] + low, 0)  # DDRAM address (DS table 6)
        for i in range(low, high):
            self._put(_rom_code(letters[i]), _DATA)
        self._write()
        self._shown[row] = letters

    def _put(self, byte, kind):
        self._put_nibble(byte & 0xF0 | kind)
        self._put_nibble((byte << 4 & 0xF0) | kind)

    def _put_nibble(self, lines):
        """It is taken over as E falls (DS figure 25)."""
        self._out[self._n] = lines | _LIGHT | _ENABLE
        self._out[self._n + 1] = lines | _LIGHT
        self._n += 2

    def _write(self):
        self._i2c.writeto(self._address, memoryview(self._out)[: self._n])


def _rom_code(code):
    """Where ROM A00 has a letter that codes() gave."""
    if code < 0x7F:
        return 0x3F if code in _LACKING else code
    at = _OWN.find(bytes((0xC0 | code >> 6, 0x80 | code & 0x3F)))
    return 0x3F if at < 0 else _ROM[at // 2]
