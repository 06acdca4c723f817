"""`select` on the simulated clock: a poll that would wait asks the simulator to advance."""

from time import ticks_add, ticks_diff, ticks_ms

import link
import sim_thread
import uselect
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT  # noqa: F401

_LOOK_MS = 10  # simulated time passes while a worker waits, at the pace of real time


class poll:
    def __init__(self):
        self._poll = uselect.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout=-1):
        due = ticks_add(ticks_ms(), timeout) if timeout > 0 else 0
        while True:
            ready = self._poll.poll(0)
            if ready or timeout == 0:
                return ready
            left = -1
            if timeout > 0:
                left = ticks_diff(due, ticks_ms())
                if left <= 0:
                    return ready
            if sim_thread.in_worker():
                if self._poll.poll(_LOOK_MS):
                    continue
            else:
                link.advance(left)

    def ipoll(self, timeout=-1, flags=0):
        return iter(self.poll(timeout))
