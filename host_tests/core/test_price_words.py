"""The price in words, in AFIR's order."""

from datetime import datetime
from zoneinfo import ZoneInfo

from evtill.core import price_words
from evtill.core.language import Language
from evtill.core.pricing import Pricer
from evtill.core.tariff import load
from tillctl.tariff_compile import compile_tariff


def preview(currency="EUR", **top):
    elements = [
        {"price_components": [{"type": "ENERGY", "price": 0.59, "vat": 19, "step_size": 1}],
         "restrictions": {"start_time": "08:00", "end_time": "20:00"}},
        {"price_components": [
            {"type": "FLAT", "price": 0.5, "vat": 19, "step_size": 1},
            {"type": "PARKING_TIME", "price": 6, "vat": 19, "step_size": 60},
            {"type": "TIME", "price": 1, "step_size": 60},
            {"type": "ENERGY", "price": 0.5, "vat": 19, "step_size": 1}]},
    ]  # fmt: skip
    source = {"id": "T", "currency": currency, "elements": elements} | top
    start = datetime(2026, 7, 1, 12, 0, tzinfo=ZoneInfo("Europe/Amsterdam")).timestamp()
    table = load(compile_tariff(source, "Europe/Amsterdam", 2026))
    return spelt(price_words.preview(Pricer(table, int(start * 1000), 0), Language()))


def spelt(texts):
    return [text if isinstance(text, str) else text[0] % text[1:] for text in texts]


def test_per_kwh_then_per_minute_then_per_session_then_others():
    assert preview(min_price={"excl_vat": 1, "incl_vat": 1.19}, max_price={"excl_vat": 40}) == [
        "0.7021 EUR/kWh", "0.0167 EUR/min", "0.119 EUR/min idle", "0.595 EUR/session",
        "at least 1.19 EUR", "at most 40 EUR", "until 20:00",
    ]  # fmt: skip


def test_amounts_keep_the_currencys_own_decimals():
    table = load(compile_tariff(
        {"id": "T", "currency": "EUR", "elements": [{"price_components": [
            {"type": "ENERGY", "price": 0.5, "step_size": 1}]}]}, "UTC"))  # fmt: skip
    said = [price_words.component(table, price, Language())
            for price in (("ENERGY", 500000, None, 1), ("FLAT", 1000000, None, 0))]  # fmt: skip
    assert spelt(said) == ["0.50 EUR/kWh", "1 EUR/session"]


def test_nothing_priced_is_free_of_charge():
    table = load(compile_tariff(
        {"id": "T", "currency": "EUR", "elements": [{"price_components": [
            {"type": "ENERGY", "price": 0.5, "step_size": 1}],
            "restrictions": {"min_kwh": 5}}]}, "UTC"))  # fmt: skip
    assert price_words.preview(Pricer(table, 1780000000000, 0), Language()) == ["free of charge"]
