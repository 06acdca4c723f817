"""Status light and buzzer: what each status looks and sounds like."""

import re

import pytest

from evtill.drivers import buzzer, status_light
from host_tests.app.test_pictures import SCREENS

STATUSES = sorted({screen[0] for screen in SCREENS.values()})


class Leds:
    def __init__(self):
        self.colour = (0, 0, 0)
        self.writes = 0

    def fill(self, colour):
        self._next = colour

    def write(self):
        self.colour = self._next
        self.writes += 1


class Pwm:
    def __init__(self):
        self.hz = self.duty = 0

    def freq(self, hz):
        self.hz = hz

    def duty_u16(self, duty):
        self.duty = duty


def seen(status, beats=32):
    """(rhythm, colours) of a status."""
    leds = Leds()
    light = status_light.StatusLight(leds)
    colours = []
    for _ in range(beats):
        light.tick(status)
        colours.append(leds.colour)
    return "".join(".#"[any(colour)] for colour in colours), {c for c in colours if any(c)}


def heard(*statuses):
    pwm = Pwm()
    sound = buzzer.Buzzer(pwm)
    tones = []
    for status in statuses:
        sound.tick(status)
        tones.append(pwm.hz if pwm.duty else 0)
    return tones


def test_every_status_has_a_rhythm_that_tells_it_from_all_others():
    rhythms = {status: seen(status)[0] for status in STATUSES}
    twice = {(a, b) for a in rhythms for b in rhythms if a < b
             and rhythms[a] in rhythms[b] * 2}  # wherever one begins to look  # fmt: skip
    assert not twice and all("#" in rhythm for rhythm in rhythms.values())
    assert all(len(seen(status)[1]) == 1 for status in STATUSES)


@pytest.mark.parametrize("status", STATUSES)
def test_nothing_flashes_more_than_three_times_a_second(status):
    rhythm = seen(status)[0]
    for start in range(len(rhythm) - 8):
        assert len(re.findall(r"\.#", rhythm[start : start + 9])) <= 3


def test_the_light_is_written_only_when_it_changes():
    leds = Leds()
    light = status_light.StatusLight(leds)
    for _ in range(100):
        light.tick("idle")
    assert leds.writes == 1
    light.tick("nobody knows")
    assert leds.writes == 1 and any(leds.colour)


def test_a_new_status_begins_its_rhythm_at_once():
    leds = Leds()
    light = status_light.StatusLight(leds)
    for _ in range(5):
        light.tick("refused")
    light.tick("idle")
    assert leds.colour == (0, 40, 0)


def test_answers_are_told_apart_by_ear_and_end():
    assert heard(*["plug"] * 5) == [1500, 2000, 0, 0, 0]
    assert heard(*["finished"] * 5) == [2000, 1500, 1000, 0, 0]
    assert heard(*["refused"] * 7) == [400, 0, 400, 400, 0, 0, 0]
    assert heard("idle", "charging", "fault") == [0, 0, 0]


def test_another_status_ends_a_tune_and_the_same_again_begins_it():
    assert heard("finished", "idle", "idle") == [2000, 0, 0]
    assert heard("refused", "refused", None, "refused") == [400, 0, 0, 400]
