"""The displays at the far end of the board's I2C, as their controllers understand the bus; what
they show as a picture.

They know what their data sheets say, not what the drivers mean by it: Solomon Systech SSD1306,
rev 1.1; Hitachi HD44780U (ADE-207-272) with ROM A00, behind a PCF8574."""

from typing import Protocol

from PIL import Image, ImageDraw

from evtill.drivers import font

_LIT, _DARK, _CASE = (214, 236, 255), (6, 9, 14), (30, 32, 38)
_INK, _CELL, _BACK = (232, 240, 255), (24, 62, 190), (18, 50, 165)
_PIXEL = 4  # of the picture, for one of the display's
# What follows a command (SSD1306, table 9-1): bytes that belong to it.
_ARGUMENTS = {0x20: 1, 0x21: 2, 0x22: 2, 0x81: 1, 0x8D: 1, 0xA8: 1, 0xD3: 1, 0xD5: 1, 0xD9: 1,
              0xDA: 1, 0xDB: 1}  # fmt: skip


class Panel(Protocol):
    """A device on the bus that shows something."""

    address: int

    def write(self, data: bytes) -> None: ...
    def power_cycle(self) -> None: ...
    def picture(self) -> Image.Image: ...


class PanelError(Exception):
    """The bus said something that no data sheet explains."""


class Ssd1306:
    """128 x 64 pixels; page addressing only, as drivers/ssd1306.py uses it."""

    address = 0x3C

    def __init__(self) -> None:
        self.power_cycle()

    def power_cycle(self) -> None:
        self.ram = bytearray(b"\xa5\x5a" * 512)  # whatever it held
        self.on = self.pump = False
        self.page = self.column = 0
        self.mirrored_x = self.mirrored_y = False
        self.mode = 0b10
        self._command = bytearray()

    def write(self, data: bytes) -> None:
        if data[:1] == b"\x40":
            for byte in data[1:]:
                self.ram[self.page * 128 + self.column] = byte
                self.column = (self.column + 1) % 128
        elif data[:1] == b"\x00":
            for byte in data[1:]:
                self._take(byte)
        else:
            raise PanelError(f"control byte {data[:1].hex()}")

    def _take(self, byte: int) -> None:
        self._command.append(byte)
        if len(self._command) <= _ARGUMENTS.get(self._command[0], 0):
            return
        code, *arguments = self._command
        self._command.clear()
        if code < 0x10:
            self.column = self.column & 0xF0 | code
        elif code < 0x20:
            self.column = (code & 7) << 4 | self.column & 15
        elif code & 0xF8 == 0xB0:
            self.page = code & 7
        elif code == 0x20:
            self.mode = arguments[0]
        elif code == 0x8D:
            self.pump = arguments[0] == 0x14
        elif code in (0xA0, 0xA1):
            self.mirrored_x = code == 0xA1
        elif code in (0xC0, 0xC8):
            self.mirrored_y = code == 0xC8
        elif code in (0xAE, 0xAF):
            self.on = code == 0xAF
        elif not (code in _ARGUMENTS or code & 0xC0 == 0x40 or code in (0xA4, 0xA6)):
            raise PanelError(f"command {code:#x}")

    def pixels(self) -> list[list[bool]]:
        """64 rows of 128, as somebody in front of the module sees them; all dark while off."""
        lit = self.on and self.pump and self.mode == 0b10
        rows = [[lit and bool(self.ram[y // 8 * 128 + x] >> y % 8 & 1) for x in range(128)]
                for y in range(64)]  # fmt: skip
        if not self.mirrored_x:
            rows = [row[::-1] for row in rows]
        return rows if self.mirrored_y else rows[::-1]

    def picture(self) -> Image.Image:
        image = Image.new("RGB", (128 * _PIXEL + 32, 64 * _PIXEL + 32), _CASE)
        draw = ImageDraw.Draw(image)
        draw.rectangle((8, 8, image.width - 9, image.height - 9), fill=_DARK)
        for y, row in enumerate(self.pixels()):
            for x, lit in enumerate(row):
                if lit:
                    left, top = 16 + x * _PIXEL, 16 + y * _PIXEL
                    draw.rectangle((left, top, left + _PIXEL - 1, top + _PIXEL - 1), fill=_LIT)
        return image


# ROM A00 beyond ASCII (table 4), as far as drivers may use it.
_ROM_A00 = {0xDF: "°", 0xE1: "ä", 0xE2: "ß", 0xED: "£", 0xEE: "ñ", 0xEF: "ö", 0xF5: "ü",
            0x5C: "¥", 0x7E: "→", 0x7F: "←"}  # fmt: skip


class Hd44780:
    """4 lines of 20 letters; E, RS and the data lines at a PCF8574's pins as drivers/hd44780.py
    says."""

    address = 0x27

    def __init__(self) -> None:
        self.power_cycle()

    def power_cycle(self) -> None:
        self.ram = bytearray(b" " * 0x80)
        self.at = 0
        self.on = self.lit = False
        self.two_lines = False  # or the 1 of its 8-bit start, figure 23
        self._four_bits = False
        self._high: int | None = None
        self._lines = 0

    def write(self, data: bytes) -> None:
        for lines in data:
            self.lit = bool(lines & 0x08)
            if self._lines & 0x04 and not lines & 0x04:  # E falls
                if self._lines & 0x02:
                    raise PanelError("R/W is high: nobody reads")
                self._take(self._lines >> 4, bool(self._lines & 1))
            self._lines = lines

    def _take(self, nibble: int, data: bool) -> None:
        if not self._four_bits:
            self._obey(nibble << 4)
        elif self._high is None:
            self._high = nibble
        else:
            byte, self._high = self._high << 4 | nibble, None
            if data:
                self.ram[self.at] = byte
                self.at = self.at + 1 & 0x7F
            else:
                self._obey(byte)

    def _obey(self, byte: int) -> None:
        if byte & 0x80:
            self.at = byte & 0x7F
        elif byte & 0xE0 == 0x20:
            self._four_bits = not byte & 0x10
            self.two_lines = bool(byte & 0x08)
            self._high = None
        elif byte & 0xF8 == 0x08:
            self.on = bool(byte & 0x04)
        elif byte == 0x01:
            self.ram[:] = b" " * 0x80
            self.at = 0
        elif byte & 0xC0 != 0x40 and byte not in (0x06, 0x30):  # CGRAM: nobody's letters
            raise PanelError(f"instruction {byte:#x}")

    def text(self) -> list[str]:
        """What the four lines show; blank while off."""
        if not (self.on and self.two_lines):
            return [" " * 20] * 4
        return ["".join(_ROM_A00.get(code, chr(code)) for code in self.ram[start : start + 20])
                for start in (0x00, 0x40, 0x14, 0x54)]  # fmt: skip

    def picture(self) -> Image.Image:
        step_x, step_y = 6 * _PIXEL, 9 * _PIXEL
        image = Image.new("RGB", (20 * step_x + 48, 4 * step_y + 48), _CASE)
        draw = ImageDraw.Draw(image)
        draw.rectangle((8, 8, image.width - 9, image.height - 9), fill=_BACK if self.lit else _DARK)
        for row, line in enumerate(self.text()):
            for column, letter in enumerate(line):
                left, top = 24 + column * step_x, 24 + row * step_y
                for x, bits in enumerate(_glyph(letter)):
                    for y in range(8):
                        box = (left + x * _PIXEL, top + y * _PIXEL)
                        end = (box[0] + _PIXEL - 2, box[1] + _PIXEL - 2)
                        draw.rectangle((*box, *end), fill=_INK if bits >> y & 1 else _CELL)
        return image


def _glyph(letter: str) -> bytes:
    code = ord(letter)
    index = code - 32 if code < 127 else 95 + font.MORE.find(bytes([code])) if code < 256 else 31
    return font.SMALL[5 * index : 5 * index + 5]
