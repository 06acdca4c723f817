"""The control pilot against IEC 61851-1:2017: levels, duties and cables as its tables say."""

import itertools
import random

import pytest

from evtill.drivers import pilot
from evtill.drivers.pilot import Pilot, duty_of, level_of
from host_tests import micropython
from host_tests.fakes.circuit import HIGH_MV, LOW_MV, Circuit
from tillsim.circuit import allowed_a

A, B, C, D, E, F = range(6)


@pytest.fixture
def circuit():
    return Circuit()


def made(circuit):
    return Pilot(circuit, circuit, LOW_MV, HIGH_MV)


def looks(pilot, n=12):
    return [pilot.sample() for _ in range(n)]


# Table A.4: each level's nominal voltage, and 1 V to both sides of it.
NOMINAL = [(12, A), (9, B), (6, C), (3, D), (0, E), (-12, F)]


@pytest.mark.parametrize(("volts", "level"), NOMINAL)
@pytest.mark.parametrize("before", range(6))
def test_a_level_holds_within_a_volt_of_its_nominal_one(volts, level, before):
    for mv in range(volts * 1000 - 1000, volts * 1000 + 1001, 50):
        assert level_of(mv, before) == level


@pytest.mark.parametrize(("edge", "levels"), [(10.5, (A, B)), (7.5, (B, C)), (4.5, (C, D))])
def test_what_swings_around_the_middle_between_two_levels_stays_what_it_was(edge, levels):
    for before in levels:
        now = before
        for mv in itertools.chain.from_iterable([(edge * 1000 - d, edge * 1000 + d) for d in
                                                 range(0, 390, 10)]):  # fmt: skip
            now = level_of(int(mv), now)
            assert now == before


# Table A.7 (and A.8, the same from the car's side): duty in percent for A.
@pytest.mark.parametrize(
    ("amperes", "percent"),
    [(6, 10), (10, 16.67), (16, 26.67), (20, 33.33), (32, 53.33), (51, 85), (52, 84.8), (63, 89.2),
     (80, 96), (90, 96), (5, 100), (0, 100), (-3, 100)],
)  # fmt: skip
def test_the_duty_for_a_current(amperes, percent):
    assert duty_of(amperes) / 655.35 == pytest.approx(percent, abs=0.01)


@pytest.mark.parametrize("amperes", [*range(6, 81)])
def test_a_car_reads_no_more_than_was_meant(amperes):
    """As the simulated car does it, by table A.8."""
    meant = allowed_a(duty_of(amperes))
    least = 50.8 if amperes == 52 else amperes - 0.01  # 52 A is on the other line's side of 85 %
    assert least <= meant <= amperes or meant == 6 == amperes


@pytest.mark.parametrize(("volts", "level"), NOMINAL)
@pytest.mark.parametrize("amperes", [0, 6, 16, 32, 80])
def test_each_level_is_seen_with_any_duty(circuit, volts, level, amperes):
    seen = made(circuit)
    seen.offer(amperes)
    circuit.volts = volts
    assert looks(seen)[-1] == level and seen.offers() == (amperes > 0)


def test_a_bounce_is_no_change_and_a_change_takes_a_while(circuit):
    seen = made(circuit)
    circuit.volts = 6
    assert looks(seen, 3) == [A, C, C]
    for volts in (12, 9, 3, 0, -12):
        circuit.volts = volts
        bounce = looks(seen, 1)
        circuit.volts = 6
        assert bounce + looks(seen, 4) == [C] * 5
    circuit.volts = 12  # a plug that is pulled: 300 ms at 50 ms each
    assert looks(seen, 7) == [C] * 5 + [A] * 2
    circuit.volts = 0
    assert looks(seen, 10) == [A] * 9 + [E]


def test_noise_and_spikes_end_no_session(circuit):
    rng = random.Random(7)
    seen = made(circuit)
    seen.offer(16)
    circuit.volts = 6
    looks(seen)
    # +-0.8 V of noise, and a spike of any height in each sample
    circuit.noise = lambda: rng.uniform(-80, 80)
    assert set(looks(seen, 300)) == {C}
    spikes = itertools.cycle([rng.uniform(-2000, 2000)] + [0] * 31)
    circuit.noise = lambda: next(spikes)
    assert set(looks(seen, 300)) == {C}


def test_a_resistor_without_a_diode_is_no_car(circuit):
    seen = made(circuit)
    circuit.volts, circuit.diode = 6, False
    assert looks(seen)[-1] == C  # nobody can tell while the pilot is steady
    seen.offer(16)
    assert looks(seen)[-1] == E
    circuit.diode = True
    assert looks(seen)[-1] == C


def test_the_duty_is_set_when_it_changes(circuit):
    seen = made(circuit)
    for amperes in (16, 16, 16, 0, 0, 16):
        seen.offer(amperes)
    assert circuit.duties == [65535, duty_of(16), 65535, duty_of(16)]


@pytest.mark.parametrize("bits", [32, 64])
def test_a_look_takes_no_heap_on_the_board(bits):
    """The same levels there, with the heap locked: any allocation would be a MemoryError."""
    code = """
import micropython
from evtill.drivers.inputs import Inputs
from evtill.drivers.pilot import Pilot
class Part:
    def read_uv(self): return self.mv * 1000
    def duty_u16(self, duty): pass
    def value(self): return self.mv & 1
part = Part()
part.mv = 2900
pilot = Pilot(part, part, 500, 2900)
inputs = Inputs([(part, 1), (part, 2)])
seen = bytearray(6)
def look():
    for i in range(6):
        part.mv = (2900, 2600, 2300, 2001, 1700, 500)[i]
        pilot.offer(0)
        for _ in range(12):
            pilot.sample()
            inputs.sample()
        seen[i] = pilot.level
        pilot.offer(16)
micropython.heap_lock()
look()
micropython.heap_unlock()
print(list(seen), inputs.state)
"""
    assert micropython.run(code, bits=bits).split("\n")[0] == f"{[A, B, C, D, E, F]} 0"
    assert pilot.LETTERS == "ABCDEF"
