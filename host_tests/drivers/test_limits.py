"""Cables against IEC 61851-1:2017, table B.2; derating."""

import pytest

from evtill.drivers.limits import cable_a, derated_a


# Table B.2's nominal resistors; and what is none of them.
@pytest.mark.parametrize(
    ("ohm", "amperes"),
    [(1500, 13), (680, 20), (220, 32), (100, 63), (1500 * 1.1, 13), (680 * 0.9, 20),
     (220 * 1.1, 32), (0, 0), (40, 0), (4700, 0), (10**6, 0)],
)  # fmt: skip
def test_the_cable(ohm, amperes):
    assert cable_a(ohm) == amperes


def test_derating_falls_steadily_and_ends():
    allowed = [derated_a(32, celsius, 60, 80) for celsius in range(-40, 120)]
    assert allowed[: 100 + 1] == [32] * 101
    assert allowed[100 + 10] == 19 and allowed[100 + 20] == 6
    assert set(allowed[100 + 21 :]) == {0}
    assert allowed == sorted(allowed, reverse=True)
    assert derated_a(32, 70, 70, 70) == 32 and derated_a(32, 71, 70, 70) == 0
