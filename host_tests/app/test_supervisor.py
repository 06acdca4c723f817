"""The supervisor: dead tasks are restarted and reported; the watchdog needs all of them alive."""

import asyncio
import itertools

import pytest

from evtill.app.supervisor import Supervisor
from host_tests.app.fakes import FakeTicks, ticks  # noqa: F401


def run_until(supervisor, done):
    async def main():
        task = asyncio.create_task(supervisor.run())
        for _ in range(100000):
            await asyncio.sleep(0)
            if done():
                break
        task.cancel()
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
        assert done()

    asyncio.run(main())


@pytest.mark.parametrize("error", [ValueError("broken"), MemoryError(), OSError(5)])
def test_a_dead_task_is_restarted_and_reported(ticks: FakeTicks, error, capsys):  # noqa: F811
    reports, lives, fed = [], [], []
    supervisor = Supervisor(lambda: fed.append(ticks.now_ms), lambda *event: reports.append(event))

    async def dies():
        lives.append(ticks.now_ms)
        raise error

    supervisor.add("meter", dies, 5000)
    run_until(supervisor, lambda: len(lives) >= 6)
    assert reports[0][0] == "task_restarted"
    assert reports[0][1].startswith(f"meter: {type(error).__name__}")
    pauses = [b - a for a, b in itertools.pairwise(lives)]
    assert pauses == sorted(pauses) and pauses[-1] > pauses[0]  # it backs off
    assert fed  # a task that rests between lives does not starve the watchdog


def test_a_hanging_task_starves_the_watchdog(ticks: FakeTicks):  # noqa: F811
    fed = []
    supervisor = Supervisor(lambda: fed.append(ticks.now_ms), lambda *event: None)

    async def hangs():
        await asyncio.Event().wait()

    async def beats():
        while True:
            supervisor.beat("plug")
            await asyncio.sleep_ms(100)

    supervisor.add("meter", hangs, 3000)
    supervisor.add("plug", beats, 3000)
    run_until(supervisor, lambda: ticks.now_ms > 20000)
    assert 0 < max(fed) <= 5000


def test_a_task_that_returns_has_died(ticks: FakeTicks):  # noqa: F811
    reports = []
    supervisor = Supervisor(lambda: None, lambda *event: reports.append(event))

    async def returns():
        return

    supervisor.add("uplink", returns, 5000)
    run_until(supervisor, lambda: reports)
    assert reports[0] == ("task_restarted", "uplink: it returned")
