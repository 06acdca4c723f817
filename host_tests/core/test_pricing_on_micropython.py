"""Heap, damaged tables and long sessions on the 32-bit interpreter with a board's heap."""

from pathlib import Path

import pytest

from evtill.core.pricing import Pricer
from evtill.core.tariff import load
from host_tests.micropython import run
from tillctl.tariff_compile import compile_tariff

CHECK = Path(__file__).parents[1] / "on_micropython" / "check_pricing.py"
START_MS = 1780272000000  # 2026-06-01T00:00:00Z
SOURCE = {"id": "T", "currency": "EUR", "elements": [
    {"price_components": [{"type": "TIME", "price": 1, "step_size": 1}],
     "restrictions": {"start_time": "08:00", "end_time": "10:00"}},
    {"price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1},
                          {"type": "FLAT", "price": 0.5, "vat": 19, "step_size": 1}]},
]}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return compile_tariff(SOURCE, "Europe/Amsterdam", 2026)


@pytest.fixture(scope="module")
def said(table):
    return run(CHECK.read_text(), table.hex(), str(START_MS)).splitlines()


def test_ten_thousand_ticks_leave_no_garbage(said):
    assert int(said[0]) <= 64  # what the loop itself and the first look-up of a name leave


def test_samples_keep_nothing(said):
    assert int(said[1]) <= 128


def test_every_damaged_table_is_refused(said, table):
    assert int(said[2]) == 2 * len(table)


def test_two_months_are_priced_as_on_cpython(said, table):
    pricer = Pricer(load(table), START_MS, 0)
    pricer.sample(START_MS, 0, True)
    pricer.finish(START_MS + 61 * 86400000, 0)
    bill = pricer.bill()
    assert said[3].split() == [bill["exact_excl"], str(bill["time_ms"]), "0"]
    assert bill["exact_excl"] == "122.5"
