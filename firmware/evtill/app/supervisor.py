"""Keeps the tasks alive: a task that dies is restarted and reported, one that hangs costs a reset.

Each task beats at least every `limit_ms`. The watchdog is fed only while all of them do.
"""

import asyncio
import sys
import time

if hasattr(sys, "print_exception"):
    _show = sys.print_exception
else:  # CPython
    from traceback import print_exception as _show

_FEED_MS = 1000
_RESTART_MS = 1000  # doubled at each death, up to:
_RESTART_MAX_MS = 60000
_STEADY_MS = 300000  # a task that lived this long starts from _RESTART_MS again


class Supervisor:
    """feed(): feeds the watchdog. report(name, detail): an event."""

    def __init__(self, feed, report):
        self._feed = feed
        self._report = report
        self._tasks = {}  # name: [factory, limit_ms, last beat, task]

    def add(self, name, factory, limit_ms):
        """`factory()` is the coroutine function of a task that beats at least every `limit_ms`."""
        self._tasks[name] = [factory, limit_ms, time.ticks_ms(), None]

    def beat(self, name):
        self._tasks[name][2] = time.ticks_ms()

    def alive(self):
        """Whether every task has beaten within its limit."""
        now = time.ticks_ms()
        for _, limit_ms, beat_ms, _ in self._tasks.values():
            if time.ticks_diff(now, beat_ms) > limit_ms:
                return False
        return True

    async def run(self):
        """Starts every task and feeds the watchdog, for ever."""
        for name in self._tasks:
            self.beat(name)
            self._tasks[name][3] = asyncio.create_task(self._keep(name))
        while True:
            if self.alive():
                self._feed()
            await asyncio.sleep_ms(_FEED_MS)

    async def _keep(self, name):
        pause_ms = _RESTART_MS
        while True:
            started = time.ticks_ms()
            try:
                await self._tasks[name][0]()
                why = "it returned"
            except Exception as e:  # noqa: BLE001  (whatever killed it is reported, and it lives on)
                _show(e)
                why = "%s: %s" % (type(e).__name__, e)
            if time.ticks_diff(time.ticks_ms(), started) > _STEADY_MS:
                pause_ms = _RESTART_MS
            self._report("task_restarted", "%s: %s" % (name, why))
            # Resting is not hanging: the watchdog waits for the task that is to come.
            self._tasks[name][2] = time.ticks_add(time.ticks_ms(), pause_ms)
            await asyncio.sleep_ms(pause_ms)
            self.beat(name)
            pause_ms = min(pause_ms * 2, _RESTART_MAX_MS)
