"""The socket's lock: driven for so long at most, and believed only by its feedback."""

import asyncio

import pytest

from evtill.drivers import lock as driver
from host_tests.fakes.loop import run
from host_tests.fakes.pins import Pin


class Motor:
    """A bolt that is where it is driven after `ms`; jams, as often as told to."""

    def __init__(self, ms=200, jams=0):
        self.outwards, self.inwards, self.feedback = self.pins = Pin(), Pin(), Pin()
        self.jams, self.drives, self._ms, self._since_ms, self._way = jams, 0, ms, None, 0
        self.longest_ms = 0

    async def sleep_ms(self, ms):
        await asyncio.sleep(ms / 1000)
        driven = self.inwards.level - self.outwards.level
        if driven != self._way:
            self._way, self._since_ms = driven, None
        assert not (self.inwards.level and self.outwards.level)
        if not driven:
            return
        if self._since_ms is None:
            self.drives += 1
            self._since_ms = 0
        self._since_ms += ms
        self.longest_ms = max(self.longest_ms, self._since_ms)
        if self._since_ms >= self._ms and self.drives > self.jams:
            self.feedback.level = int(driven > 0)

    def move(self, locked):
        self._way = 0
        return run(driver.move(self.pins, locked))


@pytest.fixture
def motor(monkeypatch):
    def make(**how):
        made = Motor(**how)
        monkeypatch.setattr(driver.asyncio, "sleep_ms", made.sleep_ms, raising=False)
        return made

    return make


def test_in_and_out_again(motor):
    one = motor()
    assert one.move(True) == (True, 200) and one.feedback.level
    assert one.move(False) == (True, 200)
    assert [pin.level for pin in one.pins] == [0, 0, 0]


def test_a_bolt_that_jams_once_is_tried_again(motor):
    one = motor(jams=1)
    assert one.move(True) == (True, 600 + 500 + 200)


@pytest.mark.parametrize("locked", [True, False])
def test_a_bolt_that_does_not_move_is_given_up_and_not_driven_on(motor, locked):
    one = motor(jams=99)
    one.feedback.level = int(not locked)
    assert one.move(locked) == (False, 3 * 600 + 2 * 500)
    assert one.longest_ms <= 600 and one.drives == 3
    assert (one.inwards.level, one.outwards.level) == (0, 0)


def test_the_motor_rests_when_nobody_waits_for_it_any_more(motor):
    one = motor()

    async def go():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(driver.move(one.pins, True), 0.12)

    run(go())
    assert (one.inwards.level, one.outwards.level) == (0, 0)
