"""Events on their way to the backend: a bounded ring of two files, apart from the records' log.

Too many events in a minute are dropped at once; when both files are full, the older one goes. What
was dropped is counted, durably. Nothing here takes room from a session. While flash fails, the
first few events wait in RAM.
"""

import struct

from evtill.core.done_set import DoneSet
from evtill.core.errors import JournalError
from evtill.core.frames import FrameReader, encode
from evtill.core.outbox import Window

_NAMES = ("e0", "e1")
_HALF_BYTES = 12288  # three blocks of 4 KiB a file
_BURST = 20
_REFILL_MS = 6000  # then ten a minute
_HELD_MAX = 4
_HELD_LOOKS = 10  # next_waiting() calls, one a second, between attempts to write them
_STATE = 0
_EVENT = 1
# version, next seq, first seq not done, dropped; then done_set's bits
_STATE_FORMAT = "<BIII"
_STATE_BYTES = 13
VERSION = 1


class EventRing(Window):
    """The events' own outbox. store: see frames.py, for this ring alone.

    Its log is an object of its own: private names that the build shortens could clash with those
    of a base class in another file."""

    def __init__(self, store, half_bytes=_HALF_BYTES):
        super().__init__(_Ring(store, half_bytes))
        self.put = self._log.put

    def dropped(self):
        """Events lost so far, ever: to the rate limit, the ring's size, failing flash, refusal."""
        return self._log.dropped


class _Ring:
    def __init__(self, store, half_bytes):
        self._store = store
        self._reader = FrameReader(store)
        self._half_bytes = half_bytes
        self._tokens = _BURST
        self._refilled_ms = None
        self.dropped = 0
        self._seqs = DoneSet(0, 0, b"")
        self._current = 0  # the file that is appended to
        self._first = [0, 0]  # the first seq that each file may hold
        self._broken = False
        self._held = []  # (id, payload) that flash did not take
        self._looks = 0
        try:
            self._load()
        except OSError:
            self._broken = True

    def put(self, event_id, payload, now_ms):
        """Keeps an event (ASCII id, bytes). Whether it is durable: if not, it is dropped, or held
        until flash takes it. Never raises."""
        if not self._allowed(now_ms):
            self.dropped += 1
            return False
        if len(self._held) == _HELD_MAX and not self._write_held():
            self.dropped += 1
            return False
        self._held.append((event_id.encode(), payload))
        return self._write_held()

    def _write_held(self):
        """Whether none is held any more."""
        self._looks = 0
        while self._held:
            event_id, payload = self._held[0]
            dropped = self.dropped
            end = self._seqs.end
            try:
                if self._broken:
                    self._load()
                    end = self._seqs.end
                self._seqs.grow(end + 1)
                self._append(
                    encode(_EVENT, end, bytes((len(event_id),)), event_id, payload), len(payload)
                )
            except OSError:
                self._broken = True  # what is in flash is read again before the next
                if self._seqs.end > end:
                    self._seqs.grow(end)  # nobody may look for what was not written
                self.dropped = dropped
                return False
            self._held.pop(0)
        return True

    def _allowed(self, now_ms):
        if self._refilled_ms is None:
            self._refilled_ms = now_ms
        n = (now_ms - self._refilled_ms) // _REFILL_MS
        if n > 0:
            self._refilled_ms += n * _REFILL_MS
            self._tokens = min(_BURST, self._tokens + n)
        if self._tokens == 0:
            return False
        self._tokens -= 1
        return True

    def _append(self, chunks, n_bytes=0):
        name = _NAMES[self._current]
        names = self._store.names()
        if name in names and self._store.size(name) + n_bytes + 100 > self._half_bytes:
            self._turn(names)
            name = _NAMES[self._current]
        seqs = self._seqs
        state = struct.pack(_STATE_FORMAT, VERSION, seqs.end, seqs.base, self.dropped) + seqs.bits
        self._store.append(name, *chunks, *encode(_STATE, seqs.end, state))
        seqs.unsaved = 0

    def _turn(self, names):
        """Goes on in the other file; what it held is dropped."""
        first = self._first[self._current]
        seq = self._seqs.next(0)
        while seq is not None and seq < first:
            self.dropped += 1
            self._seqs.done(seq)
            seq = self._seqs.next(seq)
        self._current ^= 1
        self._first[self._current] = self._seqs.end - 1
        if _NAMES[self._current] in names:
            self._store.remove(_NAMES[self._current])

    def _load(self):
        """The newer file is the one whose last state is the later one."""
        latest = -1
        dropped = self.dropped
        end = base = 0
        bits = b""
        for i, name in enumerate(_NAMES):
            if name not in self._store.names():
                continue
            self._first[i] = -1
            for offset, kind, sequence, length in self._reader.scan(name):
                if kind == _EVENT:
                    if self._first[i] < 0:
                        self._first[i] = sequence
                    end = max(end, sequence + 1)
                elif kind == _STATE and sequence >= latest:
                    payload = self._reader.payload(name, offset, length)
                    if payload[0] > VERSION:
                        raise OSError(5)
                    latest = sequence
                    self._current = i
                    _, n, base, self.dropped = struct.unpack_from(_STATE_FORMAT, payload)
                    bits = payload[_STATE_BYTES:]
                    end = max(end, n)
            if self._first[i] < 0:
                self._first[i] = end
        self._seqs = DoneSet(base, end, bits)
        self.dropped = max(dropped, self.dropped)
        self._broken = False

    # -- what a Window asks of its log --------------------------------------------------------

    def next_waiting(self, seq):
        if self._held:
            self._looks += 1
            if self._looks >= _HELD_LOOKS:
                self._write_held()
        return self._seqs.next(seq)

    def waiting(self):
        return self._seqs.waiting + len(self._held)

    def load(self, seq):
        """(event id, payload); None when it is lost. Raises JournalError."""
        try:
            names = self._store.names()
            for i in (self._current, self._current ^ 1):
                if _NAMES[i] not in names or seq < self._first[i]:
                    continue
                for offset, kind, sequence, length in self._reader.scan(_NAMES[i]):
                    if kind == _EVENT and sequence == seq:
                        payload = self._reader.payload(_NAMES[i], offset, length)
                        n = 1 + payload[0]
                        return str(payload[1:n], "ascii"), bytes(payload[n:])
        except OSError as e:
            raise JournalError("the events cannot be read: %s" % e)
        return None

    def done(self, seq):
        self._seqs.done(seq)

    def unsaved(self):
        return self._seqs.unsaved

    def save(self):
        try:
            self._append(())
        except OSError as e:
            self._broken = True
            raise JournalError("the events cannot be written: %s" % e)

    def set_aside(self, seq, reason):
        """An event that the backend refuses, or that flash has lost, is dropped."""
        self.dropped += 1
        self.done(seq)
