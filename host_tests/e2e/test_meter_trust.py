"""A meter that cannot be believed: flagged in the record, told to the backend, never billed by."""

import json
from dataclasses import replace

import pytest

from host_tests.e2e.charger import HEAD, check, run, session, step, tap
from tillctl import meter_file

OVER = step(400, "end")
LAST = tap(300) + step(310, "unplug") + OVER


def charged(tmp_path, *odd, head=HEAD, end=LAST):
    text = head + tap(5) + step(8, "plug", kw=11) + "".join(odd) + end
    return run(tmp_path, text)


@pytest.mark.parametrize(("shift_wh", "flag"), [(-50000, "meter_rollback"), (90000, "meter_jump")])
def test_a_register_that_moves_as_no_register_can_is_not_billed_by(tmp_path, shift_wh, flag):
    """While it is off the session goes on to its last good reading; then it is right again."""
    odd = step(100, "meter", shift_wh=shift_wh) + step(130, "meter", shift_wh=0)
    result = charged(tmp_path, odd)
    check(result)
    assert {flag, "meter_gap"} <= set(result.records[0]["flags"])
    assert result.events.count(flag) == 1


def test_a_meter_that_begins_again_at_zero_ends_the_session(tmp_path):
    result = charged(tmp_path, step(100, "meter", shift_wh=-1045120 - 200), end=OVER)
    (record,) = result.records
    assert record["stop_reason"] == "MeterFault"
    assert {"meter_reset", "end_reading_missing"} <= set(record["flags"])
    assert 250 <= record["total_energy_wh"] <= 11000 * 93 / 3600
    assert "meter_reset" in result.events and result.verify() == 0


def test_a_register_that_stands_while_power_flows(tmp_path):
    result = charged(tmp_path, step(60, "meter", frozen=True))
    assert "meter_frozen" in result.records[0]["flags"] and "meter_frozen" in result.events
    assert result.verify() == 0


@pytest.mark.parametrize("told", [0.5, 2])
def test_power_and_energy_that_disagree(tmp_path, told):
    result = charged(tmp_path, step(30, "meter", told=told))
    check(result)
    assert "meter_disagrees" in result.records[0]["flags"]
    assert result.events.count("meter_disagrees") == 1


def test_an_honest_meter_earns_no_flag(tmp_path):
    odd = "".join(step(at, "power", kw=kw) for at, kw in ((50, 22), (90, 0), (150, 1.4), (200, 22)))
    result = charged(tmp_path, odd)
    check(result)
    assert result.records[0]["flags"] == []


def test_another_meter_in_its_place_is_noticed_when_it_answers(tmp_path):
    odd = step(100, "meter", fault="silent") + step(110, "meter", serial=7654321)
    odd += step(111, "meter", shift_wh=5000) + step(120, "meter", fault="none")
    result = charged(tmp_path, odd, end=OVER)
    (record,) = result.records
    assert record["stop_reason"] == "MeterFault" and record["meter"]["serial"] == "1234567"
    assert {"meter_replaced", "end_reading_missing"} <= set(record["flags"])
    assert record["total_energy_wh"] <= 11000 * 93 / 3600
    assert "meter_foreign" in result.events and result.verify() == 0


@pytest.mark.parametrize("cut", [False, True])
def test_a_register_that_rolls_over_costs_nothing(tmp_path, monkeypatch, cut):
    """The record ends above the modulus; the next session begins below it: that is no rollback."""
    modulus_wh, find = 2_000_000, meter_file.find_any
    rolls = lambda name: replace(find(name), modulus_wh=modulus_wh)  # noqa: E731
    monkeypatch.setattr(meter_file, "find_any", rolls)
    head = HEAD + "[config]\ncheckpoint_s = 20\n"
    head += step(1, "meter", shift_wh=modulus_wh - 1045120 - 300)
    odd = step(200, "kill") + step(205, "boot") if cut else ""
    text = head + tap(5) + step(8, "plug", kw=11) + odd + tap(300) + step(310, "unplug")
    result = run(tmp_path, text + session(400, 1) + step(600, "end"))
    first, second = result.records[:2]
    assert "meter_rollover" in first["flags"] and "meter_rollover" in result.events
    true = result.truth["sessions"][0]
    assert first["meter"]["start_wh"] == true["start_wh"] == modulus_wh - 300
    assert first["meter"]["end_wh"] == true["end_wh"] + modulus_wh
    assert second["flags"] == [] and "rollback_suspected" not in result.events
    reading = json.loads(first["ocmf"].split("|")[1])["RD"][-1]
    assert reading["RV"] == first["meter"]["end_wh"] / 1000
    assert result.verify() == 0


def test_energy_through_an_open_contactor_puts_the_charger_out_of_order(tmp_path):
    text = HEAD + session(5, 1, kw=7) + step(100, "plug", kw=7) + step(110, "fault", what="weld")
    text += step(160, "fault", what="weld", state="clear") + tap(170) + step(200, "end")
    result = run(tmp_path, text)
    assert len(result.records) == 1 and "contactor_welded" in result.events
    assert "Out of order | please call us" in result.shown()


def test_an_older_flash_images_session_is_not_billed_by_todays_register(tmp_path):
    """The register has moved by more than can have flowed since the last checkpoint."""
    odd = step(200, "kill") + step(201, "meter", shift_wh=5000000) + step(210, "boot")
    result = charged(tmp_path, odd, end=step(300, "end"))
    (record,) = result.records
    assert "meter_jump" in record["flags"] and record["total_energy_wh"] <= 11000 * 192 / 3600
    assert result.verify() == 0
