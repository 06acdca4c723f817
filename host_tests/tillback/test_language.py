"""The backend's languages: whole, the same places in each, and written as each of them writes."""

import re
import string
from decimal import Decimal

import pytest

from evtill.core import record
from tillback import words
from tillback.language import CODES, FOLDER, Language, choose, language
from tillback.pages import model
from tillctl.firmware import ROOT

ENGLISH = language("en").texts()
SOURCES = "".join(
    path.read_text() for folder in ("tools/tillback", "tools/tillback/pages")
    for path in (ROOT / folder).iterdir() if path.suffix in (".py", ".j2")
)  # fmt: skip
N = "\N{NO-BREAK SPACE}"


def places(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_every_file_is_a_language():
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(CODES)
    assert len({language(code).name for code in CODES}) == len(CODES)


@pytest.mark.parametrize("code", CODES)
def test_no_text_is_missing_and_every_place_is_there(code):
    texts = language(code).texts()
    assert texts.keys() == ENGLISH.keys()
    for key, english in ENGLISH.items():
        assert places(texts[key]) == places(english), key
        assert texts[key].strip() == texts[key] != "", key
        assert not re.search(r"[<>&]", texts[key]), key


@pytest.mark.parametrize("code", CODES[1:])
def test_texts_are_translated(code):
    same = {key for key, text in language(code).texts().items()
            if text == ENGLISH[key] and " " in text and "{" not in text}  # fmt: skip
    assert same == set()


def of(section):
    return {key.partition(".")[2] for key in ENGLISH if key.startswith(section + ".")}


def test_what_is_looked_up_by_name_has_its_text_and_no_text_is_left_over():
    assert of("reason") == set(model.REASONS)
    assert of("stop") == set(record.STOP_REASONS.split()) == set(words.STOP_REASONS)
    assert of("heading") == {*model.STATES, "starting_plugged", "paused"}
    assert of("money") - {"again"} == set(model.HOLDS)
    by_name = {"reason", "stop", "heading", "money", "when"}
    spelt = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', SOURCES))
    named = set(re.findall(r'"([a-z_]+)"', SOURCES))
    left = {key for key in ENGLISH.keys() - spelt if key.partition(".")[0] not in by_name}
    assert {key for key in left if key.partition(".")[2] not in named} == set()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("en", ["€0.5831", "€50.00", "€1,234.50", f"TND{N}7.205", f"CHF{N}0.10", "12.34", "19%"]),
        ("de", [f"0,5831{N}€", f"50,00{N}€", f"1.234,50{N}€", f"7,205{N}TND", f"0,10{N}CHF",
                "12,34", f"19{N}%"]),
        ("fr", [f"0,5831{N}€", f"50,00{N}€", f"1\N{NARROW NO-BREAK SPACE}234,50{N}€",
                f"7,205{N}TND", f"0,10{N}CHF", "12,34"]),
        ("nl", [f"€{N}0,5831", f"€{N}50,00", f"€{N}1.234,50", f"TND{N}7,205", f"CHF{N}0,10",
                "12,34", "19%"]),
        ("es", [f"0,5831{N}€", f"50,00{N}€", f"1.234,50{N}€", f"7,205{N}TND", f"0,10{N}CHF",
                "12,34", f"19{N}%"]),
    ],
)  # fmt: skip
def test_amounts_and_numbers(code, says):
    one = language(code)
    found = [
        one.amount("0.5831", "EUR"), one.money(5000, "EUR"), one.money(123450, "EUR"),
        one.money(7205, "TND"), one.amount("0.1", "CHF"), one.number(Decimal("12.34"), 2),
        one.percent(Decimal("0.19")),
    ]  # fmt: skip
    assert found[: len(says)] == says


def test_minor_units_are_the_currencys():
    assert language("en").money(720, "JPY") == "JP¥720"
    assert language("de").money(-5, "EUR") == f"-0,05{N}€"


def test_durations_days_and_times():
    one = language("de")
    assert [one.duration(s) for s in (0, 40, 3600, 4620, 90)] == [
        f"0{N}s", f"40{N}s", f"1{N}h", f"1{N}h{N}17{N}min", f"1{N}min{N}30{N}s",
    ]  # fmt: skip
    masks = (0b11111, 0b1100000, 0b0000001, 0b1010101)
    assert [one.days(mask) for mask in masks] == ["Mo–Fr", f"Sa,{N}So", "Mo", "Mo, Mi, Fr, So"]
    assert language("fr").days(0b11111) == "lun.–ven."
    assert (one.clock(480), one.clock(0), one.clock(1440)) == ("08:00", "00:00", "24:00")
    assert language("en").day(20514) == f"2{N}Mar{N}2026"


def test_what_a_charger_says_is_translated_like_on_its_display():
    said = "cable cannot be locked"
    assert language("de").charger_says(said) == ("Kabel lässt sich nicht verriegeln", "de")
    assert language("en").charger_says(said) == (said, "en")
    assert language("fr").charger_says("<b>new") == ("<b>new", "en")


@pytest.mark.parametrize(
    ("asked", "accept", "code"),
    [
        ("fr", "de", "fr"), (None, "de-AT,en;q=0.8", "de"), (None, "pl, nl;q=0.3, es;q=0.7", "es"),
        ("xx", None, "en"), ("../de", "", "en"), (None, "*", "en"), (None, "de;q=0,fr;q=0.1", "fr"),
        (None, "de;q=9", "en"), (None, "," * 9999 + "de", "en"), (None, "DE", "de"),
        (None, "de;q=0.5\r\nx: y", "en"), (None, "zh-Hant-TW,fr-CH;q=0.9", "fr"),
    ],
)  # fmt: skip
def test_the_language_is_chosen(asked, accept, code):
    assert choose(asked, accept).code == code


def test_a_text_that_is_not_there_is_our_mistake():
    with pytest.raises(KeyError):
        language("en").say("page.nothing")
    with pytest.raises(KeyError):
        language("en").say("pay.hold")
    with pytest.raises(OSError, match="xx"):
        Language("xx")
