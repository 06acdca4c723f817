"""The segments alone: which there are, what is found in them, which may go."""

import pytest

from evtill.core import journal_frames as kinds
from evtill.core import packing
from evtill.core.errors import JournalError
from evtill.core.frames import FrameReader, encode
from evtill.core.journal_frames import State, record_head, record_of
from evtill.core.journal_reader import replay
from evtill.core.segments import FULL, Segments
from host_tests.fakes.store import Store

N = 12


def loaded(store: Store) -> tuple[Segments, State, list[tuple[str, int]]]:
    damage: list[tuple[str, int]] = []
    segments = Segments(store, FrameReader(store), lambda *what: damage.append(what), 1000)
    state = State()
    assert segments.load(state) is None
    return segments, state, damage


def put(store: Store, segments: Segments, state: State) -> None:
    def commit(name: str, chunks: list[bytes]) -> bool:
        store.append(name, *chunks)
        return True

    seq = state.seqs.end
    head = state.pack(state.header)
    parts = (record_head(f"C-{seq}", state, 0, packing.RAW, ()), b"%d" % seq * 100)
    state.apply(kinds.RECORD, parts[0])
    sequence = segments.append(commit, [(kinds.RECORD, parts)], head, state)
    assert segments.sequence == sequence


def filled() -> tuple[Store, Segments, State]:
    store = Store()
    segments, state, _ = loaded(store)
    assert segments.used == FULL
    for _ in range(N):
        put(store, segments, state)
    assert store.names() == [f"r{n:06x}" for n in range(1, len(store.files) + 1)]
    assert len(store.files) > 3
    return store, segments, state


def record(store: Store, place: tuple[str, int, int]) -> bytes:
    return bytes(record_of(FrameReader(store).payload(*place), b"")[1])


def test_each_segment_begins_with_two_heads_and_ends_with_a_state() -> None:
    store, _, _ = filled()
    for name in store.names():
        frames = [kind for file, _, kind, _ in replay(store) if file == name]
        assert frames[:2] == [kinds.HEAD, kinds.HEAD]
        assert frames[2:] == [kinds.RECORD, kinds.STATE] * (len(frames) // 2 - 1)
    assert [sequence for _, sequence, _, _ in replay(store)] == list(
        range(1, sum(1 for _ in replay(store)) + 1)
    )


def test_what_is_loaded_goes_on_where_it_was() -> None:
    store, segments, state = filled()
    again, found, damage = loaded(store)
    assert (again.sequence, again.used) == (segments.sequence, segments.used)
    assert (found.seqs.end, found.pack(b""), damage) == (N + 1, state.pack(b""), [])
    put(store, again, found)
    for seq in range(1, N + 2):
        place = again.find(seq)
        assert place is not None and record(store, place) == b"%d" % seq * 100
    assert again.find(N + 2) is None


def test_any_segment_of_a_newer_format_is_refused_without_harm() -> None:
    store, _, _ = filled()
    for name in store.names():
        newer = store.copy()
        payload = bytes((kinds.VERSION + 1,)) + bytes(60)
        newer.files[name] = bytearray(b"".join(encode(kinds.HEAD, 1, payload)))
        before = newer.copy().files
        with pytest.raises(JournalError, match="newer than this firmware"):
            loaded(newer)
        assert newer.files == before


def test_a_first_segment_that_was_torn_while_it_was_made_is_no_loss() -> None:
    whole, _, _ = filled()
    for cut in range(2 * (12 + 54)):
        store = Store({"r000001": whole.files["r000001"][:cut]})
        if cut < 12 + 54:
            segments, state, _ = loaded(store)
            put(store, segments, state)
            assert loaded(store)[1].seqs.end == 2
    store = Store({"r000001": bytearray(2 * (12 + 54))})
    with pytest.raises(JournalError, match="no segment"):
        loaded(store)


def test_a_record_is_lost_only_when_all_could_be_read() -> None:
    class Hole(Store):
        def read_at(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
            if name == "r000002":
                raise OSError(5)
            return super().read_at(name, offset, buffer)

    store, segments, _ = filled()
    place = next(p for p in map(segments.find, range(1, N)) if p and p[0] == "r000002")
    seq = next(n for n in range(1, N) if segments.find(n) == place)
    segments._store = segments._reader._store = Hole(store.files)
    with pytest.raises(OSError, match="5"):
        segments.find(seq)
    assert segments.find(1) is not None
    segments._store = segments._reader._store = store
    store.files["r000002"][place[1] + 20] ^= 1
    assert segments.find(seq) is None


def test_none_goes_that_holds_a_record_that_waits_nor_the_newest() -> None:
    for keeps in range(1, N + 1):
        store, segments, state = filled()
        for seq in range(1, N + 1):
            if seq != keeps:
                state.seqs.done(seq)
        assert segments.drop(state.seqs)
        assert not segments.drop(state.seqs)
        place = segments.find(keeps)
        assert place is not None and record(store, place) == b"%d" % keeps * 100
        assert len(store.files) == (1 if place[0] == max(store.names()) else 2)
        state.seqs.done(keeps)
        segments.drop(state.seqs)
        assert len(store.files) == 1


def test_a_removal_that_fails_loses_nothing() -> None:
    store, segments, state = filled()
    for seq in range(1, N):
        state.seqs.done(seq)
    store.fail_at = store.changes + 1
    with pytest.raises(OSError):
        segments.drop(state.seqs)
    assert segments.find(N) is not None
    assert segments.drop(state.seqs)
    place = segments.find(N)
    assert place is not None and record(store, place) == b"%d" % N * 100
