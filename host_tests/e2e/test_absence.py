"""A long absence of the network: every session is kept, and strangers' cards take no room of it."""

import os
import re

import pytest

from host_tests.e2e.charger import HEAD, charger, check, outcome, step, tap

SOAK = bool(os.environ.get("EVTILL_SOAK"))
MANY = pytest.param(
    1000, marks=[pytest.mark.soak, pytest.mark.timeout(1800),
                 pytest.mark.skipif(not SOAK, reason="long: EVTILL_SOAK=1")],
)  # fmt: skip
EVERY_S, TAPS_A_MINUTE, TAPPING_S = 10, 50, 120


@pytest.mark.parametrize("sessions", [24, MANY])
def test_a_long_absence_costs_no_session(tmp_path, sessions):
    """The broker is down; strangers tap in between, for a while; then the broker comes."""
    text = HEAD + step(0.5, "broker", state="stop") + step(3, "plug", kw=22)
    at = 5.0
    for i in range(sessions):
        text += tap(at) + tap(at + 5)
        at += EVERY_S
        if i == sessions // 2:
            for n in range(TAPPING_S * TAPS_A_MINUTE // 60):
                text += tap(at, f"{0x11223344 + n:08X}")  # one card that stays would count once
                at += 60 / TAPS_A_MINUTE
            at += 10
    text += step(at, "broker", state="start") + step(at + 60 + sessions / 4, "end")
    with charger(tmp_path, text) as playing:
        playing.run()
        result = outcome(playing, tmp_path / "out")
        arrived = sorted(playing.charger.store.records(), key=lambda row: row.row)
        details = [e["detail"] for e in playing.events() if e["name"] == "events_dropped"]
        said = playing.charger.console.decode()
    check(result, sessions=sessions)
    assert [row.seq for row in arrived] == list(range(1, sessions + 1))
    assert all(record["total_energy_wh"] > 0 for record in result.records)
    assert "memory is full" not in result.shown()
    # What the backend has not got of the events is what the charger says that it dropped.
    made = len(re.findall("^event: (?!events_dropped)", said, re.MULTILINE))
    had = len([name for name in result.events if name != "events_dropped"])
    assert details, "nothing was dropped: too few taps"
    assert made - had == int(re.match(r"\d+", details[-1])[0])
    print(f"{made} events made, {had} delivered, {details[-1]} dropped")
