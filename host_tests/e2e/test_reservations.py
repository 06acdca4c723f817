"""Reservations: who may use one, what it costs, and the power cut at every write of its end."""

import os
from pathlib import Path

import pytest
from pyocmf import OCMF

import tillsim
from host_tests.e2e.charger import CARD, HEAD, run, step, tap
from host_tests.e2e.test_commands import command

TARIFF = Path(tillsim.__file__).parent / "scenarios" / "reservation_tariff.json"
EXPIRES_S = 1772437440  # 2026-03-02T07:44:00Z
OTHER = "04B1243B6C5E80"
SOAK = [
    pytest.mark.soak, pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak"),
]  # fmt: skip


def reserved(tmp_path, at=10, **args):
    """A scenario's head with the tariff that has fees, and a reservation."""
    (tmp_path / "tariff.json").write_bytes(TARIFF.read_bytes())
    text = HEAD.replace(f'["{CARD}"]', f'["{CARD}", "{OTHER}"]') + 'tariff = "tariff.json"\n'
    return text + command(at, "reserve", ref="R-1", expires_s=EXPIRES_S, **args)


def strangers_agree(result):
    """The contactor never closed, and each record is as signed and as the tariff says."""
    assert result.truth["sessions"] == [] and result.verify() == 0
    for record in result.records:
        assert OCMF.from_string(record["ocmf"]).verify(result.spki) == (True, [])


# The command's answer, the reservation's end, START, STOP, its removal, the record: some 70 writes.
@pytest.mark.parametrize("writes", [[2], [12], [60], [67], pytest.param(range(1, 91), marks=SOAK)])
def test_a_cancelled_reservation_is_billed_once_whenever_the_power_goes(tmp_path, writes):
    for write in writes:
        folder = tmp_path / str(write)
        folder.mkdir()
        cancelled_once(folder, write)


def cancelled_once(tmp_path, write):
    text = reserved(tmp_path) + step(609, "kill", at_write=write, how="half")
    text += command(610, "cancel", ref="R-1") + step(640, "boot")
    # Asked again by a backend that has had no answer.
    text += command(670, "cancel", ref="R-1") + step(720, "end")
    result = run(tmp_path, text)
    (record,) = result.records
    strangers_agree(result)
    assert record["flags"] == ["reservation_cancelled"] and record["total_energy_wh"] == 0
    assert record["total_cost"]["incl_minor"] in (60, 65)  # 600 s or 660 s, of 3.57 an hour


# START, the first checkpoint, the removal: some 65 writes; from the 74th on the boot comes first.
@pytest.mark.parametrize("writes", [[3], [10], [40], pytest.param(range(1, 71), marks=SOAK)])
def test_a_reservation_is_used_once_whenever_the_power_goes(tmp_path, writes):
    for write in writes:
        folder = tmp_path / str(write)
        folder.mkdir()
        used_once(folder, write)


def used_once(tmp_path, write):
    text = reserved(tmp_path) + step(303, "plug", kw=11) + step(305, "kill", at_write=write)
    text += command(310, "start", ref="R-1", method="app")
    text += step(340, "boot") + command(900, "stop") + step(1000, "unplug") + step(2000, "end")
    result = run(tmp_path, text)
    lines = [
        line["type"] for record in result.records for period in record["charging_periods"]
        for line in period["dimensions"]
    ]  # fmt: skip
    assert lines.count("RESERVATION_TIME") == 1
    assert result.verify() == 0


def test_nobody_pays_for_not_coming_to_a_charger_that_was_off(tmp_path):
    text = reserved(tmp_path) + step(600, "kill") + step(2400, "boot") + step(2500, "end")
    result = run(tmp_path, text)
    assert result.records == [] and "reservation_expired" in result.events


def test_a_reservation_outlives_a_power_cut_and_a_meter_that_is_silent_at_its_end(tmp_path):
    text = reserved(tmp_path) + step(600, "kill") + step(620, "boot") + tap(700, OTHER)
    text += step(1790, "meter", fault="silent") + step(1850, "meter", fault="none")
    result = run(tmp_path, text + step(1900, "end"))
    (record,) = result.records
    strangers_agree(result)
    assert record["flags"] == ["reservation_expired"]
    assert record["end_date_time"] > "2026-03-02T07:44:00Z"
    assert record["total_cost"]["incl_minor"] == 238 + 357
    assert "reserved for another" in result.shown()


def test_what_cannot_be_reserved_or_cancelled(tmp_path):
    text = reserved(tmp_path) + command(20, "reserve", ref="R-2", expires_s=EXPIRES_S)
    text += command(30, "reserve", ref="R-1", expires_s=EXPIRES_S + 60)  # longer
    text += command(40, "reserve", ref="R-1", expires_s=EXPIRES_S + 90000)
    text += command(50, "reserve", ref="R-1", expires_s=1772435000)
    text += command(60, "cancel", ref="R-2") + command(70, "cancel", ref="R-1")
    text += command(90, "start", ref="A-1", method="app") + step(95, "plug", kw=11)
    text += command(120, "reserve", ref="R-3", expires_s=EXPIRES_S)
    result = run(tmp_path, text + step(130, "end"))
    assert [detail for _, detail in result.results] == [
        "", "reserved", "", "expires_s is not within the next 86400 s",
        "expires_s is not within the next 86400 s", "no reservation with this ref", "", "",
        "charging",
    ]  # fmt: skip
