"""Rounding of totals and lines."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from evtill.core import bill


@settings(derandomize=True, max_examples=300)
@given(st.integers(-(10**30), 10**30), st.integers(1, 10**25))
def test_half_up_is_decimals(n, d):
    exact = Fraction(n, d)
    assert abs(bill.half_up(n, d) - exact) <= Fraction(1, 2)
    if (2 * exact).denominator == 1 and exact.denominator == 2:
        assert abs(bill.half_up(n, d)) == abs(exact) + Fraction(1, 2)


def test_decimals_are_half_up_at_twelve_places_and_trimmed():
    assert bill.decimal(604905, 10**5) == "6.04905"
    assert bill.decimal(1, 3) == "0.333333333333"
    assert bill.decimal(-2, 3) == "-0.666666666667"
    assert bill.decimal(0, 7) == "0"
    assert bill.decimal(5 * 10**9, 10**9) == "5"
    assert bill.decimal(5, 10**13) == "0.000000000001"
    assert bill.decimal(-4, 10**13) == "0"


@settings(derandomize=True, max_examples=300)
@given(st.lists(st.integers(-(10**22), 10**22), min_size=1, max_size=9))
def test_lines_add_up_and_are_off_by_less_than_a_unit(parts):
    one, scale = 18 * 10**18, 100
    total = bill.half_up(sum(parts) * scale, one)
    shares = bill._shares(parts, total, scale, one)
    assert sum(shares) == total
    for part, share in zip(parts, shares, strict=True):
        assert abs(Fraction(part * scale, one) - share) < 1


def test_the_parts_of_one_are_kilowatt_hours_and_hours():
    for dimension, unit_n in ((0, 10**12), (1, 3600 * 10**9), (3, 1), (4, 3600 * 10**9)):
        assert 1000000 * unit_n * bill._PARTS[dimension] == bill.ONE


def test_rounding_agrees_with_the_decimal_module():
    for n in range(-50, 51):
        wanted = (Decimal(n) / 8).quantize(Decimal(1), ROUND_HALF_UP)
        assert bill.half_up(n, 8) == wanted
