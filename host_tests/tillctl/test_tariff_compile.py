"""Compiling: sizes, the round trip through `show --json`, and what is refused."""

import copy
import json
import statistics
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evtill.core.errors import TariffError
from evtill.core.tariff import Tariff, load
from host_tests.tillctl.test_tariff_oracle import cdrs
from tillctl import tariff_show
from tillctl.tariff_compile import compile_tariff

FOLDER = Path(__file__).parents[1] / "vectors" / "tariff_cases"
TARIFFS = {f.stem: json.loads(f.read_text()) for f in sorted((FOLDER / "tariffs").glob("*.json"))}
PLAIN = {
    "id": "T", "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}],
}  # fmt: skip


def dynamic():
    for line in (FOLDER / "reference.jsonl").read_text().splitlines():
        case = json.loads(line)
        if len(case["tariff"]["elements"]) == 48:
            return case["tariff"]
    raise LookupError


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe"])
def test_tables_are_small(zone):
    tables = {name: compile_tariff(t, zone) for name, t in TARIFFS.items()}
    assert len(tables) == 24
    assert statistics.median(len(t) for t in tables.values()) <= 130
    assert len(compile_tariff(dynamic(), zone)) <= 1300
    for table in tables.values():  # whatever depends on the clock can read it for ten years
        loaded = load(table)
        assert loaded.span[1] * 86400 > 10 * 365.25 * 86400 + 1.7e9


@pytest.mark.parametrize("name", sorted(TARIFFS))
def test_round_trip(name):
    table = compile_tariff(TARIFFS[name], "Europe/Amsterdam", 2026)
    shown = json.loads(json.dumps(tariff_show.to_json(table)))
    assert compile_tariff(shown, "Europe/Amsterdam", 2026) == table
    assert shown["id"] == TARIFFS[name]["id"]
    assert tariff_show.words(table).startswith(f"Tariff {TARIFFS[name]['id']}")


def test_round_trip_of_the_dynamic_one():
    table = compile_tariff(dynamic(), "Europe/Amsterdam", 2026)
    assert compile_tariff(tariff_show.to_json(table), "Europe/Amsterdam", 2026) == table


@settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(cdrs(), st.sampled_from(["", "AD_HOC_PAYMENT", "PROFILE_GREEN"]))
def test_round_trip_of_random_tariffs(case, kind):
    source = case["tariff"] | ({"type": kind} if kind else {})
    try:
        table = compile_tariff(source, case["timezone"], 2026)
    except TariffError as e:
        assert "a reservation has no" in str(e)
        return
    shown = json.loads(json.dumps(tariff_show.to_json(table)), parse_float=Decimal)
    assert compile_tariff(shown, case["timezone"], 2026) == table


def test_floats_and_decimals_and_integers_are_the_same_tariff():
    tables = set()
    for price in (2, 2.0, Decimal("2.00")):
        source = copy.deepcopy(PLAIN)
        source["elements"][0]["price_components"][0]["price"] = price
        tables.add(compile_tariff(source, "UTC"))
    assert len(tables) == 1


def test_several_tariffs_make_one_file_of_several_tables():
    buf = compile_tariff([PLAIN, PLAIN | {"id": "U"}], "UTC")
    assert load(buf).id == "T"
    assert buf.startswith(compile_tariff(PLAIN, "UTC"))


@pytest.mark.parametrize(
    ("currency", "digits"), [("JPY", 0), ("EUR", 2), ("KWD", 3), ("CLF", 4), ("ISK", 0)]
)
def test_minor_digits_of_the_currency(currency, digits):
    assert Tariff(compile_tariff(PLAIN | {"currency": currency}, "UTC")).minor_digits == digits


def with_component(**changes):
    source = copy.deepcopy(PLAIN)
    source["elements"][0]["price_components"][0].update(changes)
    return source


def with_restrictions(**restrictions):
    source = copy.deepcopy(PLAIN)
    source["elements"][0]["restrictions"] = restrictions
    return source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "not a JSON object"),
        ([], "empty list"),
        ({}, "id is missing"),
        (PLAIN | {"id": ""}, "id is not a text"),
        (PLAIN | {"id": "x" * 37}, "id is not a text"),
        (PLAIN | {"id": "Ä"}, "printable ASCII"),
        (PLAIN | {"currency": "euro"}, "ISO 4217"),
        (PLAIN | {"type": "CHEAP"}, "unknown type 'CHEAP'"),
        (PLAIN | {"tax_included": "YES"}, "tax_included"),
        (PLAIN | {"elements": []}, "elements"),
        (PLAIN | {"elements": [{}]}, r"elements\[0\] has no list of price_components"),
        (PLAIN | {"elements": [{"price_components": []}]}, "is empty"),
        (PLAIN | {"min_price": 5}, "min_price is not a Price"),
        (PLAIN | {"min_price": {"excl_vat": 0.0000001}}, "cannot be held exactly"),
        (PLAIN | {"start_date_time": "soon"}, "start_date_time is not a date and time"),
        (PLAIN | {"end_date_time": "1969-01-01T00:00:00Z"}, "before 1970"),
        (with_component(type="SOC"), "unknown component type 'SOC'"),
        (with_component(type=["ENERGY"]), "unknown component type"),
        (with_component(price="0.25"), "price is not a number"),
        (with_component(price=True), "price is not a number"),
        (with_component(price=float("nan")), "out of range"),
        (with_component(price=float("inf")), "out of range"),
        (with_component(price=10**7), "out of range"),
        (with_component(price=0.1234567), "cannot be held exactly"),
        (with_component(price=None), "price is not a number"),
        (with_component(vat=-1), "out of range"),
        (with_component(vat=101), "out of range"),
        (with_component(vat=19.00000001), "cannot be held exactly"),
        (with_component(step_size=-1), "out of range"),
        (with_component(step_size=0.5), "cannot be held exactly"),
        (with_component(discount=1), "unknown key 'discount'"),
        (with_restrictions(start_time="8:00"), "is not a time"),
        (with_restrictions(end_time="24:00"), "is not a time"),
        (with_restrictions(start_date="2026-02-30"), "is not a date"),
        (with_restrictions(day_of_week=["FUNDAY"]), "unknown day 'FUNDAY'"),
        (with_restrictions(day_of_week="MONDAY"), "not a list"),
        (with_restrictions(min_kwh=-1), "out of range"),
        (with_restrictions(min_kwh=0.0000001), "cannot be held exactly"),
        (with_restrictions(max_duration=1.5), "cannot be held exactly"),
        (with_restrictions(min_soc=20), "unknown restriction 'min_soc'"),
        (with_restrictions(reservation="MAYBE"), "unknown 'MAYBE'"),
        (with_restrictions(reservation="RESERVATION"), "a reservation has no ENERGY"),
        (PLAIN | {"elements": PLAIN["elements"] * 2 + [3]}, "has no list of price_components"),
    ],
)
def test_refused_with_the_reason(source, reason):
    with pytest.raises(TariffError, match=reason):
        compile_tariff(source, "Europe/Amsterdam")


def test_an_unknown_time_zone_is_refused():
    for zone in ("Mars/Olympus", "", "../etc/passwd", "Europe"):
        with pytest.raises(TariffError, match="unknown time zone"):
            compile_tariff(PLAIN, zone)


def test_more_than_a_table_holds_is_refused():
    element = {"price_components": [{"type": "ENERGY", "price": 1, "step_size": 1}]}
    elements = [element | {"restrictions": {"min_kwh": i / 1000}} for i in range(1, 12000)]
    with pytest.raises(TariffError, match="too large"):
        compile_tariff(PLAIN | {"elements": elements}, "UTC")


@settings(max_examples=200, derandomize=True)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "currency", "elements", "price_components", "restrictions", "type",
                         "price", "vat", "step_size", "min_price", "excl_vat", "tariffId",
                         "energy", "prices", "priceKwh", "conditions", "taxRates"]),
        inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_no_json_makes_the_compiler_stumble(value):
    base = value if isinstance(value, dict) else {"elements": value}
    for source in (value, PLAIN | base, {"tariffId": "x", "currency": "EUR"} | base):
        try:
            compile_tariff(source, "UTC", 2026)
        except TariffError as e:
            assert str(e) and "\n" not in str(e)
