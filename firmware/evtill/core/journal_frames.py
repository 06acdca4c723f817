"""What the frames in the journal's segments say, and what they make of its state.

| kind | payload (little-endian) |
| --- | --- |
| HEAD, STATE | all of the state before (HEAD) or with (STATE) the frames beside it: _FIXED; a
|             | length and so many bytes of text (in HEAD the JWS header of the segment's records,
|             | in STATE the memo); done_set's bits |
| RECORD | _RECORD, the id, then packing's parts |
| PAGINATION | the one that was given (4 bytes) |
| BOOT | the application's: once a boot |

Kinds 2 to 4 are the open session's (session_log.py). Those from 64 on are the application's, and
change no state.
"""

import struct

from evtill.core import packing
from evtill.core.done_set import DoneSet
from evtill.core.errors import JournalError

VERSION = 1
HEAD = 0
STATE = 1
RECORD = 5
PAGINATION = 6
ASIDE = 7
BOOT = 8

# version, next seq, next pagination, boots, last session with a record, first seq not done, prev
_FIXED = "<BIIIII32s"
_FIXED_BYTES = 53
_RECORD = "<IIIBB"  # seq, session that it closes (0: none), next pagination, form, id's length
_RECORD_BYTES = 14


class State:
    """What is so after some frames. seqs: the records' DoneSet. pagination: the next that is
    free. closed: number of the last session that has a record. prev: SHA-256 of the last record.
    reserved: the last PAGINATION without a record since, and without a BOOT, which tells of it.
    header: of the segment's records. memo: see journal.py."""

    def __init__(self):
        self.seqs = DoneSet(1, 1, b"")
        self.pagination = 1
        self.boots = self.closed = self.reserved = 0
        self.prev = bytes(32)
        self.header = self.memo = b""

    def pack(self, text):
        """A payload for STATE (text: the memo) or HEAD (the header)."""
        seqs = self.seqs
        fixed = struct.pack(
            _FIXED, VERSION, seqs.end, self.pagination, self.boots, self.closed, seqs.base,
            self.prev,
        )  # fmt: skip
        return fixed + bytes((len(text),)) + text + seqs.bits

    def apply(self, kind, payload):
        """Takes a frame in, be it one that is read or one that is about to be written; a RECORD's
        payload may end before its parts: their hash, `prev`, is the caller's to set. Raises
        JournalError for what a newer firmware wrote."""
        if kind <= STATE:
            if payload[0] > VERSION:
                raise JournalError(
                    "the journal's format %d is newer than this firmware" % payload[0]
                )
            _, end, self.pagination, self.boots, self.closed, base, self.prev = struct.unpack_from(
                _FIXED, payload
            )
            n = _FIXED_BYTES + 1 + payload[_FIXED_BYTES]
            text = bytes(payload[_FIXED_BYTES + 1 : n])
            if kind == HEAD:
                self.header = text
            else:
                self.memo = text
            self.seqs = DoneSet(base, end, payload[n:])
        elif kind == RECORD:
            seq, closes, self.pagination, _, _ = struct.unpack_from(_RECORD, payload)
            self.reserved = 0
            self.seqs.grow(seq + 1)
            self.closed = max(self.closed, closes)
        elif kind == PAGINATION:
            self.reserved = struct.unpack("<I", payload)[0]
            self.pagination = self.reserved + 1
        elif kind == BOOT:
            self.boots += 1
            self.reserved = 0


def record_head(record_id, state, closes, form, parts):
    """What comes before `parts` in the next RECORD. The id is left out where the parts begin with
    it. closes: number of the session that it closes, or 0; form, parts: see packing.split."""
    seq = state.seqs.end
    name = record_id.encode()
    if form:
        begin = bytes(packing.unpack(parts[1][:64]))
        if begin.startswith(b'{"id":"' + name + b'","seq":'):
            if not begin[len(name) + 15 :].startswith(b"%d," % seq):
                raise JournalError("record %s has not the next seq, %d" % (record_id, seq))
            name = b""
    return struct.pack(_RECORD, seq, closes, state.pagination, form, len(name)) + name


def record_of(payload, header):
    """(record id, published JWS) of a RECORD in a segment whose HEAD has `header`."""
    _, _, _, form, id_length = struct.unpack_from(_RECORD, payload)
    start = _RECORD_BYTES + id_length
    kept = memoryview(payload)[start:]
    jws = packing.join(form, header, kept)
    if id_length:
        return str(payload[_RECORD_BYTES:start], "ascii"), jws
    found = packing.unpack(kept[64:128])
    return str(found[7 : found.find(b'"', 7)], "ascii"), jws
