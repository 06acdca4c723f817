"""What the journal's frames say: the state packed and taken in, records to frames and back."""

import struct

import pytest

from evtill.core import journal_frames as kinds
from evtill.core import packing
from evtill.core.errors import JournalError
from evtill.core.journal_frames import State, record_head, record_of
from host_tests.fakes import records

SIGNER = records.Signer()


def lived() -> State:
    state = State()
    state.apply(kinds.BOOT, b"{}")
    for seq in range(1, 30):
        state.apply(kinds.RECORD, record_head(f"any-{seq}", state, seq, packing.RAW, (b"jws",)))
        state.seqs.done(seq * 7 % 29)
    state.apply(kinds.PAGINATION, struct.pack("<I", 41))
    state.prev = bytes(range(32))
    return state


def told(state: State) -> tuple[object, ...]:
    seqs = state.seqs
    numbers = (seqs.base, seqs.end, seqs.waiting, state.pagination, state.boots, state.closed)
    return (*numbers, bytes(seqs.bits), state.prev)


def test_the_layout_is_version_1s() -> None:
    """By hand, from the table in journal_frames.py: what is in the field must stay readable."""
    state = lived()
    for seq in range(1, 8):
        state.seqs.done(seq)
    assert state.pack(b"memo")[:58] == (
        b"\x01" + b"\x1e\0\0\0" + b"\x2a\0\0\0" + b"\x01\0\0\0" + b"\x1d\0\0\0"
        + state.seqs.base.to_bytes(4, "little") + bytes(range(32)) + b"\x04memo"
    )  # fmt: skip
    head = record_head("id", state, 7, packing.RAW, (b"jws",))
    assert head == b"\x1e\0\0\0" + b"\x07\0\0\0" + b"\x2a\0\0\0" + b"\0\x02" + b"id"


def test_a_packed_state_says_what_its_frames_made_of_it() -> None:
    state = lived()
    assert (state.pagination, state.boots, state.closed) == (42, 1, 29)
    for kind in (kinds.HEAD, kinds.STATE):
        again = State()
        again.apply(kind, bytearray(state.pack(b"text")))
        assert told(again) == told(state)
        assert (again.header, again.memo) == (
            (b"text", b"") if kind == kinds.HEAD else (b"", b"text")
        )


def test_frames_of_the_application_change_nothing() -> None:
    state = lived()
    before = told(state)
    for kind in (kinds.ASIDE, 64, 255):
        state.apply(kind, b"any")
    assert told(state) == before


@pytest.mark.parametrize("kind", [kinds.HEAD, kinds.STATE])
def test_a_newer_format_is_refused_before_anything_is_taken_from_it(kind: int) -> None:
    state = lived()
    before = told(state)
    newer = bytes((kinds.VERSION + 1,)) + bytes(200)
    with pytest.raises(JournalError, match="format 2 is newer"):
        state.apply(kind, newer)
    assert told(state) == before


@pytest.mark.parametrize("record_id", [f"{records.CHARGER}-1", "another"])
def test_a_record_comes_back_as_it_was(record_id: str) -> None:
    jws = records.signed(SIGNER, 1, "0" * 64)
    form, header, parts, _ = packing.split(jws)
    assert form
    head = record_head(record_id, State(), 0, form, parts)
    assert (len(head) == 14) == (record_id != "another")  # an id that the payload has is not kept
    payload = b"".join(map(bytes, (head, *parts)))
    assert record_of(payload, header) == (record_id, jws)
