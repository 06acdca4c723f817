"""What comes in wrong: no session or a flag, never a wrong kWh, and nothing is lost."""

import json

import pytest

from evtill.core.errors import ConfigError
from host_tests.e2e.charger import HEAD, charger, check, outcome, run, step, tap
from host_tests.soak import sampled
from tillctl.port import Port
from tillsim import play

FAULTS = ("silent", "wrong_crc", "exception", "foreign_reply")


@pytest.mark.parametrize("fault", FAULTS)
def test_no_session_without_a_reading(tmp_path, fault):
    text = HEAD + step(1, "meter", fault=fault) + tap(20) + step(23, "plug", kw=11)
    text += step(60, "end")
    result = run(tmp_path, text)
    assert result.records == [] and result.truth["sessions"] == []
    assert "Out of order | meter does not" in result.shown()
    assert "Not possible: | meter does not" in result.shown()
    assert "start_refused" in result.events
    assert {"meter_silent", "meter_fault"} & set(result.events)


@pytest.mark.parametrize("fault", sampled(FAULTS, 2))
def test_a_fault_in_between_is_flagged_and_costs_no_energy(tmp_path, fault):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(100, "meter", fault=fault)
    text += step(130, "meter", fault="none") + tap(300) + step(330, "end")
    result = run(tmp_path, text)
    check(result)
    assert "meter_gap" in result.records[0]["flags"]
    assert "meter_back" in result.events


@pytest.mark.parametrize("fault", sampled(FAULTS, 2))
def test_a_missing_reading_at_the_end_is_flagged(tmp_path, fault):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(290, "meter", fault=fault) + tap(300)
    result = run(tmp_path, text + step(330, "end"))
    (record,), (true,) = result.records, result.truth["sessions"]
    assert "end_reading_missing" in record["flags"]
    assert true["start_wh"] == record["meter"]["start_wh"]
    assert 0 <= true["end_wh"] - record["meter"]["end_wh"] <= 11000 * 13 / 3600
    assert result.verify() == 0


def test_a_meter_that_stays_silent_ends_the_session(tmp_path):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(100, "meter", fault="silent")
    result = run(tmp_path, text + step(300, "end"))
    assert result.records[0]["stop_reason"] == "MeterFault"
    assert result.truth["sessions"][0]["contactor_opened_at"] < 180
    assert result.verify() == 0


CONTINUE = HEAD + '[config]\nmeter_loss = "continue"\nmeter_loss_s = 120\n'


def test_a_session_that_goes_on_without_its_meter_loses_no_energy(tmp_path):
    text = CONTINUE + tap(5) + step(8, "plug", kw=11) + step(100, "meter", fault="silent")
    text += step(400, "meter", fault="none") + tap(500) + step(510, "unplug")
    result = run(tmp_path, text + step(600, "end"))
    check(result)
    assert result.records[0]["stop_reason"] == "Local"
    assert "meter_gap" in result.records[0]["flags"]


def test_the_end_of_a_session_waits_for_its_meter(tmp_path):
    text = CONTINUE + tap(5) + step(8, "plug", kw=11) + step(250, "meter", fault="silent")
    text += tap(300) + step(310, "unplug") + step(380, "meter", fault="none")
    result = run(tmp_path, text + step(450, "end"))
    check(result)
    record = result.records[0]
    assert record["stop_reason"] == "Local" and "end_reading_late" in record["flags"]
    assert record["clock"]["duration_ms"] < 300000
    assert "Out of order | meter does not | answer" in result.shown()


def test_the_end_of_a_session_does_not_wait_for_ever(tmp_path):
    text = CONTINUE + tap(5) + step(8, "plug", kw=11) + step(250, "meter", fault="silent")
    result = run(tmp_path, text + tap(300) + step(310, "unplug") + step(450, "end"))
    assert "end_reading_missing" in result.records[0]["flags"]
    assert result.verify() == 0


def test_a_swapped_meter_starts_nothing(tmp_path):
    text = HEAD + '[config]\nmeter_serial = "7654321"\n' + tap(5) + step(8, "plug", kw=11)
    result = run(tmp_path, text + step(40, "end"))
    assert result.records == [] and result.truth["sessions"] == []
    assert "meter_foreign" in result.events


BAD_CONFIGS = [
    (lambda c: c | {"brokerhost": "x"}, "unknown key brokerhost"),
    (lambda c: {k: v for k, v in c.items() if k != "ack_key"}, "ack_key is missing"),
    (lambda c: c | {"broker_port": 99999}, "broker_port must be a whole number from 1"),
]


@pytest.mark.parametrize(("spoil", "line"), BAD_CONFIGS)
def test_a_bad_configuration_leaves_a_safe_board_that_mpremote_reaches(tmp_path, spoil, line):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(30, "end")
    with charger(tmp_path, text) as playing:
        board, kernel = playing.charger.board, playing.charger.kernel
        port = Port(board.console.path, lambda said: None)
        path = "/data/config.json"

        def edit():
            config = json.loads(port.mpremote("fs", "cat", f":{path}"))
            port.put({path: json.dumps(spoil(config)).encode()}, tmp_path)

        board.power_on(mode="raw")
        play.while_pumping(kernel, edit)
        board.kill()
        playing.run()
        result = outcome(playing, tmp_path / "out")
        assert result.records == [] and result.truth["sessions"] == []
        assert "Out of order" in result.shown()
        console = (result.folder / "console.log").read_text()
        assert [said for said in console.splitlines() if line in said]
        assert "Traceback" not in console
        reached = play.while_pumping(kernel, lambda: port.mpremote("fs", "cat", f":{path}"))
        assert json.loads(reached)["charger_id"] == play.CHARGER


def test_tillctl_refuses_a_bad_configuration_before_it_touches_the_board(tmp_path):
    from tillctl import provision

    port = Port("/dev/no-such-port", lambda said: None)
    with pytest.raises(ConfigError, match=r"^keepalive_s must be a whole number from 10 to 600"):
        provision.provision(port, "DE*EVT*E1", {"broker_host": "b", "keepalive_s": 1}, b"", [])
    with pytest.raises(ConfigError, match="is not a card UID"):
        provision.provision(port, "DE*EVT*E1", {"broker_host": "b"}, b"", ["04A2"])


def test_an_unprovisioned_board_says_so(tmp_path):
    with charger(tmp_path, HEAD + step(10, "end")) as playing:
        board, kernel = playing.charger.board, playing.charger.kernel
        port = Port(board.console.path, lambda said: None)
        board.power_on(mode="raw")
        play.while_pumping(kernel, lambda: port.mpremote("fs", "rm", ":/data/config.json"))
        board.kill()
        playing.run()
        result = outcome(playing, tmp_path / "out")
    assert "no configuration" in result.shown()
