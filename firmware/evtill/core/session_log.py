"""The open session's file `session`: START (twice: no flipped bit costs it), CHECKPOINTs, STOP.

START's payload begins with the session's number and its OCMF pagination. A session is open until
the records' log has a record that closes its number; then the file means nothing any more.
"""

import struct

from evtill.core.frames import OVERHEAD, encode, size_of

START = 2
CHECKPOINT = 3
STOP = 4

NAME = "session"
_NEW = "session.new"  # takes the place of `session` when that has grown too long
_BYTES_MAX = 12288
_PREFIX = "<II"
_PREFIX_BYTES = 8


class SessionLog:
    """store, reader: see frames.py; note(what, number) is told of damage. Raises OSError.

    number: the last session's that was started. sequence: of the last frame."""

    def __init__(self, store, reader, note):
        self._store = store
        self._reader = reader
        self._note = note
        self._forget()
        self.number = self.pagination = self.sequence = 0

    def _forget(self):
        # (offset, length) of the last START, CHECKPOINT and STOP; length 0 where there is none.
        self._places = [(0, 0), (0, 0), (0, 0)]
        self._size = 0

    def is_open(self):
        return self._places[0][1] > 0

    def load(self, closed):
        """Reads the file; closed: the last session that has a record."""
        self._forget()
        self.number = closed
        self.pagination = self.sequence = 0
        if NAME not in self._store.names():
            return
        for offset, kind, sequence, length in self._reader.scan(NAME):
            if kind == START:
                number, pagination = struct.unpack(
                    _PREFIX, self._reader.payload(NAME, offset, _PREFIX_BYTES)
                )
                if number <= closed:
                    return
                self.number = number
                self.pagination = pagination
            if self.sequence and sequence != self.sequence + 1 or offset and not self.sequence:
                self._note("session", sequence - 1)
            self.sequence = sequence
            self._places[kind - START] = (offset, length)
        if self._reader.skipped:
            self._note("torn", self._reader.skipped)
        if self.sequence and not self.is_open():
            self._note("start", 0)
        self._size = self._store.size(NAME)

    def payloads(self):
        """(START's payload, last CHECKPOINT's or None, STOP's or None)."""
        start, checkpoint, stop = [
            bytes(self._reader.payload(NAME, offset, length)) for offset, length in self._places
        ]
        return start[_PREFIX_BYTES:], checkpoint or None, stop or None

    def append(self, commit, frames, pagination):
        """Appends (kind, payload) `frames`; a START opens the next session with `pagination`.
        commit: see segments.py. Returns (whether it opened a session, what `sequence` is then)."""
        again = []
        sequence = self.sequence
        name = NAME
        if frames[0][0] == START:
            self.remove()
            sequence = 0
            again = [struct.pack(_PREFIX, self.number + 1, pagination), frames[0][1]]
            frames = frames[1:]
        elif self._size > _BYTES_MAX and frames[0][0] == CHECKPOINT:
            name = _NEW
            self._remove(name)
            offset, length = self._places[0]
            again = [self._reader.payload(NAME, offset, length)]
        size = 0 if again else self._size
        frames = [(kind, [payload]) for kind, payload in frames]
        if again:
            frames = [(START, again), (START, again)] + frames
        chunks = []
        places = []
        for kind, parts in frames:
            sequence += 1
            frame = encode(kind, sequence, *parts)
            length = size_of(frame)
            places.append((kind - START, (size, length - OVERHEAD)))
            size += length
            chunks += frame
        opened = False
        if commit(name, chunks):
            if name != NAME:
                self._store.rename(name, NAME)
            self.sequence = sequence
            self._size = size
            opened = not self.is_open()
            for i, place in places:
                self._places[i] = place
            if opened:
                self.number += 1
                self.pagination = pagination
        return opened, sequence

    def remove(self):
        self._forget()
        self._remove(NAME)

    def _remove(self, name):
        if name in self._store.names():
            self._store.remove(name)
