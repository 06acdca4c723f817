"""The 38 cases of host_tests/vectors/tariff_cases, on CPython and on MicroPython."""

import copy
import json
import random
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

_ODD = [None, True, 0, -1, 1e300, "x", "", [], {}, [1], {"a": 1}, "2026-06-01T10:00:00Z", 10**30,
        "9" * 400, "1/0", "nan", "00:00", "2026-01-01", float("nan"), 1.5]  # fmt: skip


def _paths(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _paths(value[key], (*path, key))


def _spoilt(case, rng):
    """A copy with something odd in one place, or without it."""
    case = copy.deepcopy(case)
    *path, last = rng.choice([p for p in _paths(case) if p])
    inner = case
    for key in path:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = rng.choice(_ODD)
    return case


def test_spoilt_cases_are_priced_or_refused_alike_on_both_interpreters():
    rng = random.Random(3)
    short = [c for c in CASES if len(c["tariff"]["elements"]) < 10]
    lines = [json.dumps(_spoilt(rng.choice(short), rng)) for _ in range(200)]
    results = list(tariff_cases.price(lines))
    assert len(results) == 200
    assert 50 < sum("error" in r for r in results) < 150
    assert list(tariff_cases.price(lines, "micropython32")) == results
