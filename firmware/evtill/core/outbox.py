"""The outbox: records go from queued to sent to confirmed, or to refused and set aside.

Only an acknowledgement that names a record's id and hash confirms it; whether the acknowledgement
is the backend's own is checked before. Whatever is not acknowledged in time is sent again, with
growing intervals, for ever. Time is the caller's monotonic clock in ms, and never wraps.
"""

from binascii import hexlify
from hashlib import sha256

from evtill.core.errors import JournalError

_RESEND_MS = 30000
_RESEND_MAX_MS = 960000
_TRIES = 4  # after so many without an answer, a record makes room for others for a while
_SAVE_EVERY = 16
_REFUSED_MAX = 8
# An entry in flight: [seq, id, hash in hex, ms when to send again, times sent].
_SEQ = 0
_ID = 1
_HASH = 2
_DUE = 3
_SENT = 4


class Window:
    """What is in flight of a log: at most a window of records, in the order of their seq.

    log: a journal.Journal, or what has its next_waiting(), load(), waiting(), done(), unsaved(),
    save() and set_aside().
    refused: (id, reason) of those set aside, at most 8, for whoever reports and removes them."""

    def __init__(self, log, resend_ms=_RESEND_MS):
        self._log = log
        self._resend_ms = resend_ms
        self._flight = []
        self._cursor = 0  # all that wait below it are in flight, or parked until the next lap
        self._lap_ms = None
        self.refused = []

    def waiting(self):
        """How many records the backend has not acknowledged (those set aside apart)."""
        return self._log.waiting()

    def next_to_send(self, now_ms, window=4):
        """(record id, payload bytes) to publish now and to report as sent(); None when there is
        nothing to send. At most `window` are in flight. Raises JournalError."""
        while True:
            entry = self._pick(now_ms, window)
            if entry is None:
                return None
            found = self._loaded(entry, now_ms)
            if found is not None:
                return found

    def _pick(self, now_ms, window):
        """The entry of what is overdue or else next; None when there is nothing to send."""
        for entry in self._flight:
            if now_ms >= entry[_DUE]:
                if entry[_SENT] < _TRIES:
                    return entry
                self._flight.remove(entry)  # parked
                break
        if len(self._flight) >= window:
            return None
        seq = self._log.next_waiting(self._cursor)
        if seq is None:
            seq = self._next_lap(now_ms)
        while seq is not None and self._in_flight(seq):
            seq = self._log.next_waiting(seq + 1)
        if seq is None:
            return None
        entry = [seq, None, None, now_ms, 0]
        self._flight.append(entry)
        self._cursor = seq + 1
        return entry

    def _next_lap(self, now_ms):
        """The first that waits, once the lap over those that are parked is due."""
        if self._log.waiting() == len(self._flight):
            self._lap_ms = None
        elif self._lap_ms is None:
            self._lap_ms = now_ms + _RESEND_MAX_MS
        elif now_ms >= self._lap_ms:
            self._lap_ms = None
            return self._log.next_waiting(0)
        return None

    def _in_flight(self, seq):
        for entry in self._flight:
            if entry[_SEQ] == seq:
                return True
        return False

    def _loaded(self, entry, now_ms):
        try:
            found = self._log.load(entry[_SEQ])
        except JournalError:
            self._count(entry, now_ms)  # others first
            raise
        if found is None:
            self._flight.remove(entry)
            self._log.set_aside(entry[_SEQ], "lost")
            self._note("#%d" % entry[_SEQ], "lost")
        elif entry[_ID] is None:
            entry[_ID] = found[0]
            entry[_HASH] = hexlify(sha256(found[1]).digest()).decode()
        return found

    def sent(self, record_id, now_ms):
        """What next_to_send() gave last was handed to the link: it is overdue some time later."""
        for entry in self._flight:
            if entry[_ID] == record_id and now_ms >= entry[_DUE]:
                self._count(entry, now_ms)

    def _count(self, entry, now_ms):
        entry[_DUE] = now_ms + min(self._resend_ms << entry[_SENT], _RESEND_MAX_MS)
        entry[_SENT] += 1

    def resend_all(self):
        """After a new connection: all that is in flight is overdue, in order."""
        for entry in self._flight:
            entry[_DUE] = entry[_SENT] = 0

    def confirm(self, record_id, sha256_hex):
        """The backend has stored it. Whether that confirmed a record that was in flight: any
        other id or hash, or a second time, changes nothing."""
        entry = self._take(record_id, sha256_hex) if record_id else None
        if entry is None:
            return False
        self._log.done(entry[_SEQ])
        if self._log.waiting() == 0 or self._log.unsaved() >= _SAVE_EVERY:
            try:
                self._log.save()
            except JournalError:
                pass  # then it is sent once more after the next boot, which is harmless
        return True

    def refuse(self, record_id, sha256_hex, error):
        """The backend refuses it for good: set aside and kept. Whether it was in flight.

        record_id: None where the backend could read none; the hash says enough."""
        entry = self._take(record_id, sha256_hex)
        if entry is None:
            return False
        try:
            self._log.set_aside(entry[_SEQ], error)
        except JournalError:
            return False  # it still waits: the next lap sends it again
        self._note(entry[_ID], error)
        return True

    def _note(self, record_id, reason):
        if len(self.refused) < _REFUSED_MAX:
            self.refused.append((record_id, reason))

    def _take(self, record_id, sha256_hex):
        for i, entry in enumerate(self._flight):
            if entry[_HASH] == sha256_hex and entry[_ID] == (record_id or entry[_ID]):
                return self._flight.pop(i)
        return None


class Outbox(Window):
    """The signed records of a journal."""

    def put(self, record_id, jws, closes=True, memo=None):
        """Queues a signed record, durably; the journal's open session is closed by it, unless
        `closes` is False (an amendment). memo: bytes to be the journal's, for what must be
        remembered of a session when its record is gone. Returns its seq. Raises JournalError: then
        it is not queued, and the session is still open."""
        return self._log.put_record(record_id, jws, closes, memo)
