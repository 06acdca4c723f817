"""SSD1306 and HD44780: what travels over the bus, and what their controllers show for it."""

import random
import runpy
from pathlib import Path

import pytest
import segno
import zxingcpp

from evtill.drivers import font
from evtill.drivers.hd44780 import HD44780
from evtill.drivers.ssd1306 import SSD1306
from host_tests.fakes.i2c import I2C, MONO_VLSB, FrameBuffer, settle
from tillsim import bench_display, panels

ROOT = Path(__file__).resolve().parents[2]
URL = "HTTPS://PAY.EXAMPLE.COM/C/E000123?N=8F3A9C21B7"
SCREEN = ["Charging     1:09:51", "11.60 kWh    11.0 kW", "Cost          9.03 €", "äöüß Ñ ¿é ~\\"]
# At 400 kHz a byte lasts 22.5 us (9 bits), at 100 kHz 90 us.
SLICE_BYTES = 140


def graphic():
    panel = panels.Ssd1306()
    bus = I2C(panel)
    return SSD1306(bus, FrameBuffer, MONO_VLSB), panel, bus


def letters():
    panel = panels.Hd44780()
    bus = I2C(panel)
    return HD44780(bus), panel, bus


def qr_of(text):
    matrix = segno.make(text, error="l", micro=False).matrix
    size = len(matrix)
    bits = bytearray((size * size + 7) // 8)
    for i, dark in enumerate(dark for row in matrix for dark in row):
        bits[i >> 3] |= (0x80 >> (i & 7)) * bool(dark)
    return size, bytes(bits)


def drawn(lines, qr=None):
    """The pixels of a display that never showed anything else."""
    display, panel, _ = graphic()
    display.show(lines, qr)
    settle(display)
    return panel.pixels()


def test_the_font_is_the_one_that_is_drawn():
    made = runpy.run_path(str(ROOT / "tools/make_font.py"))["module"]()
    assert made == Path(font.__file__).read_text()
    count = 95 + len(font.MORE)
    assert (len(font.SMALL), len(font.TALL)) == (5 * count, 10 * count)
    assert len({font.TALL[i : i + 10] for i in range(0, 10 * count, 10)}) == count
    small = {font.SMALL[i : i + 5] for i in range(0, 5 * count, 5)}
    assert len(small) == count - len("ÓÔÖ")  # which have no room for more than ó, ô, ö


def test_each_letter_stands_where_it_should():
    display, panel, _ = graphic()
    display.show(["", "  A"])
    settle(display)
    pixels = panel.pixels()
    rows = ["".join(".#"[p] for p in row[16:21]) for row in pixels[18:29]]
    assert rows == [".###.", *["#...#"] * 4, "#####", *["#...#"] * 5]
    assert sum(map(sum, pixels)) == "".join(rows).count("#")


@pytest.mark.parametrize("seed", range(20))
def test_what_changed_is_all_that_travels_and_the_picture_is_whole(seed):
    chance = random.Random(seed)
    display, panel, bus = graphic()
    lines, qr = list(SCREEN), None
    for _ in range(25):
        row = chance.randrange(4)
        place = chance.randrange(20)
        lines[row] = (lines[row][:place] + chance.choice("1é W") + lines[row][place + 1 :])[:20]
        if chance.random() < 0.15:
            qr = chance.choice([None, qr_of(URL), qr_of("A")])
        display.show(lines, qr)
        for _ in range(chance.choice([1, 100])):  # the next change may come between two slices
            display.step()
    settle(display)
    assert panel.pixels() == drawn(lines, qr)
    assert max(len(data) for _, data in bus.log) <= SLICE_BYTES


def test_a_second_of_charging_costs_little():
    display, _, bus = graphic()
    display.show(SCREEN)
    settle(display)
    del bus.log[:]
    display.show(["Charging     1:09:52", *SCREEN[1:]])
    assert settle(display) == 2
    assert sum(len(data) + 1 for _, data in bus.log) == 2 * (4 + 1 + 7 + 1)
    assert display.show(["Charging     1:09:52", *SCREEN[1:]]) is False
    assert display.step() is None


@pytest.mark.parametrize("text", [URL, "HTTPS://PAY.EXAMPLE/8F3A9C21", "A"])
def test_a_phone_reads_the_qr_code(text):
    display, panel, _ = graphic()
    display.show(["Scan or tap", "0.5831", "EUR/kWh"], qr_of(text))
    settle(display)
    assert [found.text for found in zxingcpp.read_barcodes(panel.picture())] == [text]


@pytest.fixture(params=[graphic, letters])
def shows(request):
    """(display, panel, bus, the panel's picture) of one that shows SCREEN."""
    display, panel, bus = request.param()
    display.show(SCREEN)
    settle(display)
    return display, panel, bus, panel.picture().tobytes()


def test_a_display_that_is_unplugged_and_back_shows_all_again(shows):
    display, panel, bus, before = shows
    bus.unplugged = True
    panel.power_cycle()
    display.show(["other", *SCREEN[1:]])
    for _ in range(3):
        with pytest.raises(OSError):
            display.step()
    bus.unplugged = False
    display.show(SCREEN)
    settle(display)
    assert panel.picture().tobytes() == before


def test_one_that_lost_its_memory_unnoticed_is_set_up_anew(shows):
    display, panel, _, before = shows
    panel.power_cycle()
    assert display.show(SCREEN) is False and display.step() is None
    display.anew()
    settle(display)
    assert panel.picture().tobytes() == before


def test_nothing_lights_up_before_all_of_it_is_there():
    display, panel, _ = graphic()
    display.show([])
    while display.step() is not None:
        assert not panel.on
    assert panel.on and not any(map(any, panel.pixels()))


@pytest.mark.parametrize("nibbles", [0, 1, 3])
def test_the_lines_of_an_hd44780_whatever_it_was_in_the_middle_of(nibbles):
    display, panel, bus = letters()
    display.show(["old"] * 4)
    settle(display)
    for _ in range(nibbles):  # half a letter, and another one
        panel.write(b"\x4d\x49")
    display.anew()
    display.show(["äöüß ñ £ °", "Grüße\\~", "x" * 30, "é€"])
    settle(display)
    assert panel.text() == ["äöüß ñ £ °".ljust(20), "Grüße??".ljust(20), "x" * 20, "??".ljust(20)]
    assert max(len(data) for _, data in bus.log) <= SLICE_BYTES


def test_an_hd44780_gets_changed_letters_only():
    display, panel, bus = letters()
    display.show(["Charging     1:09:51", "11.60 kWh"])
    settle(display)
    del bus.log[:]
    display.show(["Charging     1:09:52", "11.61 kWh"])
    assert settle(display) == 2
    assert [len(data) for _, data in bus.log] == [8, 8]  # an address and a letter, 4 bytes each
    assert panel.text()[:2] == ["Charging     1:09:52", "11.61 kWh".ljust(20)]


def test_an_hd44780_is_woken_in_the_data_sheets_time():
    display, _, bus = letters()
    display.show(["a"])
    assert [display.step() for _ in range(5)] == [5, 1, 1, 1, 1]  # figure 24: 4.1 ms, 0.1 ms, ...
    assert [data.hex() for _, data in bus.log[:4]] == ["3c38", "3c38", "3c38", "2c28"]


@pytest.mark.parametrize(("driver", "hz"), [("SSD1306", 100_000), ("HD44780", 100_000)])
def test_nobody_waits_long_for_a_display_that_is_drawn_again_and_again(driver, hz):
    found = bench_display.measure(driver, hz)
    assert 0 < found["late_ms"] <= bench_display.GOAL_MS
    assert found["second_bytes"] < 40
