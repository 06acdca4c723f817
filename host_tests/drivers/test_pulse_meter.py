"""Pulse meters: what counts as a pulse, what is kept, and what power follows."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtill.core.errors import MeterError
from evtill.drivers.pulse import PulseMeter
from host_tests import micropython
from host_tests.fakes.loop import run


class Pin:
    IRQ_FALLING, IRQ_RISING = 1, 2

    def __init__(self):
        self.level = 1

    def value(self):
        return self.level

    def irq(self, handler, trigger):
        assert trigger == 3
        self.handler = handler

    def set(self, level):
        if level != self.level:
            self.level = level
            self.handler(self)


class Store:
    def __init__(self, count=None):
        self.kept = [] if count is None else [count]
        self.broken = False

    def load(self):
        if self.broken:
            raise OSError(5)
        return self.kept[-1] if self.kept else None

    def save(self, count):
        if self.broken:
            raise OSError(28)
        self.kept.append(count)


async def pulses(pin, lengths_ms, pause_ms=60):
    for ms in lengths_ms:
        pin.set(0)
        await asyncio.sleep(ms / 1000)
        pin.set(1)
        await asyncio.sleep(pause_ms / 1000)


def metered(go, store=None, **options):
    async def main():
        pin = Pin()
        store_ = store or Store()
        meter = PulseMeter(pin, options.pop("per_kwh", 1000), store_.load, store_.save, **options)
        return await go(pin, meter)

    return run(main())[0]


def test_a_pulse_is_a_wh():
    async def go(pin, meter):
        await pulses(pin, [30] * 7)
        return (await meter.read()).energy_wh, await meter.read_energy_wh()

    assert metered(go) == (7, 7)
    assert metered(go, start_wh=1045120) == (1045127, 1045127)
    assert metered(go, per_kwh=800) == (8, 8)  # 8.75


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(30, 90), st.lists(st.integers(1, 15), max_size=6))))
def test_bouncing_and_spikes_never_count(sequence):
    """Each pulse with bounces of up to 15 ms before it settles and after it ends."""

    async def go(pin, meter):
        for length_ms, bounces in sequence:
            await pulses(pin, bounces, 2)  # on its way in
            await pulses(pin, [length_ms], 2)
            await pulses(pin, bounces, 2)  # on its way out
            await asyncio.sleep(0.03)
        return meter.count

    assert metered(go) == len(sequence)


def test_power_follows_the_pulses_and_falls_without_them():
    async def go(pin, meter):
        powers = [(await meter.read()).power_w]
        await pulses(pin, [30] * 3, 297)  # 3 a second and a bit: 327 ms
        powers.append((await meter.read()).power_w)
        await asyncio.sleep(0.7)
        powers.append((await meter.read()).power_w)
        await asyncio.sleep(0.4)
        powers.append((await meter.read()).power_w)
        await pulses(pin, [30])
        powers.append((await meter.read()).power_w)
        return powers

    nothing, full, falling, overdue, alone = metered(go)
    assert (nothing, overdue, alone) == (0, 0, 0)
    assert full == 3600000 // 327
    assert falling == 3600000 // 997


def test_the_count_outlives_a_power_cut_and_is_never_over():
    store = Store()

    async def go(pin, meter):
        for _ in range(25):
            await pulses(pin, [30] * 10)
            await meter.read()
        return meter.count

    assert metered(go, store) == 250
    assert store.kept == [100, 200]

    async def again(pin, meter):
        return await meter.read_energy_wh()

    assert metered(again, store) == 200

    async def billed(pin, meter):
        await pulses(pin, [30] * 3)
        meter.keep_now()
        meter.keep_now()
        return meter.count

    assert metered(billed, store) == 203
    assert store.kept == [100, 200, 203]


def test_flash_that_fails_is_a_meter_error():
    store = Store(5)

    async def go(pin, meter):
        await pulses(pin, [30] * 2)
        store.broken = True
        with pytest.raises(MeterError, match="kept"):
            meter.keep_now()
        store.broken = False
        meter.keep_now()
        return store.kept

    assert metered(go, store) == [5, 7]
    store.broken = True
    with pytest.raises(MeterError, match="read"):
        metered(go, store)


def test_it_says_nothing_of_itself():
    async def go(pin, meter):
        await meter.identify()
        return await meter.read_serial(), meter.step_wh

    assert metered(go, nameplate="S0-1", per_kwh=100) == ("S0-1", 10)
    with pytest.raises(MeterError):
        metered(go)
    with pytest.raises(MeterError):
        metered(go, per_kwh=0)


BOARD = """
import time
from evtill.drivers.pulse import PulseMeter
class Pin:
    IRQ_FALLING, IRQ_RISING = 1, 2
    level = 1
    def value(self): return self.level
    def irq(self, handler, trigger): self.handler = handler
    def set(self, level):
        self.level = level
        self.handler(self)
pin = Pin()
meter = PulseMeter(pin, 1000, lambda: 41, print)
for ms in (5, 25, 5, 30):
    pin.set(0)
    time.sleep_ms(ms)
    pin.set(1)
    time.sleep_ms(5)
import gc
gc.collect()
before = gc.mem_alloc()
pin.handler(pin)
print(meter.count, gc.mem_alloc() - before)
"""


def test_on_micropython_an_edge_takes_no_heap():
    count, taken = micropython.run(BOARD).split()
    assert count == "43"
    assert int(taken) <= 32  # the test's own bound method


def test_a_pulse_that_is_active_at_boot_counts_only_if_it_goes_on():
    async def go(pin, meter):
        await asyncio.sleep(0.005)
        pin.set(1)
        return meter.count

    async def main():
        pin = Pin()
        pin.level = 0
        meter = PulseMeter(pin, 1000, lambda: None, print)
        return await go(pin, meter)

    assert run(main())[0] == 0
