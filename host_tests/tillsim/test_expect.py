"""Expectations of a scenario are met by what came of it, and by nothing else."""

from types import SimpleNamespace

import pytest

from tillsim.car import START_REGISTER_WH
from tillsim.expect import Judge
from tillsim.scenario import EXPECT, Step

RECORDS = [
    {"stop_reason": "Local", "total_energy_wh": 500, "total_cost": {"incl_minor": 29},
     "flags": ["power_cut"], "clock": {"duration_ms": 61999}},
    {"stop_reason": "Remote", "total_energy_wh": 0, "total_cost": {"incl_minor": 0}, "flags": [],
     "clock": {"duration_ms": 2000}},
]  # fmt: skip
MET = {
    "sessions": 2, "stop_reason": ["Local", "Remote"], "energy_wh": [500, 0],
    "time_s": [61, 2], "cost_minor": [29, 0], "flags": ["power_cut"], "events": ["boot", "tamper"],
    "no_events": ["ground_fault"], "results": ["accepted", "rejected: no ses"],
    "shown": ["Ready", "Bye | now"], "not_shown": ["Sorry"],
}  # fmt: skip
NOT_MET = {
    "sessions": 1, "stop_reason": "Local", "energy_wh": [500, 1], "cost_minor": [29],
    "time_s": [62, 2], "flags": ["resumed"], "events": ["boot", "ground_fault"],
    "no_events": ["tamper"], "results": ["accepted"], "shown": ["Bye | now", "Ready"],
    "not_shown": ["Bye"],
}  # fmt: skip


def judged(expect, flowed_wh=500, steps=()):
    results = [("accepted", ""), ("rejected", "no session")]
    return Judge(SimpleNamespace(
        scenario=SimpleNamespace(expect=expect, steps=steps),
        records=lambda: [{"payload": record} for record in RECORDS],
        events=lambda: [{"name": "boot"}, {"name": "tamper"}],
        charger=SimpleNamespace(
            display=[{"lines": ["Ready  ", ""]}, {"lines": [" Bye", "now"]}],
            truth=lambda: {"register_wh": START_REGISTER_WH + flowed_wh},
            store=SimpleNamespace(results=lambda: [
                SimpleNamespace(status=status, detail=detail) for status, detail in results
            ]),
        ),
    )).findings()  # fmt: skip


@pytest.mark.parametrize("key", EXPECT)
def test_each_expectation_is_met_or_not(key):
    assert all(finding.met for finding in judged({key: MET[key]}))
    billed, *found = judged({key: NOT_MET[key]})
    assert billed.met
    assert [str(finding)[:5] for finding in found if not finding.met] == ["FAIL "]


def test_nobody_is_billed_what_never_flowed():
    assert [finding.met for finding in judged({}, flowed_wh=499)] == [False]
    assert judged({}, flowed_wh=0, steps=[Step(0, "meter", {"shift_wh": 500})]) == []
