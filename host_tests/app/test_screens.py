"""What the driver reads fits the display, whatever the numbers are."""

import json

import pytest

from evtill.app import screens
from evtill.core import price_words, record, tariff
from evtill.core.language import Language
from evtill.core.pricing import Pricer
from tillctl.tariff_compile import compile_tariff
from tillsim.scenario import DEMO_TARIFF

ENGLISH = Language()


def laid(screen, columns=20, rows=4, turn=0):
    return screens.lay_out(ENGLISH.say, screen, columns, rows, turn)[0]


@pytest.mark.parametrize("state", ["charging", "suspended"])
@pytest.mark.parametrize("wh", [0, 9, 11607, 999999])
@pytest.mark.parametrize("ms", [0, 3600000, 86399999, 3599999000])
@pytest.mark.parametrize("power_w", [-5, 0, 49, 50, 11000, 350000])
def test_every_line_fits(state, wh, ms, power_w):
    cost = ENGLISH.money(1234567, 2, "EUR")
    lines = laid(screens.charging(state, ENGLISH, wh, ms, power_w, cost, ["Tap card to stop"]))
    assert len(lines) == 4
    assert all(len(line) <= 20 for line in lines), lines


def test_what_is_shown():
    cost = ENGLISH.money(903, 2, "EUR")
    rates = [("%s/kWh", "0.5831 EUR"), ("until %s", "18:00")]
    screen = screens.charging("charging", ENGLISH, 11607, 4191000, 10954, cost, rates)
    assert laid(screen) == [
        "Charging     1:09:51", "11.60 kWh    11.0 kW", "Cost        9.03 EUR", "0.5831 EUR/kWh"
    ]  # fmt: skip
    assert laid(screen, turn=1)[3] == "until 18:00"
    assert laid(screen, turn=2)[3] == "0.5831 EUR/kWh"


def test_the_end_says_why_what_it_costs_and_where_the_receipt_is():
    screen = screens.finished(ENGLISH, 1807, 591000, "1.89 EUR", "Local", "evt.example/r/42")
    assert screen[0] == "finished"
    shown = [laid(screen, turn=turn) for turn in range(4)]
    assert all(lines[:2] == ["Finished     0:09:51", "Total       1.89 EUR"] for lines in shown)
    assert [lines[2:] for lines in shown] == [
        ["1.80 kWh", "Stopped by card"], ["Receipt:", "evt.example/r/42"], ["Thank you. Unplug."],
        ["1.80 kWh", "Stopped by card"],
    ]  # fmt: skip


def test_every_stop_reason_is_said_in_words():
    said = {screens.finished(ENGLISH, 0, 0, "", reason, "")[2][1]
            for reason in record.STOP_REASONS.split()}  # fmt: skip
    assert len(said) == len(record.STOP_REASONS.split())
    assert all(1 < len(text) <= 20 and ":" not in text for text in said)


@pytest.mark.parametrize(
    ("minor", "digits", "currency", "text"),
    [(605, 2, "EUR", "6.05 EUR"), (5, 2, "EUR", "0.05 EUR"), (1200, 0, "JPY", "1200 JPY"),
     (1234, 3, "KWD", "1.234 KWD"), (-605, 2, "EUR", "-6.05 EUR")],
)  # fmt: skip
def test_money_has_its_currencys_digits(minor, digits, currency, text):
    assert ENGLISH.money(minor, digits, currency) == text


def prices(**more):
    source = json.loads(DEMO_TARIFF.read_text()) | more
    loaded = tariff.load(compile_tariff(source, "Europe/Amsterdam"))
    return price_words.preview(Pricer(loaded, 1772435640000, 0), ENGLISH)


def test_the_price_is_shown_in_afirs_order():
    # 0.49, 1.20 / 60 and 0.50, each with 19 % VAT
    assert laid(screens.idle(prices(), False)) == [
        "Ready: tap your card", "0.5831 EUR/kWh", "0.0238 EUR/min", "0.595 EUR/session",
    ]  # fmt: skip


def test_more_prices_than_lines_take_turns():
    screen = screens.idle(prices(min_price={"excl_vat": 1, "incl_vat": 1.19}), False)
    assert screens.lay_out(str, screen, 20, 4)[1] == 2
    assert laid(screen, turn=1) == ["Ready: tap your card", "at least 1.19 EUR"]


def test_beside_a_qr_code_all_prices_stand_in_narrow_lines():
    assert laid(screens.idle(prices(), True), 11, 8) == [
        "Tap card or", "scan", "0.5831", "EUR/kWh", "0.0238", "EUR/min", "0.595", "EUR/session"
    ]  # fmt: skip


def test_long_reasons_are_broken_at_spaces_and_the_longest_take_turns():
    assert laid(screens.refused("meter does not answer")) == [
        "Not possible:", "meter does not", "answer"]  # fmt: skip
    words = " ".join(f"word{i:02}" for i in range(20)) + " " + "x" * 45
    screen = screens.out_of_order(words)
    turns = screens.lay_out(str, screen, 20, 4)[1]
    shown = [line for turn in range(turns) for line in laid(screen, turn=turn)[1:]]
    assert "".join(shown).replace(" ", "") == words.replace(" ", "")
    assert all(len(line) <= 20 for line in shown)


@pytest.mark.parametrize("say", [lambda text: "%d %d %d", lambda text: "%q", lambda text: "%"])
def test_a_text_that_does_not_take_its_numbers_is_said_in_english(say):
    screen = "busy", [], [("%d s at most", 8)]
    assert screens.lay_out(say, screen, 20, 4)[0] == ["8 s at most"]


@pytest.mark.parametrize(
    ("limits", "near"),
    [([(899, 1000, "a"), (90, 100, "b")], ("Ends at %s", "b")), ([(899, 1000, "a")], None),
     ([(900, 1000, "a")], ("Ends at %s", "a")), ([(5, None, None)], None),
     ([(0, 0, "c")], ("Ends at %s", "c"))],
)  # fmt: skip
def test_a_limit_is_near_in_its_last_tenth(limits, near):
    assert screens.near(limits) == near
