"""The charger's clock: what it trusts, and arithmetic that no step of the wall clock disturbs."""

from evtill.app.clock import SYNC_VALID_MS, Clock
from host_tests.app.fakes import FakeTicks, ticks  # noqa: F401

NOON_S = 1772452800  # 2026-03-02T12:00:00Z


def test_unset_until_something_says_the_time(ticks: FakeTicks):  # noqa: F811
    clock = Clock(lambda: 946684800)  # an ESP32's clock after power-on: 2000-01-01
    assert not clock.look()
    assert (clock.trust(), clock.unix_ms()) == ("U", None)


def test_the_battery_backed_clock_is_informative(ticks: FakeTicks):  # noqa: F811
    clock = Clock(lambda: NOON_S)
    assert clock.look()
    ticks.now_ms += 1500
    assert (clock.trust(), clock.unix_ms()) == ("I", NOON_S * 1000 + 1500)


def test_synchronised_for_two_days(ticks: FakeTicks):  # noqa: F811
    clock = Clock(None)
    assert clock.synchronise(NOON_S * 1000) == 0
    assert clock.trust() == "S"
    for _ in range(49):
        ticks.now_ms += SYNC_VALID_MS // 48
        clock.now_ms()
    assert clock.trust() == "I"


def test_a_step_is_told_and_moves_no_duration(ticks: FakeTicks):  # noqa: F811
    clock = Clock(lambda: NOON_S)
    clock.look()
    started_ms = clock.now_ms()
    ticks.now_ms += 60000
    assert clock.synchronise((NOON_S + 3660) * 1000) == 3600000
    assert clock.now_ms() - started_ms == 60000


def test_an_earlier_instant_is_put_right_by_arithmetic(ticks: FakeTicks):  # noqa: F811
    clock = Clock(None)
    ticks.now_ms = 5000
    started_ms = clock.now_ms()
    ticks.now_ms = 65000
    clock.synchronise(NOON_S * 1000)
    assert clock.unix_ms(started_ms) == (NOON_S - 60) * 1000


def test_absurd_times_are_refused(ticks: FakeTicks):  # noqa: F811
    clock = Clock(lambda: 5)
    assert clock.synchronise(0) is None
    assert clock.synchronise(1 << 62) is None
    assert clock.trust() == "U"


def test_ticks_may_wrap(ticks: FakeTicks):  # noqa: F811
    clock = Clock(None)
    for _ in range(40):
        ticks.now_ms += 86400000
        assert clock.now_ms() == ticks.now_ms
