"""What lint warns of, and what it does not."""

import json
from pathlib import Path

import pytest

from tillctl.tariff_compile import read
from tillctl.tariff_lint import lint, unreachable_components

FOLDER = Path(__file__).parents[1] / "vectors" / "tariff_cases" / "tariffs"


def component(kind, price, step=1):
    return {"type": kind, "price": price, "step_size": step}


def warnings(*elements, power_kw=None, kind="REGULAR", **top):
    """Elements are (restrictions, component...)."""
    listed = [{"restrictions": r, "price_components": list(cs)} for r, *cs in elements]
    source = {"id": "T", "currency": "EUR", "type": kind, "elements": listed} | top
    return unreachable_components(source) + lint(read(source), power_kw)


ENERGY = component("ENERGY", 0.5)
OTHER = component("ENERGY", 0.4)


def test_a_plain_tariff_gets_no_warning():
    assert warnings(({}, ENERGY, component("PARKING_TIME", 3, 60)), kind="AD_HOC_PAYMENT") == []
    simple = json.loads((FOLDER / "simple_025kwh.json").read_text())
    assert lint(read(simple)) == []


@pytest.mark.parametrize(
    ("elements", "warning"),
    [
        ([({}, ENERGY), ({"max_kwh": 5}, OTHER)],
         "elements[1]: ENERGY can never apply (unreachable)"),
        ([({"max_kwh": 5}, ENERGY), ({"max_kwh": 3}, OTHER), ({}, OTHER)],
         "ENERGY: price 2 of 3 can never apply (unreachable)"),
        # Only two others together hide this one.
        ([({"end_time": "12:00"}, ENERGY), ({"start_time": "12:00"}, OTHER),
          ({"max_kwh": 1}, component("ENERGY", 9))],
         "ENERGY: price 3 of 3 can never apply (unreachable)"),
        ([({"min_kwh": 5, "max_kwh": 5}, ENERGY), ({}, OTHER)],
         "ENERGY: price 1 of 2 can never apply (unreachable)"),
        ([({"start_date": "2026-02-01", "end_date": "2026-01-01"}, ENERGY), ({}, OTHER)],
         "ENERGY: price 1 of 2 can never apply (unreachable)"),
    ],
)  # fmt: skip
def test_unreachable_elements(elements, warning):
    assert warning in warnings(*elements)


def test_overlapping_windows_of_different_prices():
    found = warnings(
        ({"start_time": "08:00", "end_time": "18:00"}, ENERGY),
        ({"start_time": "17:00", "end_time": "20:00"}, OTHER),
        ({}, component("ENERGY", 0.3)),
    )
    assert found == ["ENERGY: prices 1 and 2 overlap (17:00-18:00): the first one wins"]
    over_midnight = warnings(
        ({"start_time": "22:00", "end_time": "06:00"}, ENERGY),
        ({"start_time": "05:00", "end_time": "22:00"}, OTHER),
    )
    assert over_midnight == ["ENERGY: prices 1 and 2 overlap (05:00-06:00): the first one wins"]


def test_touching_windows_do_not_overlap():
    assert warnings(
        ({"start_time": "22:00", "end_time": "06:00"}, ENERGY),
        ({"start_time": "06:00", "end_time": "22:00"}, OTHER),
    ) == []  # fmt: skip


def test_gaps_in_which_charging_is_free():
    found = warnings(({"start_time": "08:00", "end_time": "20:00"}, ENERGY))
    assert found == [
        "charging is free in a gap: 00:00-08:00", "charging is free in a gap: 20:00-00:00",
    ]  # fmt: skip
    found = warnings(({"min_kwh": 5}, ENERGY), ({"max_kwh": 4}, component("TIME", 1)))
    assert found == ["charging is free in a gap: kWh from 4"]
    found = warnings(({"max_power": 22}, ENERGY), ({"min_power": 22}, OTHER))
    assert found == ["charging is free in a gap: power not measured"]
    assert warnings(({"day_of_week": ["SUNDAY"]}, OTHER), ({}, ENERGY)) == []


def test_steps_that_surprise():
    found = warnings(({"max_kwh": 9}, component("ENERGY", 1, 1000)), ({}, ENERGY))
    assert found == [
        "ENERGY: steps of 1000 Wh may surprise a driver",
        "ENERGY: several steps (1, 1000 Wh): only the last one used rounds up",
    ]
    found = warnings(({}, ENERGY, component("PARKING_TIME", 1, 300)))
    assert found == ["PARKING_TIME: steps of 300 s may surprise a driver"]


def test_time_prices_that_the_law_wants_per_kwh():
    found = warnings(({}, component("TIME", 3, 60)), kind="AD_HOC_PAYMENT", power_kw=22)
    assert found == [
        "charging is sold by time: AFIR and PAngV want a price per kWh displayed"
    ]  # fmt: skip


def test_components_not_allowed_ad_hoc_at_fifty_kilowatts():
    elements = [({}, ENERGY, component("TIME", 3), component("FLAT", 1),
                 component("PARKING_TIME", 6))]  # fmt: skip
    limit = {"min_price": {"excl_vat": 1}}
    for kind, power_kw, wanted in (
        ("AD_HOC_PAYMENT", 50, ["TIME", "FLAT", "min_price"]),
        ("AD_HOC_PAYMENT", None, ["TIME", "FLAT", "min_price"]),
        ("AD_HOC_PAYMENT", 22, []),
        ("REGULAR", 150, []),
    ):
        found = warnings(*elements, kind=kind, power_kw=power_kw, **limit)
        assert [w.split(":")[0] for w in found] == wanted
    free_flat = [({}, ENERGY, component("FLAT", 0))]
    assert warnings(*free_flat, kind="AD_HOC_PAYMENT", power_kw=150) == []


@pytest.mark.parametrize("name", sorted(f.stem for f in FOLDER.glob("*.json")))
def test_every_reference_tariff_can_be_linted(name):
    source = json.loads((FOLDER / f"{name}.json").read_text())
    for warning in unreachable_components(source) + lint(read(source)):
        assert "\n" not in warning and len(warning) < 120
    assert not any("unreachable" in w for w in lint(read(source)))
