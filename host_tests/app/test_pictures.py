"""Every screen in every language, through each display's driver and the bytes on its bus, to a
picture. `make screens` leaves them in out/screens/ to be looked at."""

import json
import os
from pathlib import Path

import pytest
import segno
import zxingcpp
from PIL import Image

from evtill.app import screens
from evtill.core import language_file, price_words, record, tariff
from evtill.core.language import Language
from evtill.core.pricing import Pricer
from evtill.drivers.hd44780 import HD44780
from evtill.drivers.ssd1306 import SSD1306
from host_tests.fakes.i2c import I2C, MONO_VLSB, FrameBuffer, settle
from tillctl import languages
from tillctl.tariff_compile import compile_tariff
from tillsim import panels
from tillsim.scenario import DEMO_TARIFF

URL = "HTTPS://PAY.EXAMPLE.COM/C/E000123?N=8F3A9C21B7"
RECEIPT = "evt.example/r/42"
_TARIFF = tariff.load(compile_tariff(
    json.loads(DEMO_TARIFF.read_text()) | {"min_price": {"excl_vat": 1, "incl_vat": 1.19}},
    "Europe/Amsterdam"))  # fmt: skip


def qr():
    matrix = segno.make(URL, error="l", micro=False).matrix
    bits = "".join(str(int(bool(dark))) for row in matrix for dark in row)
    bits += "0" * (-len(bits) % 8)
    return len(matrix), int(bits, 2).to_bytes(len(bits) // 8, "big")


def every(language):
    """{name: screen} of whatever there is to see, its numbers at their widest."""
    prices = price_words.preview(Pricer(_TARIFF, 1772435640000, 0), language)
    rates = [*price_words.rates(Pricer(_TARIFF, 1772435640000, 0), language),
             ("until %s", "18:00"), "Tap card to stop"]  # fmt: skip
    cost = language.money(1234567, 2, "EUR")
    near = screens.near([(19, 20, language.money(1234567, 2, "EUR"))])
    ms = 3599999000
    found = {
        "idle": screens.idle(prices, False),
        "qr": screens.idle(prices, True),
        "free": screens.idle([price_words.FREE], False),
        "checking": screens.checking(8),
        "plug": screens.plug_in(),
        "charging": screens.charging("charging", language, 11607, 4191000, 10954,
                                     language.money(903, 2, "EUR"), rates),
        "most": screens.charging("charging", language, 9999999, ms, 350000, cost, rates),
        "paused": screens.charging("suspended", language, 11607, 4191000, 0, cost, rates),
        "near": ("near", *screens.charging("charging", language, 11607, ms, 10954, cost,
                                           [near, *rates])[1:]),
        "in_use": screens.in_use(),
        "reserved": screens.reserved("08:44"),
    }  # fmt: skip
    for reason in record.STOP_REASONS.split():
        found["finished_" + reason] = screens.finished(
            language, 11607, 4191000, language.money(903, 2, "EUR"), reason, RECEIPT
        )
    reasons = [text.english for text in languages.texts().values() if text.section == "reason"]
    for i, english in enumerate(r for r in reasons if "%" not in r):
        found[f"refused_{i:02}"] = screens.refused(english)
        found[f"out_of_order_{i:02}"] = screens.out_of_order(english)
    return found


SCREENS = every(Language())


def graphic():
    panel = panels.Ssd1306()
    return SSD1306(I2C(panel), FrameBuffer, MONO_VLSB), panel


def letters():
    panel = panels.Hd44780()
    return HD44780(I2C(panel)), panel


@pytest.mark.parametrize("name", languages.names())
@pytest.mark.parametrize(("kind", "make"), [("ssd1306", graphic), ("hd44780", letters)])
def test_every_screen_is_seen_whole(tmp_path, kind, make, name):
    display, panel = make()
    data = languages.load(name)
    spoken = language_file.parse(data, display.glyphs) if data else Language()
    pictures = {}
    for title, screen in every(spoken).items():
        code = qr() if title == "qr" else None
        if code and not display.room(True):
            continue
        turns = 1
        turn = 0
        while turn < turns:
            columns, rows = display.room(code)
            lines, turns = screens.lay_out(spoken.say, screen, columns, rows, turn)
            assert len(lines) <= rows and all(len(line) <= columns for line in lines), lines
            if title.startswith(("refused", "out_of")):
                assert turns == 1, lines
            display.show(lines, code)
            settle(display)
            seen = read(panel, columns, code)
            assert [line.rstrip() for line in seen[: len(lines)]] == lines, title
            assert not any(line.strip() for line in seen[len(lines) :])
            pictures[f"{title}_{turn}"] = panel.picture()
            turn += 1
        if code:
            assert [found.text for found in zxingcpp.read_barcodes(panel.picture())] == [URL]
    folder = Path(os.environ.get("EVTILL_SCREENS", tmp_path)) / f"{name}-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    for title, picture in pictures.items():
        picture.save(folder / f"{title}.png")
    sheet(pictures).save(folder.with_suffix(".png"))


def read(panel, columns, code):
    """The lines that somebody in front of the display reads, letter by letter."""
    if isinstance(panel, panels.Hd44780):
        return panel.text()
    pixels = panel.pixels()
    height = 8 if code else 16
    glyphs = {drawing(letter, code): letter for letter in LETTERS}
    left = 0 if code else 4
    return ["".join(glyphs[tuple(tuple(row[left + 6 * i : left + 6 * i + 5])
                                 for row in pixels[top : top + height])]
                    for i in range(columns))
            for top in range(0, 64, height)]  # fmt: skip


LETTERS = [chr(code) for code in range(0x20, 0x7F)] + list(SSD1306.glyphs)
_DRAWINGS: dict = {}


def drawing(letter, code):
    """The pixels of a letter that stands alone on a display."""
    key = letter, bool(code)
    if key not in _DRAWINGS:
        display, panel = graphic()
        display.show([letter], (21, bytes(56)) if code else None)
        settle(display)
        left, height = (0, 8) if code else (4, 16)
        _DRAWINGS[key] = tuple(tuple(row[left : left + 5]) for row in panel.pixels()[:height])
    return _DRAWINGS[key]


def sheet(pictures, columns=4):
    """All of them side by side."""
    images = list(pictures.values())
    width, height = images[0].size
    rows = -(-len(images) // columns)
    whole = Image.new("RGB", (columns * (width + 12), rows * (height + 12)), (90, 90, 90))
    for i, image in enumerate(images):
        whole.paste(image, (i % columns * (width + 12), i // columns * (height + 12)))
    return whole
