"""The display as the driver has it: its language, its bus, a plug that comes loose."""

import itertools

import zxingcpp
from PIL import Image

from host_tests.e2e.charger import CARD, HEAD, charger, check, outcome, run, session, step, tap
from host_tests.e2e.test_commands import command
from tillback import qr
from tillctl import languages


def test_a_display_that_is_unplugged_costs_no_session_and_is_told_of_once(tmp_path):
    text = 'display = "hd44780"\n' + HEAD + tap(5) + step(8, "plug", kw=11)
    text += step(30, "display", state="unplug") + step(90, "display", state="ok")
    result = run(tmp_path, text + tap(200) + step(220, "end"))
    check(result)
    assert result.events.count("display_fault") == result.events.count("display_back") == 1
    shown = [row for row in result.display if row["lines"][0].startswith("Charging")]
    times = [row["at"] for row in shown]
    gap = max(later - before for before, later in itertools.pairwise(times))
    assert 55 < gap < 66  # and a second later or two it shows again
    assert "Stopped by card" in result.shown()


def test_a_session_in_german_in_an_esp32s_heap(tmp_path):
    text = 'display = "ssd1306"\nlanguage = "de"\n' + HEAD + session(5, 5)
    text += step(100, "picture", name="charging") + step(320, "end")
    with charger(tmp_path, text, bits=32) as playing:
        playing.run()
        result = outcome(playing, tmp_path / "out")
        lights, tones = playing.charger.lights, playing.charger.tones
    check(result)
    picture = Image.open(tmp_path / "out" / "charging.png")
    assert (214, 236, 255) in {colour for _, colour in picture.getcolors()}
    colours = {rgb for _, rgb in lights}
    assert {0x002800, 0x00003C, 0x003C00, 0} <= colours
    heard = [hz for _, hz in tones if hz]
    assert heard[:2] == [1500, 2000] and heard[-3:] == [2000, 1500, 1000]


def test_a_damaged_language_file_is_english_and_reported(tmp_path):
    with charger(tmp_path, HEAD + step(20, "end")) as playing:
        playing.files["language.bin"] = languages.load("fr")[:-1] + b"\0"
        playing.provision(lambda line: None)
        playing.run()
        result = outcome(playing, tmp_path / "out")
    assert "config_invalid" in result.events
    assert "Ready: tap your card" in result.shown()


def test_a_text_display_shows_french_in_ascii(tmp_path):
    text = 'language = "fr"\n' + HEAD + step(5, "tap", uid="04B2243B6C5E80") + step(20, "end")
    result = run(tmp_path, text)
    assert "Presentez la carte" in result.shown()
    assert "Impossible : | carte inconnue" in result.shown()
    assert CARD not in result.shown()


START_S = 1772435640
URL = "https://pay.example.com/c/E000123?n={nonce}"


def offer(at, life_s=900):
    """A set_display command of a new code at `at`, and its bits."""
    made = qr.make(URL, life_s, now_s=START_S + at)
    return command(at, "set_display", **made.args), made


def test_a_code_is_there_until_it_is_used_or_expired_and_not_while_offline(tmp_path):
    first, _ = offer(10, 60)  # expires at 70
    second, _ = offer(100)  # used by a start command at 130, which comes to nothing
    third, _ = offer(150)  # the broker is away from 160 to 200; a session uses it at 230
    text = HEAD + first + second + command(130, "start", ref="a", method="cash") + command(
        132, "start", ref="a", method="card", ceiling_minor=1)  # fmt: skip
    text += third + step(160, "broker", state="stop") + step(200, "broker", state="start")
    text += session(230, 1) + command(
        250, "set_display", qr="AAAA", size=29, expires_s=START_S + 300
    ) + command(251, "set_display", size=29) + command(252, "set_display", receipt="x" * 61)
    text += command(253, "set_display", receipt="evt.example/r") + step(330, "end")
    result = run(tmp_path, text)
    check(result)
    shown = [(row["at"], "qr" in row) for row in result.display]
    turns = [(at, now) for (at, now), (_, before) in zip(shown[1:], shown, strict=False)
             if now != before]  # fmt: skip
    begins, ends = [at for at, now in turns if now], [at for at, now in turns if not now]
    assert len(begins) == 4 and len(ends) == 4, turns
    # The broker that stops hangs up; it is found again within its back-off.
    wanted = [(10, 70), (100, 132), (150, 160), (200, 230)]
    for (begin, end), (at, until) in zip(wanted, zip(begins, ends, strict=True), strict=True):
        assert begin <= at < begin + 35 and end <= until < end + 5, turns
    codes = {row["qr"] for row in result.display if "qr" in row}
    assert len(codes) == 3 and all(code.startswith("QR 29x29 ") for code in codes)
    assert "Tap card or scan" in result.shown()
    refused = [detail for status, detail in result.results if status == "rejected"]
    assert refused[-3:] == ["qr has not 841 bits", "qr, size and expires_s go together",
                            "receipt is out of range"]  # fmt: skip
    assert "Receipt: | evt.example/r" in result.shown()


def test_a_phone_pays_from_the_picture_of_the_display(tmp_path):
    order, made = offer(10)
    text = 'display = "ssd1306"\nlanguage = "nl"\n' + HEAD + order
    text += step(20, "picture", name="qr") + step(30, "end")
    result = run(tmp_path, text)
    assert result.results == [("accepted", "")]
    picture = Image.open(tmp_path / "out" / "qr.png")
    assert [found.text for found in zxingcpp.read_barcodes(picture)] == [made.url]


def test_a_display_of_letters_takes_no_code(tmp_path):
    order, _ = offer(10)
    result = run(tmp_path, 'display = "hd44780"\n' + HEAD + order + step(20, "end"))
    assert result.results == [("rejected", "this display shows no QR code")]
