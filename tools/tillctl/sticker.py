"""The sticker on a charger: its public record key as a QR code, and its id in words.

The code holds the SubjectPublicKeyInfo in capital hex: what a QR code packs best, and what the
S.A.F.E. verifier takes as it is."""

from html import escape
from pathlib import Path

import segno
from PIL import Image, ImageDraw, ImageFont

from tillctl.public_key import PublicKey

_WORDS = "Public key: check your bill with it"
_QUIET = 4  # modules around a QR code (ISO/IEC 18004, 9.1)
_FOOT = 9  # modules, below the quiet zone
_ID = 3.4  # modules, the size of the id's letters where it is not too long
_BOLD = ' font-weight="bold"'
_PNG_SCALE = 12  # pixels a module: 57 modules print 40 mm wide at 430 dpi


def code(key: PublicKey) -> segno.QRCode:
    """The QR code; a quarter of it may be damaged."""
    return segno.make(key.spki.hex().upper(), error="q", micro=False)


def _lines(key: PublicKey, charger: str, width: float) -> list[tuple[str, float, float, bool]]:
    """(text, size, baseline below the quiet zone, whether it is bold); no wider than `width`."""
    # In modules, for the widest of the fonts that an SVG viewer may take.
    length = 1.25 * ImageFont.load_default(100).getlength(charger) / 100
    fits = min(_ID, (width - 2 * _QUIET) / length)
    return [(charger, fits, 2.6, True), (_WORDS, 1.7, 5.2, False),
            (f"kid {key.kid}", 1.3, 7.4, False)]  # fmt: skip


def svg(key: PublicKey, charger: str) -> str:
    """The sticker as an SVG document, 40 mm wide."""
    drawn = code(key)
    width = int(drawn.symbol_size(border=_QUIET)[0])
    height = width + _FOOT
    path = "".join(
        f"M{x + _QUIET} {y + _QUIET}h1v1h-1z"
        for y, row in enumerate(drawn.matrix) for x, dark in enumerate(row) if dark
    )  # fmt: skip
    text = "".join(
        f'<text x="{width / 2}" y="{width + down:.2f}" font-size="{size:.2f}"'
        f'{_BOLD if bold else ""}>{escape(said)}</text>'
        for said, size, down, bold in _lines(key, charger, width)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="40mm" height="{height * 40 / width:.2f}mm"'
        f' viewBox="0 0 {width} {height}"><title>{escape(charger)}</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<path d="{path}" shape-rendering="crispEdges"/>'
        f'<g font-family="sans-serif" text-anchor="middle">{text}</g></svg>\n'
    )


def png(key: PublicKey, charger: str, path: Path) -> None:
    """Writes the sticker as a PNG file, black on white, that prints 40 mm wide."""
    drawn = code(key)
    width = int(drawn.symbol_size(border=_QUIET)[0])
    size = width * _PNG_SCALE, (width + _FOOT) * _PNG_SCALE
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    for y, row in enumerate(drawn.matrix):
        for x, dark in enumerate(row):
            if dark:
                left, top = (x + _QUIET) * _PNG_SCALE, (y + _QUIET) * _PNG_SCALE
                corner = left + _PNG_SCALE - 1, top + _PNG_SCALE - 1
                pen.rectangle((left, top, *corner), fill=0)
    for said, height, down, bold in _lines(key, charger, width):
        font = ImageFont.load_default(height * _PNG_SCALE)
        at = size[0] / 2, (width + down) * _PNG_SCALE
        pen.text(at, said, fill=0, font=font, anchor="ms", stroke_width=int(bold))
    image.save(path, dpi=(size[0] / 40 * 25.4,) * 2)
