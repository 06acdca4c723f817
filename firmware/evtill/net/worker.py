"""One thread for the library calls that block: name look-up, TCP connect, TLS handshake, HTTPS."""

import asyncio

try:
    import _thread
except ImportError:  # a board without threads: the calls run inline, and the loop waits for them
    _thread = None


class Worker:
    """Runs one blocking call at a time beside the asyncio loop.

    The thread is started by the first call and rests in a lock's acquire() between jobs.
    `stack_bytes`: the thread's stack where the port's default is too small for a TLS handshake."""

    def __init__(self, stack_bytes=0):
        self._stack_bytes = stack_bytes
        self._turn = asyncio.Lock()
        self._go = None
        self._busy = False  # True from the hand-over of a job until its result is in place
        self._job = self._result = self._error = None
        if _thread:
            self._done = asyncio.ThreadSafeFlag()

    @property
    def busy(self):
        """Whether the thread is in a job, be its caller still waiting or cancelled."""
        return self._busy

    async def call(self, fn, *args):
        """fn(*args) in the thread: its result is returned, what it raises is raised here.

        A cancelled caller cannot stop fn: the next call waits for it to end, and closes what it
        returned when that has a close()."""
        async with self._turn:
            if not _thread:
                return fn(*args)
            await self._idle()
            self._discard()
            if not self._go:
                self._start()
            self._job = (fn, args)
            self._busy = True
            self._go.release()
            await self._idle()
            result, error = self._result, self._error
            self._result = self._error = None
            if error:
                raise error
            return result

    async def _idle(self):
        # A flag may be left over from a job whose caller was cancelled: `_busy` alone decides.
        while self._busy:
            await self._done.wait()

    def _discard(self):
        left = self._result
        self._result = self._error = None
        if hasattr(left, "close"):
            left.close()

    def _start(self):
        go = _thread.allocate_lock()
        go.acquire()
        if self._stack_bytes:
            _thread.stack_size(self._stack_bytes)
        _thread.start_new_thread(self._serve, (go,))
        self._go = go  # after the start, which raises when there is no memory: then tried again

    def _serve(self, go):
        while True:
            go.acquire()
            fn, args = self._job
            try:
                self._result = fn(*args)
            except BaseException as e:  # noqa: BLE001 - whatever it is, the caller gets it
                self._error = e
            fn = args = self._job = None
            self._busy = False
            self._done.set()
