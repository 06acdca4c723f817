"""What is billed: never more than the tariff says, never more than the charger has signed."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtill.core import jws, record_check
from evtill.core.tariff import Tariff
from host_tests.fakes import records
from host_tests.tillctl import test_verify as sessions
from tillback.repricing import NOT_BILLED, PRICE_MISMATCH, judge

TARIFF = Tariff(records.TARIFF)
SIGNER = records.Signer()


def read(published):
    said = record_check.parse(jws.b64url_decode(published.split(b".")[1]))
    return said, record_check.parse_ocmf(said["ocmf"])[1]


def example(**changes):
    """The design's example session, 7.20 EUR, with other facts."""
    return read(records.signed(SIGNER, **changes))


def line(said):
    return said["charging_periods"][0]["dimensions"][0]


def claim(said, **changes):
    """A record whose one line and total say otherwise."""
    line(said).update(changes)
    for key in ("excl_minor", "incl_minor"):
        said["total_cost"][key] = line(said)[key]


def test_a_right_price_is_billed_without_a_word():
    found = judge(*example(), TARIFF)
    assert (found.billed_minor, found.recomputed_minor, found.finding) == (720, 720, "")
    assert found.alarm is None


@pytest.mark.parametrize(
    ("changes", "billed"),
    [
        ({"incl_minor": 721}, 720),  # a cent more than its own lines give
        ({"incl_minor": 10**9}, 720),
        ({"incl_minor": 719}, 719),
        ({"incl_minor": 0}, 0),
        ({"incl_minor": -1}, 0),  # never money out of the till
        ({"price_micro": 490001}, 720),  # another rate than the tariff's
        ({"price_micro": 9 * 10**12, "incl_minor": 10**9}, 720),
        ({"price_micro": 400000, "incl_minor": 588}, 588),
        ({"vat_ppm": 0, "incl_minor": 605}, 605),
    ],
)
def test_the_lower_of_two_prices_is_billed_with_an_alarm(changes, billed):
    said, meant = example()
    claim(said, **changes)
    found = judge(said, meant, TARIFF)
    assert (found.billed_minor, found.recomputed_minor) == (billed, 720)
    assert found.alarm == PRICE_MISMATCH and found.finding


def test_a_free_session_bills_nothing_but_is_looked_at():
    said, meant = example(flags=["free"])
    found = judge(said, meant, TARIFF)
    assert (found.billed_minor, found.finding, found.alarm) == (0, "free", None)
    claim(said, price_micro=1)
    assert judge(said, meant, TARIFF).alarm == PRICE_MISMATCH


def _energy(said):
    said["total_energy_wh"] += 1


def _meter(said):
    said["meter"]["end_wh"] += 1


def _total(said):
    said["total_cost"]["excl_minor"] += 1


def _currency(said):
    said["currency"] = "CHF"


def _doubled(said):
    lines = said["charging_periods"][0]["dimensions"]
    lines.append(dict(lines[0], incl_minor=0, excl_minor=0))


@pytest.mark.parametrize("change", [_energy, _meter, _total, _currency, _doubled])
def test_what_contradicts_itself_or_its_tariff_bills_nothing(change):
    said, meant = example()
    change(said)
    found = judge(said, meant, TARIFF)
    assert (found.billed_minor, found.recomputed_minor, found.alarm) == (0, None, NOT_BILLED)
    assert found.finding


def test_a_tariff_that_was_not_valid_then_bills_nothing():
    late = sessions.compiled(records.OCPI_TARIFF | {"start_date_time": "2026-04-01T00:00:00Z"})
    found = judge(*example(), Tariff(late))
    assert (found.billed_minor, found.alarm) == (0, NOT_BILLED)
    assert "not valid" in found.finding


@pytest.mark.parametrize("number", range(len(sessions.TARIFFS)))
def test_with_any_tariff_a_lie_costs_the_driver_nothing(number):
    """True sessions are billed as they are. Each rate raised: the tariff's own is billed, or what
    is cheaper where the tariff depends on what a record does not hold."""
    table = sessions.compiled(sessions.TARIFFS[number])
    rng = random.Random(number)
    for _ in range(25):
        said, meant = read(sessions.session(table, rng))
        true = judge(said, meant, Tariff(table))
        assert (true.alarm, true.billed_minor) == (None, said["total_cost"]["incl_minor"])
        lie = json.loads(json.dumps(said))
        priced = [
            one for period in lie["charging_periods"] for one in period["dimensions"]
            if one["price_micro"] > 0
        ]  # fmt: skip
        for one in priced:
            one["price_micro"] *= 3
            one["incl_minor"] += 100
            lie["total_cost"]["incl_minor"] += 100
        found = judge(lie, meant, Tariff(table))
        assert found.billed_minor <= true.billed_minor
        if priced:
            assert found.alarm in (PRICE_MISMATCH, NOT_BILLED)
        if priced and number in (0, 1, 2):  # nothing but the clock and the energy decides
            assert found.billed_minor == true.billed_minor


@given(
    price=st.integers(-(1 << 53), 1 << 53), gross=st.integers(-(1 << 53), 1 << 53),
    wh=st.integers(0, 1 << 53), rest=st.integers(0, 999999999),
    flags=st.sampled_from([[], ["free"], ["ceiling"]]), ceiling=st.none() | st.integers(0, 1 << 53),
)  # fmt: skip
def test_no_numbers_make_it_bill_more_than_either_side_says(
    price, gross, wh, rest, flags, ceiling
):
    said, meant = example(flags=flags)
    claim(said, price_micro=price, incl_minor=gross, volume_wh=wh, rest_nano=rest)
    said["auth"]["ceiling_minor"] = ceiling
    found = judge(said, meant, TARIFF)
    assert 0 <= found.billed_minor <= max(0, gross)
    assert found.billed_minor <= (720 if found.recomputed_minor is None else found.recomputed_minor)
    assert abs(found.recomputed_minor or 0) < 1 << 53
