"""The journal: what must survive a power cut, appended to files and durable before it is acted on.

Three logs of frames (frames.py), each with a sequence of its own:
- `r000001`, ...: the signed records and the state (segments.py, journal_frames.py).
- `session`: the open session (session_log.py), until a RECORD closes it.
- `aside`: records that the backend refused for good, and what is left of damaged ones. Kept.

A torn tail is never read and nothing is ever rewritten: new frames are appended behind it, and the
sequence shows that nothing is missing.
"""

import struct
from binascii import hexlify
from hashlib import sha256

from evtill.core import packing
from evtill.core.errors import JournalError, JournalFull
from evtill.core.frames import FrameReader, encode
from evtill.core.journal_frames import (
    ASIDE,
    BOOT,
    PAGINATION,
    RECORD,
    State,
    record_head,
    record_of,
)
from evtill.core.segments import FULL, Segments
from evtill.core.session_log import CHECKPOINT, START, STOP, SessionLog

__all__ = ("BOOT", "CHECKPOINT", "START", "STOP", "Journal")

ASIDE_NAME = "aside"
_SEGMENT_BYTES = 32640  # eight blocks of 4 KiB less what LittleFS keeps in them
# Of the free flash: the events' ring, LittleFS's copies, the end of the running session.
_RESERVE_BYTES = 98304
_WORST_SESSION_BYTES = 16384
_DAMAGE_MAX = 8
_ENOSPC = 28
LOST = "lost"  # the reason to set aside what flash has lost


class Journal:
    """store: see frames.py. Everything raises JournalError when flash fails; it is then read
    again before anything else is done.

    damage: what was found amiss, as (what, number), at most 8 of them: "torn" bytes at an end that
    were never a whole frame; "frame" or "session" sequence of a frame that is lost; "record" seq;
    "start" 0 of a session whose start is lost; "pagination" that a cut left unused. Whoever
    reports them removes them.
    memo: the bytes (at most 32) that the last put_record() was given to remember."""

    def __init__(self, store, segment_bytes=_SEGMENT_BYTES, reserve_bytes=_RESERVE_BYTES):
        self._store = store
        self._reader = FrameReader(store)
        self._reserve_bytes = reserve_bytes
        self.damage = []
        self._segments = Segments(store, self._reader, self._note, segment_bytes)
        self._session = SessionLog(store, self._reader, self._note)
        self._io(self._load)

    def _load(self):
        self._free = self._pct = None  # to be measured: that walks over the whole filesystem
        state = State()
        last_record = self._segments.load(state)
        self._session.load(state.closed)
        self._state = state
        self.memo = state.memo
        if state.reserved:
            self._note("pagination", state.reserved)
        if self._session.is_open():
            state.pagination = max(state.pagination, self._session.pagination + 1)
        if last_record:
            state.prev = sha256(self._load_record(last_record)[1]).digest()
        self._broken = False

    def _note(self, what, number):
        if len(self.damage) < _DAMAGE_MAX:
            self.damage.append((what, number))

    # -- the open session ---------------------------------------------------------------------

    def open_session(self):
        """(START's payload, last CHECKPOINT's or None, STOP's or None) as bytes of the session
        that has no record yet; None when there is none."""
        self._check()
        return self._io(self._session.payloads) if self._session.is_open() else None

    def abandon(self):
        """Ends the open session without a record: its contactor never closed."""
        self._check()
        session = self._session
        if session.is_open():
            head = self._begin()
            self._state.closed = session.number
            if self._state.pagination == session.pagination + 1:
                self._state.pagination -= 1  # nothing was signed with it
            self._append_records([], head)
            self._forget_session()

    def _forget_session(self):
        try:
            self._io(self._session.remove)
        except JournalError:
            pass  # a session with a record is known for closed by its number

    # -- appending ----------------------------------------------------------------------------

    def append(self, kind, payload):
        """Appends one frame, durable on return. Returns its sequence."""
        return self.append_many(((kind, payload),))

    def append_many(self, frames):
        """Appends (kind, payload) frames in one flush, all of them of the session (START,
        CHECKPOINT, STOP) or none. Returns the last one's sequence."""
        self._check()
        if START <= frames[0][0] <= STOP:
            return self._append_session(frames)
        self._append_records([(kind, (payload,)) for kind, payload in frames], self._begin())
        return self._segments.sequence - 2  # behind it stands the state

    def reserve_pagination(self):
        """The next pagination, for a record outside of a session: durably never given again."""
        self._check()
        pagination = self._state.pagination
        self._append_records([(PAGINATION, (struct.pack("<I", pagination),))], self._begin())
        return pagination

    def put_record(self, record_id, jws, closes=True, memo=None):
        """Appends a signed record (`jws`: see packing.split) under the next seq, and closes the
        open session by it unless `closes` is False (an amendment, which may not come while one is
        open). Returns the seq."""
        self._check()
        is_open = self._session.is_open()
        if is_open and not closes:
            raise JournalError("a session is open")
        form, header, parts, digest = packing.split(jws)
        state = self._state
        seq = state.seqs.end
        number = self._session.number if is_open else 0
        first = record_head(record_id, state, number, form, parts)
        head = self._begin(header if form else None)
        state.prev = digest
        if memo is not None:
            self.memo = state.memo = memo
        self._append_records([(RECORD, (first,) + parts)], head)
        if is_open:
            self._forget_session()
        return seq

    def _begin(self, header=None):
        """A new segment's HEAD, before anything changes: what is in RAM is not in flash until
        _append_records(). header: of the record that comes, where that has one."""
        self._broken = True
        if header is not None and header != self._state.header:
            self._state.header = header
            self._segments.used = FULL  # a segment has one header
        return self._state.pack(self._state.header)

    def _append_records(self, frames, head):
        """Appends (kind, parts) frames, and the state that they make; head: see _begin."""
        state = self._state
        for kind, parts in frames:
            state.apply(kind, parts[0])
        sequence = self._segments.append(self._commit, frames, head, state)
        if self._segments.sequence != sequence:
            raise JournalError("the journal cannot be written")
        self._state.seqs.unsaved = 0
        self._broken = False

    def _append_session(self, frames):
        session = self._session
        if (frames[0][0] == START) == session.is_open():
            raise JournalError("a session is open" if session.is_open() else "no session is open")
        opened, sequence = self._io(session.append, self._commit, frames, self._state.pagination)
        if opened:
            self._state.pagination += 1
        if session.sequence != sequence:
            raise JournalError("the journal cannot be written")
        return sequence

    def _commit(self, name, chunks):
        """Appends. False when that failed: then flash was asked what of it is durable all the
        same, and what it said holds."""
        self._free = self._pct = None
        try:
            self._store.append(name, *chunks)
            return True
        except OSError as e:
            self._broken = True
            self._check()
            if e.args[0] == _ENOSPC:  # nothing was written
                raise JournalFull("no room in the journal")
        return False

    # -- what is known ------------------------------------------------------------------------

    def chain(self):
        """(seq, sha256 of the previous record in hex, OCMF pagination) of the next record: the
        open session's, whose pagination its START made durable, or the next one's."""
        self._check()
        return (
            self._state.seqs.end,
            hexlify(self._state.prev).decode(),
            self._session.pagination if self._session.is_open() else self._state.pagination,
        )

    def boots(self):
        """How many BOOT frames there ever were."""
        return self._state.boots

    def waiting(self):
        """How many records are not done."""
        return self._state.seqs.waiting

    def room(self, n_bytes=_WORST_SESSION_BYTES, fresh=True):
        """Whether `n_bytes` (default: the worst session) fit without touching the reserve.

        fresh: measured now; else when the journal last changed, which is cheap to poll."""
        self._check()
        if fresh or self._free is None:
            self._free = self._io(self._store.free_bytes) - self._reserve_bytes
        return self._free >= n_bytes

    def used_pct(self):
        """Percentage used of what the journal can have, as of its last change: cheap to poll."""
        self._check()
        if self._pct is None:
            self._pct = self._io(self._measure_pct)
        return self._pct

    def _measure_pct(self):
        used = 0
        for name in self._store.names():
            used += self._store.size(name)
        self._free = self._store.free_bytes() - self._reserve_bytes
        return used * 100 // (used + max(0, self._free)) if used else 0

    # -- records that wait --------------------------------------------------------------------

    def next_waiting(self, seq):
        """The first seq from `seq` on that is not done; None when there is none."""
        self._check()
        return self._state.seqs.next(seq)

    def load(self, seq):
        """(record id, published JWS) of a waiting record; None when flash has lost it."""
        self._check()
        return self._io(self._load_record, seq)

    def _load_record(self, seq):
        place = self._segments.find(seq)
        if place is None:
            self._note("record", seq)
            return None
        header = self._segments.header(place[0], self._state.header)
        return record_of(self._reader.payload(*place), header)

    def done(self, seq):
        """Marks a record as confirmed; durable with save() or the next append."""
        self._state.seqs.done(seq)

    def save(self):
        """Makes done() durable, and removes segments that nobody needs any more."""
        self._check()
        if self._state.seqs.unsaved:
            self._append_records([], self._begin())
        if self._io(self._segments.drop, self._state.seqs):
            self._free = self._pct = None

    def unsaved(self):
        """How many done() are not durable yet."""
        return self._state.seqs.unsaved

    def set_aside(self, seq, reason):
        """Moves a record that can never be delivered into the log `aside`, durably."""
        self._check()
        if not self._io(self._is_aside, seq):
            found = None if reason == LOST else self._io(self._load_record, seq)
            payload = [struct.pack("<IB", seq, len(reason[:80])), reason[:80].encode()]
            if found:
                payload.append(found[1])
            if not self._commit(ASIDE_NAME, encode(ASIDE, seq, *payload)):
                raise JournalError("the journal cannot be written")
        self.done(seq)
        self.save()

    def _is_aside(self, seq):
        if ASIDE_NAME in self._store.names():
            for _, _, sequence, _ in self._reader.scan(ASIDE_NAME):
                if sequence == seq:
                    return True
        return False

    # -- failing flash ------------------------------------------------------------------------

    def _check(self):
        if self._broken:
            self._io(self._load)

    def _io(self, job, *args):
        try:
            return job(*args)
        except OSError as e:
            self._broken = True
            if e.args[0] == _ENOSPC:  # LittleFS needs room to remove a file, too
                raise JournalFull("no room in the journal")
            raise JournalError("the journal cannot be read: %s" % e)
