"""The backend's commands: sessions started and stopped from afar, ceilings, and what is refused."""

import pytest

from host_tests.e2e.charger import HEAD, check, run, step, tap
from host_tests.soak import sampled
from tillsim.scenario import SPOILT

CARD_HOLD = {"ref": "pi_3Nx", "method": "card", "ceiling_minor": 2000}


def command(at, name, sign="well", **args):
    """A command step; its table of arguments is the last thing of it."""
    text = step(at, "command", name=name, sign=sign) + "[step.args]\n"
    return text + "".join(
        f'{key} = "{value}"\n' if isinstance(value, str) else f"{key} = {value}\n"
        for key, value in args.items()
    )


@pytest.mark.parametrize("bits", sampled([32, 64], 2))
def test_a_session_by_app_from_start_to_stop(tmp_path, bits):
    text = HEAD + command(5, "start", ref="app-1", method="app") + step(10, "plug", kw=11)
    text += command(300, "stop", ref="app-1") + step(320, "end")
    result = run(tmp_path, text, bits=bits)
    check(result)
    (record,) = result.records
    assert record["stop_reason"] == "Remote" and record["auth_method"] == "COMMAND"
    assert record["auth"] == {
        "method": "app", "token": None, "assurance": "app", "ref": "app-1", "ceiling_minor": None,
    }  # fmt: skip
    assert '"TX\\":\\"R' in record["ocmf"].replace('"', '\\"') or '"TX":"R"' in record["ocmf"]
    assert [status for status, _ in result.results] == ["accepted", "accepted"]


@pytest.mark.parametrize("kw", sampled([22, 3.7], 2))
def test_a_session_ends_ahead_of_its_ceiling(tmp_path, kw):
    text = HEAD + step(3, "plug", kw=kw) + command(5, "start", **CARD_HOLD | {"ceiling_minor": 300})
    result = run(tmp_path, text + step(3600, "end"))
    check(result)
    (record,) = result.records
    assert record["stop_reason"] == "CostLimitReached" and "ceiling" in record["flags"]
    assert 285 <= record["total_cost"]["incl_minor"] <= 300


def test_a_ceiling_raised_in_time_and_one_too_late(tmp_path):
    text = HEAD + step(3, "plug", kw=22) + command(5, "start", **CARD_HOLD | {"ceiling_minor": 200})
    text += command(200, "raise_ceiling", ref="pi_3Nx", ceiling_minor=400)
    text += command(300, "raise_ceiling", ref="other", ceiling_minor=900)
    text += command(310, "raise_ceiling", ref="pi_3Nx", ceiling_minor=400)
    text += command(1250, "raise_ceiling", ref="pi_3Nx", ceiling_minor=900)
    result = run(tmp_path, text + step(1270, "end"))
    check(result)
    (record,) = result.records
    assert record["auth"]["ceiling_minor"] == 400
    assert 370 <= record["total_cost"]["incl_minor"] <= 400
    assert result.results[1:] == [
        ("accepted", ""), ("rejected", "no session with this ref"),
        ("rejected", "the ceiling can only be raised"), ("rejected", "no session with this ref"),
    ]  # fmt: skip


def test_a_raised_ceiling_outlives_a_power_cut(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + command(5, "start", **CARD_HOLD | {"ceiling_minor": 200})
    text += command(60, "raise_ceiling", ref="pi_3Nx", ceiling_minor=400)
    text += step(90, "kill") + step(95, "boot")
    result = run(tmp_path, text + step(200, "end"))
    check(result)
    assert result.records[0]["auth"]["ceiling_minor"] == 400


def test_a_silent_meter_does_not_break_a_ceiling(tmp_path):
    """Nobody knows what flows: the session ends while even the most cannot have cost too much."""
    text = HEAD + '[config]\nmeter_loss = "continue"\nmeter_loss_s = 3600\n'
    text += step(3, "plug", kw=20) + command(5, "start", **CARD_HOLD | {"ceiling_minor": 200})
    text += step(100, "meter", fault="silent") + step(700, "meter", fault="none")
    result = run(tmp_path, text + step(760, "end"))
    check(result)
    (record,) = result.records
    assert record["stop_reason"] == "CostLimitReached"
    assert 160 <= record["total_cost"]["incl_minor"] <= 200


@pytest.mark.parametrize(
    ("limit", "reason"), [({"ceiling_wh": 500}, "EnergyLimitReached"),
                          ({"ceiling_s": 120}, "TimeLimitReached")],
)  # fmt: skip
def test_limits_of_energy_and_time(tmp_path, limit, reason):
    text = HEAD + step(3, "plug", kw=11) + command(5, "start", ref="a", method="app", **limit)
    result = run(tmp_path, text + step(600, "end"))
    check(result)
    (record,) = result.records
    assert record["stop_reason"] == reason
    assert 480 <= record["total_energy_wh"] <= 500 or 115 <= record["total_time_ms"] / 1000 <= 120


def test_a_ceiling_below_the_least_session_starts_nothing(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + command(5, "start", **CARD_HOLD | {"ceiling_minor": 10})
    result = run(tmp_path, text + step(60, "end"))
    assert result.records == [] and result.truth["sessions"] == []
    ((status, detail),) = result.results
    assert status == "rejected" and detail.startswith("ceiling is below the least session's")


def test_a_card_named_by_the_command_stops_the_session_and_another_does_not(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + command(5, "start", ref="a", method="app")
    result = run(tmp_path, text + tap(100) + command(200, "stop") + step(250, "end"))
    check(result)
    assert result.records[0]["stop_reason"] == "Remote" and "In use" in result.shown()


@pytest.mark.parametrize("sign", SPOILT[:-1])
def test_what_is_not_signed_for_this_boot_moves_nothing(tmp_path, sign):
    text = HEAD + step(3, "plug", kw=11) + command(5, "start", sign, ref="a", method="app")
    result = run(tmp_path, text + step(60, "end"))
    assert result.records == [] and result.truth["sessions"] == []
    ((status, detail),) = result.results
    assert status == "rejected" and detail
    assert "command_refused" in result.events


def test_a_command_is_obeyed_once(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + command(5, "start", ref="a", method="app")
    text += tap(20) + command(30, "stop", ref="a") + command(60, "stop", "replayed")
    result = run(tmp_path, text + step(100, "end"))
    check(result)
    assert result.results[1:] == [("accepted", ""), ("rejected", "replayed")]


def test_commands_that_the_state_does_not_allow(tmp_path):
    text = HEAD + command(5, "stop") + step(6, "plug", kw=11) + tap(8)
    text += command(30, "start", ref="a", method="app") + command(40, "reboot")
    text += command(50, "unlock") + command(55, "start", ref="a", method="cash")
    text += command(60, "diagnostics") + tap(100) + step(110, "unplug") + command(120, "reboot")
    text += step(150, "end")
    result = run(tmp_path, text)
    check(result)
    assert result.results[:5] == [
        ("rejected", "no session"), ("rejected", "charging"), ("rejected", "a session is running"),
        ("rejected", "there is no lock"), ("rejected", "method is out of range"),
    ]  # fmt: skip
    assert result.results[5][0] == "accepted" and "records" in result.results[5][1]
    assert result.results[6] == ("accepted", "") and result.events.count("boot") == 2


def test_what_has_become_of_a_start_is_told_and_proven(tmp_path):
    text = HEAD + "[config]\nplug_timeout_s = 30\n" + command(5, "start", ref="a", method="app")
    text += command(20, "diagnostics", ref="a") + command(50, "diagnostics", ref="a")
    text += command(60, "start", ref="b", method="app") + step(65, "plug", kw=11)
    text += command(90, "diagnostics", ref="b") + command(95, "diagnostics", ref="a")
    text += command(200, "stop") + command(230, "diagnostics", ref="b") + step(250, "end")
    result = run(tmp_path, text)
    check(result)
    told = [detail for _, detail in result.results]
    assert told == ["", "undecided", "none before 1", "", "charging", "none before 1", "",
                    "none before 2"]  # fmt: skip
    assert all(row["proven"] for row in result._rows("results.jsonl"))


def test_a_clock_set_by_command_lets_the_others_in(tmp_path):
    text = HEAD.replace("start =", "# start =") + command(5, "stop")
    text += command(10, "set_time", unix_ms=1772435655000) + step(30, "end")
    result = run(tmp_path, text)
    assert result.results[0] == ("rejected", "clock is not set: only set_time is accepted")
    assert result.results[1][0] == "accepted"
