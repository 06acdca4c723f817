"""The journal: what must survive a power cut, appended to files and durable before it is acted on.

Three logs of frames (frames.py), each with a sequence of its own:
- `r000001`, ...: segments with the signed records. Each begins with two HEAD frames (all of the
  state, twice, so that no single flipped bit costs it); each append ends with a STATE frame. A
  segment goes when all its records are done and a newer one holds the state.
- `session`: the open session (session_log.py), until a RECORD closes it.
- `aside`: records that the backend refused for good, and what is left of damaged ones. Kept.

A torn tail is never read and nothing is ever rewritten: new frames are appended behind it, and the
sequence shows that nothing is missing.
"""

import struct
from array import array
from binascii import hexlify
from hashlib import sha256

from evtill.core import packing
from evtill.core.done_set import DoneSet
from evtill.core.errors import JournalError, JournalFull
from evtill.core.frames import OVERHEAD, FrameReader, encode, size_of
from evtill.core.session_log import CHECKPOINT, START, STOP, SessionLog

__all__ = ("BOOT", "CHECKPOINT", "START", "STOP", "Journal")

VERSION = 1
# Kinds of frames. Those from 64 on are the application's: kept until their segment goes.
HEAD = 0
STATE = 1
# 2 to 4: START, CHECKPOINT, STOP
RECORD = 5
PAGINATION = 6
ASIDE = 7
BOOT = 8

ASIDE_NAME = "aside"
_SEGMENT_BYTES = 32640  # eight blocks of 4 KiB less what LittleFS keeps in them
# Of the free flash: the events' ring, LittleFS's copies, the end of the running session.
_RESERVE_BYTES = 98304
_WORST_SESSION_BYTES = 16384
# version, next seq, next pagination, boots, last session with a record, first seq not done, prev
_FIXED = "<BIIIII32s"
_FIXED_BYTES = 53
_HEADS = 2 * (OVERHEAD + _FIXED_BYTES + 1)
_RECORD = "<IIIBB"  # seq, session that it closes (0: none), next pagination, form, id's length
_RECORD_BYTES = 14
_DAMAGE_MAX = 8
LOST = "lost"  # the reason to set aside what flash has lost


class Journal:
    """store: see frames.py. Everything raises JournalError when flash fails; it is then read
    again before anything else is done.

    damage: what was found amiss, as (what, number), at most 8 of them: "torn" bytes at an end that
    were never a whole frame; "frame" or "session" sequence of a frame that is lost; "record" seq;
    "start" 0 of a session whose start is lost. Whoever reports them removes them.
    memo: the bytes (at most 32) that the last put_record() was given to remember."""

    def __init__(self, store, segment_bytes=_SEGMENT_BYTES, reserve_bytes=_RESERVE_BYTES):
        self._store = store
        self._reader = FrameReader(store)
        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self.damage = []
        self._session = SessionLog(store, self._reader, self._note)
        self._io(self._load)

    # -- the state ----------------------------------------------------------------------------

    def _state(self):
        fixed = struct.pack(
            _FIXED, VERSION, self._seqs.end, self._pagination, self._boots, self._closed,
            self._seqs.base, self._prev,
        )  # fmt: skip
        return fixed + bytes((len(self.memo),)) + self.memo + self._seqs.bits

    def _apply_state(self, payload, kind):
        self._check_version(payload)
        (_, end, self._pagination, self._boots, self._closed, base, self._prev) = (
            struct.unpack_from(_FIXED, payload)
        )
        n = _FIXED_BYTES + 1 + payload[_FIXED_BYTES]
        text = bytes(payload[_FIXED_BYTES + 1 : n])
        if kind == HEAD:
            self._header = text
        else:
            self.memo = text
        self._row = [base, end, payload[n:]]

    def _check_version(self, payload):
        if payload[0] > VERSION:
            raise JournalError("the journal's format %d is newer than this firmware" % payload[0])

    def _load(self):
        self._pagination = self._sequence = 1
        self._row = [1, 1, b""]  # what becomes of it, when all is read, is self._seqs
        self._boots = self._closed = 0
        self._prev = bytes(32)
        self._header = self.memo = b""
        self._used = 0
        self._hint = None
        self._free = self._pct = None  # to be measured: that walks over the whole filesystem
        self._load_segments()
        self._session.load(self._closed)
        if self._session.is_open():
            self._pagination = max(self._pagination, self._session.pagination + 1)
        self._seqs = DoneSet(*self._row)
        self._broken = False

    def _load_segments(self):
        names = self._store.names()
        numbers = [int(name[1:], 16) for name in names if len(name) == 7 and name[0] == "r"]
        numbers.sort()
        while numbers and not self._store.size("r%06x" % numbers[-1]):
            numbers.pop()  # made, but nothing was written before the cut
        self._segments = array("I")
        self._last_number = numbers[-1] if numbers else 0
        whole = -1
        for number in numbers:
            kind, first = self._first_of("r%06x" % number)
            if kind == HEAD:
                whole = len(self._segments)
            if kind is not None:  # of a segment that is all garbage nothing is used, nor removed
                self._segments.append(number)
                self._segments.append(first)
        # A first segment shorter than its two heads was torn while it was made.
        if whole < 0 and numbers and (numbers != [1] or self._store.size("r000001") >= _HEADS):
            raise JournalError("no segment of the journal can be read")
        last_record = None
        for at in range(max(whole, 0), len(self._segments), 2):
            last_record = self._read_segment("r%06x" % self._segments[at], at == whole)
        if not self._segments or self._segments[-2] != numbers[-1]:
            self._used = self._segment_bytes
        if last_record:
            self._prev = sha256(self._load_record(last_record)[1]).digest()

    def _first_of(self, name):
        """(kind of the first whole frame, first seq that the segment may hold)."""
        for offset, kind, sequence, length in self._reader.scan(name):
            payload = self._reader.payload(name, offset, length)
            if offset:
                self._note("frame", sequence - 1)
            if kind == HEAD or kind == STATE:
                self._check_version(payload)
                return kind, struct.unpack_from("<I", payload, 1)[0]
            if kind == RECORD:
                return kind, struct.unpack_from("<I", payload)[0]
        return None, 0

    def _read_segment(self, name, is_first):
        """Applies every frame. Returns the last record's seq when no state follows it."""
        last_record = None
        for offset, kind, sequence, length in self._reader.scan(name):
            if not is_first and sequence != self._sequence:
                self._note("frame", self._sequence)
            is_first = False
            self._sequence = sequence + 1
            if kind <= STATE:
                self._apply_state(self._reader.payload(name, offset, length), kind)
                last_record = None
            elif kind == RECORD:
                payload = self._reader.payload(name, offset, length)
                last_record, closes, self._pagination, _, _ = struct.unpack_from(_RECORD, payload)
                self._row[1] = last_record + 1
                self._closed = max(self._closed, closes)
            elif kind == BOOT:
                self._boots += 1
            elif kind == PAGINATION:
                payload = self._reader.payload(name, offset, length)
                self._pagination = struct.unpack("<I", payload)[0] + 1
        if self._reader.skipped:
            self._note("torn", self._reader.skipped)
        self._used = self._store.size(name)
        return last_record

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
        if self._session.is_open():
            before = self._state()
            self._broken = True
            self._closed = self._session.number
            if self._pagination == self._session.pagination + 1:
                self._pagination -= 1  # nothing was signed with it
            self._append_records([], before)
            self._forget_session()

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
        before = self._state()
        self._broken = True  # until what is in RAM is in flash as well
        for kind, _ in frames:
            if kind == BOOT:
                self._boots += 1
        self._append_records([(kind, (payload,)) for kind, payload in frames], before)
        return self._sequence - 1

    def reserve_pagination(self):
        """The next pagination, for a record outside of a session: durably never given again."""
        self._check()
        before = self._state()
        self._broken = True
        pagination = self._pagination
        self._pagination += 1
        self._append_records([(PAGINATION, (struct.pack("<I", pagination),))], before)
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
        seq = self._seqs.end
        name = record_id.encode()
        if form:
            begin = bytes(packing.unpack(parts[1][:64]))
            if begin.startswith(b'{"id":"' + name + b'","seq":'):
                if not begin[len(name) + 15 :].startswith(b"%d," % seq):
                    raise JournalError("record %s has not the next seq, %d" % (record_id, seq))
                name = b""
        before = self._state()
        self._broken = True  # until what is in RAM is in flash as well
        if form and header != self._header:
            self._header = header
            self._used = self._segment_bytes  # a segment has one header
        if memo is not None:
            self.memo = memo
        closes = self._session.number if is_open else 0
        head = struct.pack(_RECORD, seq, closes, self._pagination, form, len(name)) + name
        self._seqs.grow(seq + 1)
        self._prev = digest
        if closes:
            self._closed = closes
        self._append_records([(RECORD, (head,) + parts)], before)
        if closes:
            self._forget_session()
        return seq

    def _append_session(self, frames):
        session = self._session
        if (frames[0][0] == START) == session.is_open():
            raise JournalError("a session is open" if session.is_open() else "no session is open")
        name, chunks, sequence = self._io(session.prepare, frames, self._pagination)
        if self._commit(name, chunks) and self._io(session.accept):
            self._pagination += 1
        if session.sequence != sequence:
            raise JournalError("the journal cannot be written")
        return sequence

    def _forget_session(self):
        try:
            self._io(self._session.remove)
        except JournalError:
            pass  # a session with a record is known for closed by its number

    def _append_records(self, frames, before):
        """Appends frames (kind, parts) and the state, which tells of them already; `before`: the
        state without them, for a new segment's head."""
        state = self._state()
        size = OVERHEAD + len(state)
        for _, parts in frames:
            size += OVERHEAD + size_of(parts)
        chunks = []
        number = self._last_number
        sequence = self._sequence
        rolls = self._used + size > self._segment_bytes
        if rolls:
            number += 1
            head = before[:_FIXED_BYTES] + bytes((len(self._header),)) + self._header
            head += before[_FIXED_BYTES + 1 + before[_FIXED_BYTES] :]
            chunks = encode(HEAD, sequence, head) + encode(HEAD, sequence + 1, head)
            sequence += 2
            size += 2 * (OVERHEAD + len(head))
        for kind, parts in frames:
            chunks += encode(kind, sequence, *parts)
            sequence += 1
        chunks += encode(STATE, sequence, state)
        sequence += 1
        if self._commit("r%06x" % number, chunks):
            if rolls:
                self._last_number = number
                self._segments.append(number)
                self._segments.append(struct.unpack_from("<I", before, 1)[0])
                self._used = 0
            self._used += size
            self._sequence = sequence
            self._seqs.unsaved = 0
            self._broken = False
        elif self._sequence != sequence:
            raise JournalError("the journal cannot be written")

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
            if e.args[0] == 28:  # ENOSPC: nothing was written
                raise JournalFull("no room in the journal")
        return False

    # -- what is known ------------------------------------------------------------------------

    def chain(self):
        """(seq, sha256 of the previous record in hex, OCMF pagination) of the next record: the
        open session's, whose pagination its START made durable, or the next one's."""
        self._check()
        return (
            self._seqs.end,
            hexlify(self._prev).decode(),
            self._session.pagination if self._session.is_open() else self._pagination,
        )

    def boots(self):
        """How many BOOT frames there ever were."""
        return self._boots

    def waiting(self):
        """How many records are not done."""
        return self._seqs.waiting

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
        return self._seqs.next(seq)

    def load(self, seq):
        """(record id, published JWS) of a waiting record; None when flash has lost it."""
        self._check()
        return self._io(self._load_record, seq)

    def _load_record(self, seq):
        self._reader.unreadable = False
        place = self._find(seq)
        if place is None:
            if self._reader.unreadable:
                raise OSError(5)  # it may be there
            self._note("record", seq)
            return None
        name, offset, length = place
        payload = self._reader.payload(name, offset, length)
        _, _, _, form, id_length = struct.unpack_from(_RECORD, payload)
        start = _RECORD_BYTES + id_length
        jws = packing.join(form, self._header_of(name), memoryview(payload)[start:])
        if id_length:
            return str(payload[_RECORD_BYTES:start], "ascii"), jws
        found = packing.unpack(memoryview(payload)[start + 64 : start + 128])
        return str(found[7 : found.find(b'"', 7)], "ascii"), jws

    def done(self, seq):
        """Marks a record as confirmed; durable with save() or the next append."""
        self._seqs.done(seq)

    def save(self):
        """Makes done() durable, and removes segments that nobody needs any more."""
        self._check()
        if self._seqs.unsaved:
            self._append_records([], self._state())
        self._io(self._drop)

    def unsaved(self):
        """How many done() are not durable yet."""
        return self._seqs.unsaved

    def _drop(self):
        i = 0
        while i + 2 < len(self._segments):
            end = self._segments[i + 3]
            first = self._seqs.next(self._segments[i + 1])
            if first is None or first >= end:
                self._store.remove("r%06x" % self._segments[i])
                self._segments = self._segments[:i] + self._segments[i + 2 :]
                self._hint = self._free = self._pct = None
            else:
                i += 2

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

    # -- finding ------------------------------------------------------------------------------

    def _find(self, seq):
        """(name, offset, length) of the RECORD `seq`; None where there is none."""
        at = 0
        while at + 3 < len(self._segments) and self._segments[at + 3] <= seq:
            at += 2
        hint = self._hint
        if hint and hint[0] == self._segments[at] and hint[1] <= seq:
            place = self._find_from(seq, at, hint[2])
        else:
            place = self._find_from(seq, at, 0)
        # Before a record is called lost, everything is searched.
        at = 0
        while place is None and at < len(self._segments):
            place = self._find_from(seq, at, 0)
            at += 2
        return place

    def _find_from(self, seq, at, start):
        number = self._segments[at]
        name = "r%06x" % number
        seq_bytes = bytearray(4)
        for offset, kind, _, length in self._reader.scan(name, start, True):
            if kind == RECORD:
                self._store.read_at(name, offset + 8, seq_bytes)
                found = struct.unpack("<I", seq_bytes)[0]
                if found == seq:
                    self._hint = (number, seq, offset)
                    return name, offset, length
                if found > seq:
                    break
        return None

    def _header_of(self, name):
        for offset, kind, _, length in self._reader.scan(name):
            if kind == HEAD:
                payload = self._reader.payload(name, offset, length)
                n = payload[_FIXED_BYTES]
                return bytes(payload[_FIXED_BYTES + 1 : _FIXED_BYTES + 1 + n])
        return self._header  # both heads are damaged: the key's, unless it was changed since

    # -- failing flash ------------------------------------------------------------------------

    def _check(self):
        if self._broken:
            self._io(self._load)

    def _io(self, job, *args):
        try:
            return job(*args)
        except OSError as e:
            self._broken = True
            raise JournalError("the journal cannot be read: %s" % e)
