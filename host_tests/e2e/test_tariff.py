"""Tariffs on the charger: prices that change during a session, and files that arrive damaged."""

import json

import pytest

from host_tests.e2e.charger import CARD, HEAD, charger, check, outcome, run, session, step, tap
from tillctl.port import Port
from tillctl.tariff_compile import compile_tariff
from tillsim import play

PEAK = {
    "id": "DE*EVT*PEAK", "currency": "EUR", "country_code": "DE", "party_id": "EVT",
    "last_updated": "2026-01-01T00:00:00Z",
    "elements": [
        {"price_components": [{"type": "ENERGY", "price": 0.40, "vat": 19.0, "step_size": 1}],
         "restrictions": {"end_time": "08:30"}},
        {"price_components": [{"type": "ENERGY", "price": 0.80, "vat": 19.0, "step_size": 1}]},
    ],
}  # fmt: skip


def with_tariff(tmp_path, tariff, text):
    (tmp_path / "tariff.json").write_text(json.dumps(tariff))
    return 'tariff = "tariff.json"\n' + text


def test_the_meter_is_read_where_the_price_changes(tmp_path):
    """Power-on at 08:14 local time: 08:30 is 960 s later, in the middle of the session."""
    text = with_tariff(tmp_path, PEAK, HEAD + session(5, 30) + step(1850, "end"))
    result = run(tmp_path, text)
    check(result)
    (record,) = result.records
    assert "edge_interpolated" not in record["flags"]
    first, second = record["charging_periods"]
    assert second["start_date_time"] == "2026-03-02T07:30:00Z"
    assert [p["dimensions"][0]["price_micro"] for p in (first, second)] == [400000, 800000]
    cheap_wh = first["dimensions"][0]["volume_wh"]
    true = result.truth["sessions"][0]
    expected_wh = 11000 * (960 - true["contactor_closed_at"]) / 3600
    assert abs(cheap_wh - expected_wh) <= 11000 * 0.5 / 3600 + 1
    dear_wh = record["total_energy_wh"] - cheap_wh
    incl = (cheap_wh * 0.40 + dear_wh * 0.80) / 1000 * 1.19
    assert record["total_cost"]["incl_minor"] == pytest.approx(incl * 100, abs=0.51)
    assert "0.476 EUR/kWh" in result.shown()


def test_a_windowed_tariff_needs_a_clock(tmp_path):
    text = f'tokens = ["{CARD}"]\n' + tap(5) + step(8, "plug", kw=11) + step(40, "end")
    result = run(tmp_path, with_tariff(tmp_path, PEAK, text))
    assert result.records == [] and result.truth["sessions"] == []
    assert "clock is not set" in result.shown()


def _rewrite(playing, tmp_path, content):
    """Puts `content` in the place of the tariff, over the serial port, and boots again."""
    board, kernel = playing.charger.board, playing.charger.kernel
    port = Port(board.console.path, lambda said: None)
    board.kill()
    board.power_on(mode="raw")
    play.while_pumping(kernel, lambda: port.put({"/data/tariff.bin": content}, tmp_path))
    board.kill()
    board.power_on()


@pytest.mark.parametrize("damage", ["cut", "flipped", "version", "missing"])
def test_a_damaged_table_leaves_the_old_tariff_in_force(tmp_path, damage):
    with charger(tmp_path, HEAD + step(10, "end")) as playing:
        playing.run()
        table = playing.table
        bad = {
            "cut": table[:-3], "missing": b"",
            "flipped": table[:20] + bytes([table[20] ^ 4]) + table[21:],
            "version": table[:2] + bytes([table[2] + 1]) + table[3:],
        }[damage]  # fmt: skip
        _rewrite(playing, tmp_path, bad)
        kernel = playing.charger.kernel
        begin = kernel.now_ms
        for at_s, do, args in ((5, "tap", {"uid": CARD}), (8, "plug", {"kw": 11}),
                               (200, "tap", {"uid": CARD})):  # fmt: skip
            kernel.at(begin + at_s * 1000,
                      lambda do=do, args=args: playing.charger.do(do, args))  # fmt: skip
        kernel.at(begin + 260_000, kernel.stop)
        kernel.run()
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert "tariff_invalid" in result.events
    assert result.records[0]["tariff"]["id"] == "DE*EVT*T1"


def test_an_open_session_keeps_its_tariff_when_another_one_arrives(tmp_path):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(300, "end")
    with charger(tmp_path, text) as playing:
        playing.run()
        _rewrite(playing, tmp_path, compile_tariff(PEAK, "Europe/Amsterdam"))
        kernel = playing.charger.kernel
        kernel.after(60_000, kernel.stop)
        kernel.run()
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert result.records[0]["tariff"]["id"] == "DE*EVT*T1"
    assert result.records[0]["stop_reason"] == "PowerLoss"
