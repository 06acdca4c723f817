"""The one model of a driver's display, and the display of text alone.

Every display has
  glyphs             the characters beside ASCII that it can show, as text
  room(with_qr)      (columns, rows) of text, beside a QR code; None where it cannot show one
  show(lines, qr)    what it is to show from now on: text, missing lines are blank; a QR code as
                     (modules on a side, bits row by row, packed, dark is 1) or None. Returns
                     whether there is something to send; step() sends it
  step()             sends a slice of what changed, a few ms of its bus. Returns the ms to wait
                     until the next one, None when nothing is left. OSError when the display does
                     not answer: called again, it begins anew
  anew()             everything is to be sent again, its set-up included
so that whoever calls step() can let others have their turn between two slices.
"""

COLUMNS = 20
LINES = 4
_EURO = 0x20AC


def codes(text, columns=COLUMNS):
    """`text` in exactly `columns` bytes: cut, padded; ISO 8859-1, but 0xA4 is the euro sign.

    What is not in there is `?`. By its UTF-8: a board interns each character that it looks at."""
    out = bytearray(b" " * columns)
    n = point = more = 0
    for byte in text.encode():
        if byte & 0xC0 == 0x80:
            point = point << 6 | byte & 0x3F
            more -= 1
        else:
            more = 0 if byte < 0x80 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            point = byte & 0x7F >> more + 1 if more else byte
        if not more and n < columns:
            if point == _EURO:
                point = 0xA4
            elif not (32 <= point <= 126 or 0xA1 <= point <= 0xFF and point != 0xA4):
                point = 0x3F
            out[n] = point
            n += 1
    return bytes(out)


class TextDisplay:
    """`render` is called with a list of 4 strings of 20 ASCII characters and the QR code."""

    glyphs = ""

    def __init__(self, render):
        self._render = render
        self._wanted = self._rendered = None

    def room(self, with_qr):
        return COLUMNS, LINES

    def show(self, lines, qr=None):
        rows = b"".join([codes(lines[i] if i < len(lines) else "") for i in range(LINES)])
        self._wanted = rows, qr
        return self._rendered != self._wanted

    def step(self):
        if self._rendered != self._wanted:
            rows, qr = self._wanted
            text = str(bytes([byte if byte < 0x7F else 0x3F for byte in rows]), "utf-8")
            self._render([text[i : i + COLUMNS] for i in range(0, len(text), COLUMNS)], qr)
            # Kept only now: what failed to be rendered is tried again by the next call.
            self._rendered = self._wanted

    def anew(self):
        pass
