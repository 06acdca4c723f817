"""The display as the driver has it: its language, its bus, a plug that comes loose."""

import itertools

from PIL import Image

from host_tests.e2e.charger import CARD, HEAD, charger, check, outcome, run, session, step, tap
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
