"""`_thread` that knows whether a worker is busy: the clock must not pass while one is.

A worker is idle only while it waits for a lock. Whoever releases a lock that an idle worker waits
for makes it busy at that moment, not when the operating system gets round to waking it.
"""

import _thread

import link

get_ident = _thread.get_ident
stack_size = _thread.stack_size
_workers = set()
_guard = _thread.allocate_lock()  # of `_workers` and of every count below


def in_worker():
    return get_ident() in _workers


def start_new_thread(function, args, kwargs=None):
    with _guard:
        link.busy[0] += 1
    return _thread.start_new_thread(_run, (function, args, kwargs or {}))


def _run(function, args, kwargs):
    with _guard:
        _workers.add(get_ident())
    try:
        function(*args, **kwargs)
    finally:
        with _guard:
            _workers.discard(get_ident())
            link.busy[0] -= 1


class _Lock:
    def __init__(self):
        self._lock = _thread.allocate_lock()
        self._idle_workers = 0

    def acquire(self, waitflag=1, timeout=-1):
        if self._lock.acquire(0):
            return True
        if not waitflag:
            return False
        if in_worker():
            with _guard:
                if self._lock.acquire(0):
                    return True
                self._idle_workers += 1
                link.busy[0] -= 1
        return self._lock.acquire()

    def release(self):
        with _guard:
            if self._idle_workers:
                self._idle_workers -= 1
                link.busy[0] += 1
            self._lock.release()

    def locked(self):
        return self._lock.locked()

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.release()


def allocate_lock():
    return _Lock()
