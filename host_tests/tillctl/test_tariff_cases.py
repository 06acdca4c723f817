"""The 38 cases of host_tests/vectors/tariff_cases, on CPython and on MicroPython."""

import json
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from tillctl import tariff_cases

FOLDER = Path(__file__).parents[1] / "vectors" / "tariff_cases"
LINES = [
    line
    for name in ("reference.jsonl", "ocpi_examples.jsonl")
    for line in (FOLDER / name).read_text().splitlines()
]
CASES = [json.loads(line) for line in LINES]


def _check(case, result):
    """The expected figures, as the folder's README corrects them, at their own precision."""
    assert "error" not in result, result
    corrected = case.get("expected_spec_total") or case.get("expected_corrected_total")
    expected = {("total",): corrected or case["expected"]["total_cost"]}
    if case["name"] != "spec/complex_saturday":
        expected |= {(k,): v for k, v in case["expected"]["cost"].items()}
    for (group,), pair in expected.items():
        got = result["total_cost"] if group == "total" else result["cost"][group]
        for side in ("excl", "incl"):
            if pair.get(side) is not None:
                wanted = Decimal(pair[side])
                assert Decimal(got[side]).quantize(wanted, ROUND_HALF_UP) == wanted, (group, side)


@pytest.fixture(scope="module")
def priced():
    return list(tariff_cases.price(LINES))


@pytest.mark.parametrize("i", range(len(CASES)), ids=[c["name"] for c in CASES])
def test_case_on_cpython(priced, i):
    _check(CASES[i], priced[i])


@pytest.mark.parametrize("on", ["micropython32", "micropython64"])
def test_identical_on_micropython(priced, on):
    assert list(tariff_cases.price(LINES, on)) == priced
    assert len(priced) == 38
