"""The journal's segments: files `r000001`, ... of frames, of which the newest is appended to.

Each begins with two HEAD frames (all of the state, twice, so that no single flipped bit costs it);
each append ends with a STATE frame. So a segment can go when all its records are done and a newer
one holds the state, and only those from the last HEAD on are read at boot.
"""

import struct
from array import array

from evtill.core.errors import JournalError
from evtill.core.frames import OVERHEAD, encode, size_of
from evtill.core.journal_frames import BOOT, HEAD, RECORD, STATE, State

FULL = 1 << 24
_NAME = "r%06x"


class Segments:
    """store, reader: see frames.py; note(what, number) is told of damage. Raises OSError.

    sequence: the next frame's. used: bytes in the newest file; FULL: the next append begins one."""

    def __init__(self, store, reader, note, segment_bytes):
        self._store = store
        self._reader = reader
        self._note = note
        self._segment_bytes = segment_bytes

    # -- reading it all -----------------------------------------------------------------------

    def load(self, state):
        """Applies to a new `state` (journal_frames.State) every frame that counts. Returns the last
        record's seq when no STATE tells its hash, else None. Raises JournalError also when all is
        damaged, or from a newer firmware."""
        self._files = array("I")  # number, first seq that it may hold; number, ...
        self._hint = (0, 0, 0)  # number, seq, offset of the record found last
        self.sequence = 1
        numbers = self._numbers()
        self._newest = numbers[-1] if numbers else 0
        whole = -1
        for number in numbers:
            kind, first = self._first_of(_NAME % number)
            if kind == HEAD:
                whole = len(self._files)
            if kind is not None:  # of a segment that is all garbage nothing is used, nor removed
                self._files.append(number)
                self._files.append(first)
        if whole < 0 and numbers:
            # A first segment shorter than its two heads was torn while it was made.
            heads = 2 * (OVERHEAD + len(state.pack(b"")))
            if numbers != [1] or self._store.size(_NAME % 1) >= heads:
                raise JournalError("no segment of the journal can be read")
        self.used = FULL
        last_record = None
        for at in range(max(whole, 0), len(self._files), 2):
            last_record = self._read(self._files[at], at == whole, state)
        return last_record

    def _numbers(self):
        numbers = [int(n[1:], 16) for n in self._store.names() if len(n) == 7 and n[0] == "r"]
        numbers.sort()
        while numbers and not self._store.size(_NAME % numbers[-1]):
            numbers.pop()  # made, but nothing was written before the cut
        return numbers

    def _first_of(self, name):
        """(kind of the first whole frame that tells, first seq that the segment may hold)."""
        for offset, kind, sequence, length in self._reader.scan(name):
            if offset:
                self._note("frame", sequence - 1)
            if kind <= STATE or kind == RECORD:
                state = State()
                state.apply(kind, self._reader.payload(name, offset, length))
                return kind, state.seqs.end - (kind == RECORD)
        return None, 0

    def _read(self, number, is_first, state):
        """Returns the last record's seq when no state follows it."""
        name = _NAME % number
        last_record = None
        for offset, kind, sequence, length in self._reader.scan(name):
            if not is_first and sequence != self.sequence:
                self._note("frame", self.sequence)
            is_first = False
            self.sequence = sequence + 1
            if kind <= BOOT:
                state.apply(kind, self._reader.payload(name, offset, length))
            if kind <= STATE:
                last_record = None
            elif kind == RECORD:
                last_record = state.seqs.end - 1
        if self._reader.skipped:
            self._note("torn", self._reader.skipped)
        if number == self._newest:
            self.used = self._store.size(name)
        return last_record

    # -- appending ----------------------------------------------------------------------------

    def append(self, commit, frames, head, state):
        """Appends (kind, parts) frames and a STATE. head: payload of a new segment's HEADs, that
        know nothing of the frames; state: that knows of them. commit(name, chunks): makes it
        durable and returns True, or loads what is, or raises. Returns what `sequence` is then."""
        frames = frames + [(STATE, (state.pack(state.memo),))]
        first = state.seqs.end
        number = self._newest
        used = self.used
        size = 0
        for kind, parts in frames:
            size += OVERHEAD + size_of(parts)
            first -= kind == RECORD
        if used + size > self._segment_bytes:
            number += 1
            used = 0
            frames = [(HEAD, (head,)), (HEAD, (head,))] + frames
        chunks = []
        sequence = self.sequence
        for kind, parts in frames:
            chunks += encode(kind, sequence, *parts)
            sequence += 1
        if commit(_NAME % number, chunks):
            self.used = used + size_of(chunks)
            self.sequence = sequence
            if number != self._newest:
                self._newest = number
                self._files.append(number)
                self._files.append(first)
        return sequence

    def drop(self, seqs):
        """Removes all but the newest of those whose records are done. Whether there were any."""
        files = self._files
        n = len(files)
        at = 0
        while at + 2 < len(files):
            first = seqs.next(files[at + 1])
            if first is None or first >= files[at + 3]:
                self._store.remove(_NAME % files[at])
                files = self._files = files[:at] + files[at + 2 :]
            else:
                at += 2
        return len(files) < n

    # -- records ------------------------------------------------------------------------------

    def find(self, seq):
        """(name, offset, length) of the RECORD `seq`; None when flash has lost it. Raises OSError
        as well when it may be in what cannot be read now."""
        files = self._files
        at = 0
        while at + 3 < len(files) and files[at + 3] <= seq:
            at += 2
        self._reader.unreadable = False
        place = self._find_in(files[at], seq) if files else None
        # Before a record is called lost, everything is searched.
        for at in range(0, len(files), 2):
            if place is None:
                place = self._find_in(files[at], seq, False)
        if place is None and self._reader.unreadable:
            raise OSError(5)
        return place

    def _find_in(self, number, seq, hinted=True):
        name = _NAME % number
        start = 0
        if hinted and self._hint[0] == number and self._hint[1] <= seq:
            start = self._hint[2]
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

    def header(self, name, otherwise):
        """The JWS header of a segment's records; `otherwise` when both its HEADs are damaged."""
        for offset, kind, _, length in self._reader.scan(name):
            if kind == HEAD:
                state = State()
                state.apply(kind, self._reader.payload(name, offset, length))
                return state.header
        return otherwise
