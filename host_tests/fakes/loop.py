"""An asyncio loop for CPython tests whose clock jumps to the next timer: no test ever sleeps."""

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # Nothing is due and no bytes can come: a real loop would hang here for ever.
            raise RuntimeError("the loop waits for something that never comes")
        self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time()` starts at 0 s and is exact arithmetic on the timers that were set."""

    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now_s


def run(coroutine):
    """(result, elapsed virtual milliseconds) of the coroutine on a fresh virtual loop."""
    loop = VirtualLoop()
    try:
        result = loop.run_until_complete(coroutine)
        return result, round(loop.time() * 1000)
    finally:
        loop.close()
