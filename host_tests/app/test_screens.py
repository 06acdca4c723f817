"""What the driver reads fits the display, whatever the numbers are."""

import pytest

from evtill.app import screens
from evtill.core import tariff
from tillctl.tariff_compile import compile_tariff
from tillsim.scenario import DEMO_TARIFF


@pytest.mark.parametrize("state", ["charging", "suspended"])
@pytest.mark.parametrize("wh", [0, 9, 11607, 999999])
@pytest.mark.parametrize("ms", [0, 3600000, 86399999])
@pytest.mark.parametrize("power_w", [-5, 0, 49, 50, 11000, 350000])
def test_every_line_fits(state, wh, ms, power_w):
    lines = screens.charging(state, wh, ms, power_w, screens.money(123456, 2, "EUR"))
    assert len(lines) == 4
    assert all(len(line) <= 20 for line in lines), lines


def test_what_is_shown():
    lines = screens.charging("charging", 11607, 4191000, 10954, screens.money(903, 2, "EUR"))
    assert lines == ["Charging     1:09:51", "11.60 kWh  11.0 kW", "9.03 EUR", "Tap card to stop"]


@pytest.mark.parametrize(
    ("minor", "digits", "currency", "text"),
    [(605, 2, "EUR", "6.05 EUR"), (5, 2, "EUR", "0.05 EUR"), (1200, 0, "JPY", "1200 JPY"),
     (1234, 3, "KWD", "1.234 KWD"), (-605, 2, "EUR", "-6.05 EUR")],
)  # fmt: skip
def test_money_has_its_currencys_digits(minor, digits, currency, text):
    assert screens.money(minor, digits, currency) == text


def test_the_price_is_shown_in_afirs_order():
    import json

    from evtill.core.pricing import Pricer

    table = compile_tariff(json.loads(DEMO_TARIFF.read_text()), "Europe/Amsterdam")
    loaded = tariff.load(table)
    prices = Pricer(loaded, 1772435640000, 0).price_now()[0]
    # 0.49, 1.20 / 60 and 0.50, each with 19 % VAT
    assert screens.idle(loaded, prices) == [
        "Ready: tap your card", "0.5831 EUR/kWh", "0.0238 EUR/min", "0.595 EUR/session",
    ]  # fmt: skip


def test_long_reasons_are_broken_at_spaces():
    assert screens.refused("meter does not answer") == [
        "Not possible:", "meter does not", "answer"]  # fmt: skip
