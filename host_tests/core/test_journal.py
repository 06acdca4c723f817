"""The journal on files in RAM: what is durable when, and what damage costs."""

import errno
import random

import pytest

from evtill.core import journal as log
from evtill.core import segments
from evtill.core.errors import JournalError, JournalFull
from evtill.core.frames import OVERHEAD
from evtill.core.journal import Journal
from evtill.core.journal_frames import RECORD
from evtill.core.journal_reader import aside, replay
from host_tests.fakes import records
from host_tests.fakes.store import Store

SIGNER = records.Signer()
RECORDS: dict[tuple[int, str], bytes] = {}


def record(seq: int, prev: str) -> bytes:
    if (seq, prev) not in RECORDS:
        RECORDS[seq, prev] = records.signed(SIGNER, seq, prev)
    return RECORDS[seq, prev]


def put(journal: Journal) -> bytes:
    seq, prev, _ = journal.chain()
    jws = record(seq, prev)
    assert journal.put_record(name(seq), jws) == seq
    return jws


def name(seq: int) -> str:
    return f"{records.CHARGER}-{seq}"


def session(journal: Journal, checkpoints: int = 2) -> bytes:
    journal.append(log.START, b"start")
    for n in range(checkpoints):
        journal.append(log.CHECKPOINT, b"checkpoint %d" % n)
    journal.append(log.STOP, b"stop")
    return put(journal)


def filled(n: int, **options: int) -> tuple[Store, Journal, list[bytes]]:
    store = Store()
    journal = Journal(store, **options)
    return store, journal, [session(journal) for _ in range(n)]


def everything(journal: Journal) -> list[bytes | None]:
    found = []
    seq = journal.next_waiting(0)
    while seq is not None:
        loaded = journal.load(seq)
        found.append(loaded and loaded[1])
        assert loaded is None or loaded[0] == name(seq)
        seq = journal.next_waiting(seq + 1)
    return found


# -- sessions and the chain ------------------------------------------------------------------


def test_a_new_journal_is_empty_and_writes_nothing() -> None:
    store = Store()
    journal = Journal(store)
    assert journal.chain() == (1, "0" * 64, 1)
    assert journal.open_session() is None
    assert (journal.waiting(), journal.boots(), journal.used_pct()) == (0, 0, 0)
    assert store.changes == 0


def test_each_step_of_a_session_is_there_after_a_boot() -> None:
    store = Store()
    journal = Journal(store)
    journal.append(log.START, b"start")
    assert Journal(store).open_session() == (b"start", None, None)
    journal.append(log.CHECKPOINT, b"one")
    journal.append(log.CHECKPOINT, b"two")
    assert Journal(store).open_session() == (b"start", b"two", None)
    journal.append(log.STOP, b"stop")
    assert Journal(store).open_session() == (b"start", b"two", b"stop")
    assert journal.open_session() == (b"start", b"two", b"stop")
    jws = put(journal)
    again = Journal(store)
    assert again.open_session() is None
    assert again.load(1) == (name(1), jws)
    assert again.chain() == journal.chain() == (2, records.sha256(jws), 2)


def test_several_frames_in_one_append() -> None:
    store = Store()
    journal = Journal(store)
    journal.append_many([(log.START, b"start"), (log.CHECKPOINT, b"one")])
    changes = store.changes
    journal.append_many([(log.CHECKPOINT, b"two"), (log.STOP, b"stop")])
    assert store.changes == changes + 1
    assert Journal(store).open_session() == (b"start", b"two", b"stop")


def test_seq_pagination_and_prev_go_on_across_boots() -> None:
    store = Store()
    previous = "0" * 64
    made = []
    for n in range(1, 40):
        journal = Journal(store, segment_bytes=6000)
        assert journal.append(log.BOOT, b"{}") > 0
        assert journal.chain() == (n, previous, n)
        journal.append(log.START, b"start")
        journal = Journal(store, segment_bytes=6000)
        assert journal.chain() == (n, previous, n)  # the pagination that START reserved
        made.append(put(journal))
        previous = records.sha256(made[-1])
        assert Journal(store).boots() == n
    assert everything(Journal(store)) == made


def test_a_pagination_that_a_cut_left_unused_is_told_at_the_next_boot_only() -> None:
    store = Store()
    journal = Journal(store)
    assert journal.reserve_pagination() == 1
    put(journal)
    assert Journal(store).damage == []
    assert journal.reserve_pagination() == 2
    journal = Journal(store)
    assert journal.damage == [("pagination", 2)]
    journal.append(log.BOOT, b"{}")
    assert Journal(store).damage == []
    assert journal.reserve_pagination() == 3


def test_a_pagination_once_given_is_never_given_again() -> None:
    store = Store()
    journal = Journal(store)
    assert [journal.reserve_pagination() for _ in range(3)] == [1, 2, 3]
    journal = Journal(store)
    journal.append(log.START, b"start")
    assert journal.chain()[2] == 4
    assert journal.reserve_pagination() == 5
    assert Journal(store).chain()[2] == 4
    put(journal)
    assert Journal(store).chain()[2] == 6


def test_frames_out_of_turn_are_refused() -> None:
    journal = Journal(Store())
    for kind in (log.CHECKPOINT, log.STOP):
        with pytest.raises(JournalError, match="no session is open"):
            journal.append(kind, b"")
    journal.append(log.START, b"start")
    with pytest.raises(JournalError, match="a session is open"):
        journal.append(log.START, b"again")
    with pytest.raises(JournalError, match="a session is open"):
        journal.put_record(name(1), record(1, "0" * 64), closes=False)
    with pytest.raises(JournalError, match="next seq, 1"):
        journal.put_record(name(2), record(2, "0" * 64))
    assert journal.open_session() == (b"start", None, None)


def test_an_abandoned_session_leaves_nothing() -> None:
    store = Store()
    journal = Journal(store)
    journal.append(log.START, b"start")
    journal.abandon()
    for found in (journal, Journal(store)):
        assert found.open_session() is None
        assert found.chain() == (1, "0" * 64, 1)


def test_an_amendment_takes_the_next_seq_between_sessions() -> None:
    store, journal, made = filled(2)
    seq, prev, _ = journal.chain()
    journal.put_record("amendment", b"any bytes", closes=False)
    assert Journal(store).load(seq) == ("amendment", b"any bytes")
    assert Journal(store).chain() == (4, records.sha256(b"any bytes"), 3)
    assert prev == records.sha256(made[1])


def test_a_session_of_many_checkpoints_stays_small() -> None:
    store = Store()
    journal = Journal(store)
    journal.append(log.START, b"start" * 100)
    for n in range(500):
        journal.append(log.CHECKPOINT, b"%03d" % n + bytes(200))
        if n % 50 == 0:
            journal = Journal(store)
    assert store.size("session") < 14000
    assert Journal(store).open_session() == (b"start" * 100, b"499" + bytes(200), None)
    journal.append(log.STOP, b"stop")
    jws = put(journal)
    assert everything(Journal(store)) == [jws]


# -- records ---------------------------------------------------------------------------------


def test_a_waiting_session_takes_under_1100_bytes() -> None:
    store, _, made = filled(120)
    assert everything(Journal(store)) == made
    assert sum(map(len, store.files.values())) < 120 * 1100


def test_confirmed_segments_go_and_others_stay() -> None:
    store, journal, made = filled(60, segment_bytes=6000)
    files = len(store.files)
    rng = random.Random(1)
    order = list(range(1, 61))
    rng.shuffle(order)
    left = dict(enumerate(made, 1))
    for n, seq in enumerate(order):
        journal.done(seq)
        del left[seq]
        if n % 5 == 0:
            journal.save()
            journal = Journal(store, segment_bytes=6000)
            assert everything(journal) == list(left.values())
            assert journal.waiting() == len(left)
            assert journal.chain() == (61, records.sha256(made[-1]), 61)
    journal.save()
    assert len(store.files) == 1 < files
    assert Journal(store).chain() == journal.chain()


def test_done_twice_or_of_an_unknown_seq_changes_nothing() -> None:
    _, journal, _ = filled(3)
    for seq in (2, 2, 99, 0):
        journal.done(seq)
    assert journal.waiting() == 2
    assert [journal.next_waiting(n) for n in range(5)] == [1, 1, 3, 3, None]


def test_records_set_aside_are_kept_apart() -> None:
    store, journal, made = filled(30, segment_bytes=6000)
    for seq in range(1, 31):
        if seq % 7 == 0:
            journal.set_aside(seq, f"unknown tariff {seq}")
        else:
            journal.done(seq)
    journal.save()
    journal = Journal(store)
    assert journal.waiting() == 0
    assert list(aside(store)) == [
        (seq, f"unknown tariff {seq}", made[seq - 1]) for seq in (7, 14, 21, 28)
    ]


def test_a_changed_key_begins_a_segment() -> None:
    store, journal, made = filled(2)
    other = records.Signer(0xABCDEF)
    jws = records.signed(other, 3, records.sha256(made[1]))
    journal.put_record(name(3), jws)
    made += [jws, session(journal)]
    assert everything(Journal(store)) == made


def test_replay_gives_every_frame() -> None:
    store, journal, _ = filled(2)
    journal.append(log.START, b"third")
    found = [(kind, bytes(payload)) for _, _, kind, payload in replay(store)]
    kinds = [kind for kind, _ in found]
    assert kinds.count(RECORD) == 2
    assert [bytes(p)[8:] for k, p in found if k == log.START] == [b"third", b"third"]


def test_a_memo_outlives_its_record() -> None:
    store = Store()
    journal = Journal(store, segment_bytes=4000)
    for seq in range(1, 12):
        journal.put_record(name(seq), b"any" * 100, memo=b"%d" % (seq * 1000))
        journal.done(seq)
        journal.save()
        journal = Journal(store, segment_bytes=4000)
        assert journal.memo == b"%d" % (seq * 1000)
    journal.append(log.BOOT, b"")
    assert Journal(store).memo == b"11000"
    assert len(store.files) == 1


# -- damage ----------------------------------------------------------------------------------


def test_any_flipped_bit_costs_at_most_its_record_and_is_told() -> None:
    store, journal, made = filled(4)
    good = journal.chain()
    segment = next(n for n in store.names() if n.startswith("r") and store.size(n) > 2000)
    rng = random.Random(7)
    bits = range(store.size(segment) * 8)
    lost = 0
    for bit in rng.sample(bits, 1500):
        damaged = store.copy()
        damaged.files[segment][bit // 8] ^= 1 << bit % 8
        found = Journal(damaged)
        assert found.chain() == good, bit
        assert found.waiting() == 4
        got = everything(found)
        missing = [i + 1 for i in range(4) if got[i] != made[i]]
        assert len(missing) <= 1 and all(got[i - 1] is None for i in missing)
        assert found.damage, bit
        for seq in missing:
            assert ("record", seq) in found.damage
            lost += 1
    assert lost > 500


def test_any_flipped_bit_in_the_session_costs_one_frame_and_never_the_start() -> None:
    store = Store()
    journal = Journal(store)
    journal.append(log.START, b"start")
    journal.append(log.CHECKPOINT, b"one")
    journal.append(log.CHECKPOINT, b"two")
    journal.append(log.STOP, b"stop")
    sizes = [OVERHEAD + n for n in (13, 13, 3, 3, 4)]
    ends = [sum(sizes[: n + 1]) for n in range(5)]
    assert ends[-1] == store.size("session")
    seen = set()
    for bit in range(store.size("session") * 8):
        damaged = store.copy()
        damaged.files["session"][bit // 8] ^= 1 << bit % 8
        found = Journal(damaged)
        hit = next(n for n, end in enumerate(ends, 1) if bit // 8 < end)
        assert found.damage == [("session", hit) if hit < 5 else ("torn", sizes[-1])], bit
        seen.add(found.open_session())
        assert found.chain()[2] == 1
    assert seen == {
        (b"start", b"two", b"stop"), (b"start", b"one", b"stop"), (b"start", b"two", None),
    }  # fmt: skip


def test_a_torn_tail_is_passed_over_at_every_length() -> None:
    store, journal, made = filled(2)
    segment = next(n for n in store.names() if store.size(n) > 1000)
    size = store.size(segment)
    made.append(session(journal))
    whole = store.files[segment]
    for cut in range(size, len(whole)):
        torn = store.copy()
        del torn.files[segment][cut:]
        found = Journal(torn)
        n = found.waiting()
        assert everything(found) == made[:n] and n in (2, 3)
        assert found.chain()[:2] == (n + 1, records.sha256(made[n - 1]))
        if cut % 97 == 0:
            again = session(found)
            found = Journal(torn)
            assert everything(found) == [*made[:n], again]
            assert not [what for what, _ in found.damage if what != "torn"]


def test_a_journal_that_cannot_be_read_is_not_begun_anew() -> None:
    store, _, _ = filled(1)
    for data in store.files.values():
        data[:] = bytes(len(data))
    with pytest.raises(JournalError, match="no segment"):
        Journal(store)


def test_a_garbled_newest_segment_is_kept_and_never_appended_to() -> None:
    store, journal, made = filled(3)
    store.append("r0000ff", b"\xa5" * 5000)
    journal = Journal(store)
    assert everything(journal) == made
    made.append(session(journal))
    assert store.files["r0000ff"] == b"\xa5" * 5000
    assert everything(Journal(store)) == made


# -- failing flash ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("torn", [0, 30, 700, 10_000])
def test_a_failing_write_anywhere_loses_and_doubles_nothing(code: int, torn: int) -> None:
    fails = 0
    while True:
        store = Store()
        store.fail_at = fails
        store.fail_with = code
        store.torn = torn
        journal = Journal(store, segment_bytes=3000)
        made: list[bytes] = []
        errors = 0
        while len(made) < 5 and errors < 3:
            try:
                if journal.open_session() is None:
                    journal.append(log.START, b"start %d" % len(made))
                journal.append(log.CHECKPOINT, b"one")
                made.append(put(journal))
            except JournalError:
                errors += 1
                made = [m for m in everything(journal) if m]
        assert len(made) == 5
        for found in (journal, Journal(store)):
            assert everything(found) == made
            assert found.chain() == (6, records.sha256(made[-1]), 6)
            assert found.open_session() is None
        if store.changes <= fails:
            break
        fails += 1
    assert fails > 15


def test_a_full_flash_refuses_and_keeps_all() -> None:
    store = Store(capacity=60_000)
    journal = Journal(store, segment_bytes=8000, reserve_bytes=20_000)
    made = []
    while journal.room(8000):
        made.append(session(journal))
    assert 70 <= journal.used_pct() <= 100
    with pytest.raises(JournalFull):
        for _ in range(60):
            made.append(session(journal))
    assert everything(Journal(store))[: len(made)] == made
    for seq in range(1, len(made) + 1):
        journal.done(seq)
    store.capacity += 1000
    journal.save()
    assert journal.room(8000)


def test_a_read_error_is_a_journal_error_and_then_over() -> None:
    store, journal, made = filled(2)
    store.read_fails = True
    with pytest.raises(JournalError):
        journal.load(1)
    with pytest.raises(JournalError):
        Journal(store)
    with pytest.raises(JournalError):
        journal.append(log.START, b"start")
    store.read_fails = False
    assert everything(journal) == made
    journal.append(log.START, b"start")


def test_running_out_of_memory_amid_a_put_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, journal, made = filled(2)
    before = journal.chain()

    def no_memory(*args: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(segments, "encode", no_memory)
        with pytest.raises(MemoryError):
            put(journal)
    assert journal.chain() == before
    assert journal.waiting() == 2
    made.append(put(journal))
    assert everything(journal) == made
