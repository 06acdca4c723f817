"""`select` on the simulated clock: a poll that would wait asks the simulator to advance."""

from time import ticks_add, ticks_diff, ticks_ms

import link
import sim_thread
import uselect
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT  # noqa: F401

_LOOK_MS = 10  # simulated time passes while a worker waits, at the pace of real time
# Where something without a descriptor is among what it polls (TLS), uselect waits for a real
# millisecond even if it shall not wait at all, but where a descriptor is ready, as this one is.
_READY = open("/dev/zero", "rb")


class poll:
    def __init__(self):
        self._poll = uselect.poll()
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister
        self._hurry = False

    def register(self, stream, events=POLLIN | POLLOUT):
        self._poll.register(stream, events)
        no_descriptor = type(stream).__name__ == "SSLSocket"
        if no_descriptor and not self._hurry and not sim_thread.in_worker():
            self._hurry = True
            self._poll.register(_READY, POLLIN)

    def _now(self):
        """What is ready."""
        ready = self._poll.poll(0)
        return [one for one in ready if one[0] is not _READY] if self._hurry else ready

    def poll(self, timeout=-1):
        due = ticks_add(ticks_ms(), timeout) if timeout > 0 else 0
        while True:
            ready = self._now()
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
