"""Whole sessions with other meters of the catalogue, from provisioning to the verified record."""

import pytest

from host_tests.e2e.charger import HEAD, check, run, session, step, tap


@pytest.mark.parametrize(
    ("model", "vendor", "more"),
    [("em340", "Carlo Gavazzi", ""), ("b23", "ABB", ""),
     ("pac2200", "Siemens", 'meter_serial = "LQN/1"\n'), ("wm3m4", "Iskra", "")],
)  # fmt: skip
def test_a_session_by_another_meter(tmp_path, model, vendor, more):
    """The EM340 counts 0.1 kWh: a step of its register is no jump."""
    text = HEAD + f'[config]\nmeter_model = "{model}"\n{more}' + session(5, 12)
    result = run(tmp_path, text + step(760, "end"))
    check(result)
    record = result.records[0]
    assert record["meter"]["model"] == model
    assert record["meter"]["serial"] == ("LQN/1" if more else "1234567")
    assert record["meter"]["end_wh"] > record["meter"]["start_wh"]
    assert f'"MV":"{vendor}"' in record["ocmf"]
    assert record["flags"] == []


S0 = HEAD + '[config]\nmeter_model = "s0"\nmeter_serial = "S0-17"\nmeter_start_wh = 1045120\n'


def test_sessions_by_pulses(tmp_path):
    """Nothing but pulses: to the Wh what has flowed, and no leak seen when they stop."""
    text = S0 + session(5, 5) + session(400, 3, kw=3.7)
    result = run(tmp_path, text + step(700, "end"))
    check(result, 2)
    for record in result.records:
        assert record["meter"]["serial"] == "S0-17"
        assert record["meter"]["model"] == "s0"
        assert record["flags"] == []
        assert '"MV":"S0"' in record["ocmf"]
    assert "contactor_welded" not in result.events


def test_a_power_cut_while_pulses_are_counted(tmp_path):
    """The count goes on where it was kept, at the last checkpoint: short of the truth by less than
    a checkpoint's energy, never above it; the next session is whole."""
    text = S0 + "checkpoint_s = 30\n" + tap(5) + step(8, "plug", kw=11) + step(200, "kill")
    text += step(210, "boot") + step(212, "unplug") + session(240, 2) + step(500, "end")
    result = run(tmp_path, text)
    cut, whole = result.records
    true_cut, true_whole = result.truth["sessions"]
    assert cut["meter"]["start_wh"] == true_cut["start_wh"]
    assert 0 <= true_cut["end_wh"] - cut["meter"]["end_wh"] <= 11000 * 31 // 3600 + 1
    assert cut["stop_reason"] == "PowerLoss"
    assert {"power_cut", "closed_at_boot"} <= set(cut["flags"])
    assert "meter_rollback" not in cut["flags"]
    assert whole["total_energy_wh"] == true_whole["end_wh"] - true_whole["start_wh"]
    assert whole["meter"]["start_wh"] >= cut["meter"]["end_wh"]
    assert whole["meter"]["end_wh"] <= true_whole["end_wh"]
    assert whole["flags"] == []
    assert result.verify() == 0
