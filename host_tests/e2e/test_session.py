"""Whole sessions on the virtual charger: what the driver sees, what the backend gets."""

import pytest

from host_tests.e2e.charger import CARD, HEAD, charger, check, outcome, run, session, step, tap


@pytest.mark.parametrize(
    ("bits", "minutes", "kwh"), [(32, 60, "10.9"), (64, 10, "1.8")], ids=["32", "64"]
)
def test_tap_charge_tap(tmp_path, bits, minutes, kwh):
    text = HEAD + session(5, minutes) + step(40 + 60 * minutes, "end")
    result = run(tmp_path, text, bits=bits)
    check(result)
    record = result.records[0]
    true = result.truth["sessions"][0]
    assert record["stop_reason"] == "Local"
    assert record["flags"] == []
    assert record["clock"]["start"] == record["clock"]["end"] == "S"
    assert record["start_date_time"] == "2026-03-02T07:14:08Z"
    assert abs(record["total_energy_wh"] - 11000 * minutes / 60) < 100
    closed_s = true["contactor_opened_at"] - true["contactor_closed_at"]
    assert abs(record["clock"]["duration_ms"] / 1000 - closed_s) < 1
    # 0.50 + 0.49 a kWh + 1.20 an hour in whole minutes, by hand; 19 % VAT on all of it
    begun = -(-record["total_time_ms"] // 60000)
    excl = 0.50 + 0.49 * record["total_energy_wh"] / 1000 + 1.20 * begun / 60
    assert record["total_cost"]["excl_minor"] == pytest.approx(excl * 100, abs=0.51)
    assert record["total_cost"]["incl_minor"] == pytest.approx(excl * 119, abs=0.51)
    shown = result.shown()
    for words in ("Ready: tap your card", "Card accepted", f"| {kwh}", " 11.0 kW |", "Finished"):
        assert words in shown
    assert "session_started" in result.events and "session_stopped" in result.events


def test_two_sessions_are_chained(tmp_path):
    result = run(tmp_path, HEAD + session(5, 5) + session(400, 5) + step(800, "end"))
    check(result, sessions=2)


def test_an_unknown_card(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + tap(5, "11223344") + step(30, "end")
    result = run(tmp_path, text)
    assert result.records == [] and result.truth["sessions"] == []
    assert "Not possible: | card is not known" in result.shown()
    assert "token_unknown" in result.events


def test_a_card_that_stays_is_one_tap_and_a_second_presentation_another(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + tap(5) + tap(65) + tap(125) + tap(185) + step(250, "end")
    check(run(tmp_path, text), sessions=2)


def test_another_card_does_not_stop_the_session(tmp_path):
    text = HEAD.replace(f'"{CARD}"', f'"{CARD}", "11223344"')
    text += tap(5) + step(8, "plug", kw=11) + tap(60, "11223344") + tap(120) + step(160, "end")
    result = run(tmp_path, text)
    check(result)
    assert "Only the card that" in result.shown()
    assert result.records[0]["clock"]["duration_ms"] > 100000


def test_pulling_the_plug_ends_the_session(tmp_path):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(300, "unplug") + step(330, "end")
    result = run(tmp_path, text)
    check(result)
    assert result.records[0]["stop_reason"] == "EVDisconnected"


def test_a_full_car_stops_the_charging_time(tmp_path):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(608, "power", kw=0) + tap(1208)
    result = run(tmp_path, text + step(1240, "end"))
    check(result)
    record = result.records[0]
    assert abs(record["total_time_ms"] - 600000) < 3000
    assert abs(record["total_parking_time_ms"] - 600000) < 3000
    assert "Paused " in result.shown()


def test_no_plug_in_time_lets_the_authorisation_go(tmp_path):
    text = HEAD + "[config]\nplug_timeout_s = 20\n" + tap(5) + step(40, "plug", kw=11)
    result = run(tmp_path, text + step(60, "end"))
    assert result.records == [] and result.truth["sessions"] == []
    assert "no plug in time" in result.shown()


def test_a_clock_that_is_never_set(tmp_path):
    text = f'tokens = ["{CARD}"]\n' + session(5, 10) + step(650, "end")
    result = run(tmp_path, text)
    check(result)
    record = result.records[0]
    assert record["clock"]["start"] == record["clock"]["end"] == "U"
    assert "clock_unset" in record["flags"]
    assert " U" in record["ocmf"] and " S" not in record["ocmf"]


def test_a_clock_that_is_set_during_the_session(tmp_path):
    text = f'tokens = ["{CARD}"]\n' + session(5, 10)
    text += step(300, "clock", set="2026-03-02T07:19:00Z") + step(650, "end")
    result = run(tmp_path, text)
    check(result)
    record = result.records[0]
    assert record["start_date_time"] == "2026-03-02T07:14:08Z"
    assert record["clock"] == {**record["clock"], "start": "R", "end": "S"}
    assert "clock_set_late" in record["flags"]


def test_a_stepped_clock_changes_no_duration(tmp_path):
    text = HEAD + session(5, 10) + step(300, "clock", step=3600) + step(650, "end")
    result = run(tmp_path, text)
    check(result)
    assert abs(result.records[0]["clock"]["duration_ms"] - 597000) < 2000


def test_noise_on_the_readers_line(tmp_path):
    with charger(tmp_path, HEAD + session(5, 10) + step(650, "end")) as playing:
        line, reader = playing.charger.reader_line, playing.charger.reader
        for i in range(100):
            noise = reader.garbage(1 + i, seed=i)
            playing.besides.append((3000 + 6000 * i, lambda noise=noise: line.deliver(noise)))
        playing.run()
        check(outcome(playing, tmp_path / "out"))


def test_taps_at_any_phase_of_the_readers_polling(tmp_path):
    text, at = HEAD + step(3, "plug", kw=11), 5.0
    for i in range(12):
        text += tap(round(at, 3))
        at += 9.0 + 0.037 * i
    check(run(tmp_path, text + step(at + 30, "end")), sessions=6)


def test_real_time_mode(tmp_path):
    """The same charger at the pace of the real clock: a session of five seconds takes five."""
    import time

    text = HEAD + tap(2) + step(3, "plug", kw=11) + tap(8) + step(10, "end")
    began = time.monotonic()
    result = run(tmp_path, text, real_time=True)
    check(result)
    assert time.monotonic() - began > 10
    assert result.records[0]["clock"]["duration_ms"] == pytest.approx(5000, abs=1500)
