"""A graphic display of 128 x 64 pixels: SSD1306 on I2C, or its kin SH1106.

"DS" is Solomon Systech's SSD1306 data sheet, rev 1.1. No picture of the screen is kept: a page (8
rows of pixels) is drawn when it is sent, of which only the letters that changed travel.
"""

from evtill.drivers import font
from evtill.drivers.display import COLUMNS, LINES, codes

_COMMANDS = 0x00  # the control byte ahead of commands (DS 8.1.5.2)
_DATA = 0x40  # ... ahead of bytes for its RAM
_WIDTH = 128
_PAGES = 8
_LETTER = 6  # columns of pixels
_MARGIN = 4  # on both sides of 20 letters
_QR_COLUMNS = 11  # letters beside a QR code
_QR_LEFT = 66  # its light field begins here, and ends at the right edge
_ON = 0xAF  # DS 10.1.12
_SETUP = bytes((
    _COMMANDS,
    0xD5, 0x80,  # clock: as after reset (DS 10.1.16)
    0xA8, 0x3F,  # 64 lines (DS 10.1.11)
    0xD3, 0x00, 0x40,  # no offset, RAM line 0 above (DS 10.1.15, 10.1.6)
    0x8D, 0x14,  # charge pump on (application note in the DS, 1.1)
    0x20, 0x02,  # page addressing (DS 10.1.3), the only one that an SH1106 has
    0xA1, 0xC8,  # column 0 left and line 0 above, as modules are built (DS 10.1.8, 10.1.14)
    0xDA, 0x12,  # 64 lines, wired alternately (DS 10.1.18)
    0x81, 0x9F, 0xD9, 0xF1, 0xDB, 0x30,  # contrast, pre-charge, VCOMH (DS 10.1.7, .17, .19)
    0xA4, 0xA6,  # show the RAM, 1 is lit (DS 10.1.9, 10.1.10)
))  # fmt: skip


class SSD1306:
    """i2c: writeto(address, bytes), machine.I2C. frame_buffer: framebuf's class; mono: its
    MONO_VLSB. offset: an SH1106's first visible column, 2."""

    glyphs = "¡£€°¿ßÀÁÂÄÇÈÉÊËÍÎÏÑÓÔÖÙÚÛÜàáâäçèéêëíîïñóôöùúûü"

    def __init__(self, i2c, frame_buffer, mono, address=0x3C, offset=0):
        self._i2c = i2c
        self._address = address
        self._offset = offset
        self._out = bytearray(1 + _WIDTH)
        self._place = bytearray(4)
        self._page = memoryview(self._out)[1:]
        self._frame = frame_buffer(self._page, _WIDTH, 8, mono)
        self._want = [None] * _PAGES  # the letters of each page
        self._shown = [None] * _PAGES  # ... None where it has to be sent whole
        self._square = None
        self._ready = self._lit = False

    def room(self, with_qr):
        return (_QR_COLUMNS, _PAGES) if with_qr else (COLUMNS, LINES)

    def show(self, lines, qr=None):
        columns, rows = self.room(qr)
        if qr != self._square:
            self._square = qr
            self._shown = [None] * _PAGES
        changed = False
        for row in range(rows):
            letters = codes(lines[row] if row < len(lines) else "", columns)
            for page in range(row * _PAGES // rows, (row + 1) * _PAGES // rows):
                self._want[page] = letters
                changed = changed or self._shown[page] != letters
        return changed

    def anew(self):
        self._ready = self._lit = False
        self._shown = [None] * _PAGES

    def step(self):
        try:
            if not self._ready:
                self._i2c.writeto(self._address, _SETUP)
                self._ready = True
                return 0
            for page in range(_PAGES):
                if self._shown[page] != self._want[page]:
                    self._send(page)
                    return 0
            if not self._lit:  # only now: before, its RAM held anything
                self._i2c.writeto(self._address, bytes((_COMMANDS, _ON)))
                self._lit = True
        except OSError:
            self.anew()
            raise

    def _send(self, page):
        """Draws a page's letters from the first to the last that changed, and sends them."""
        letters = self._want[page]
        before = self._shown[page]
        first = 0
        end = _WIDTH
        margin = 0 if self._square else _MARGIN
        if before is None:
            self._frame.fill(0)
            self._draw(page, letters, 0, len(letters), margin)
            if self._square:
                self._draw_qr(page)
        else:
            n = len(letters)
            low = 0
            while letters[low] == before[low]:
                low += 1
            while letters[n - 1] == before[n - 1]:
                n -= 1
            self._draw(page, letters, low, n, margin)
            first = margin + low * _LETTER
            end = margin + n * _LETTER
        column = first + self._offset
        place = self._place
        place[0] = _COMMANDS
        place[1] = 0xB0 | page  # DS 10.1.13
        place[2] = column & 15  # DS 10.1.1
        place[3] = 0x10 | column >> 4  # DS 10.1.2
        self._i2c.writeto(self._address, place)
        out = self._out
        kept = out[first]
        out[first] = _DATA  # in the place of the pixels on the left, which stay
        try:
            self._i2c.writeto(self._address, memoryview(out)[first : 1 + end])
        finally:
            out[first] = kept
        self._shown[page] = letters

    def _draw(self, page, letters, low, high, x):
        """Draws letters[low:high] of a page; the first of all stands at column x."""
        glyphs = font.SMALL if self._square else font.TALL
        size = 5 if self._square else 10
        half = 0 if self._square else page % 2 * 5
        out = self._page
        for i in range(low, high):
            code = letters[i]
            at = code - 32 if code < 127 else 95 + font.MORE.find(bytes((code,)))
            if at == 94 and code != 126:  # find() said -1
                at = 31  # "?"
            at = at * size + half
            left = x + i * _LETTER
            out[left : left + 5] = glyphs[at : at + 5]
            out[left + 5] = 0

    def _draw_qr(self, page):
        """Draws the part of the QR code that lies on a page: lit is light, 2 pixels a module."""
        size, bits = self._square
        self._frame.fill_rect(_QR_LEFT, 0, _WIDTH - _QR_LEFT, 8, 1)
        left = _QR_LEFT + (_WIDTH - _QR_LEFT - 2 * size) // 2
        above = (8 * _PAGES - 2 * size) // 2 - 8 * page
        for y in range(max(0, (-1 - above) // 2), min(size, (9 - above) // 2)):
            for x in range(size):
                i = y * size + x
                if bits[i >> 3] & 0x80 >> (i & 7):
                    self._frame.fill_rect(left + 2 * x, above + 2 * y, 2, 2, 0)
