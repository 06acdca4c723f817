"""The journal on flash that fails at any read or write: refusal, and nothing lost, doubled or
formatted."""

import errno

import pytest

from evtill.core import journal as log
from evtill.core.errors import JournalError, JournalFull
from evtill.core.journal import Journal
from evtill.core.journal_reader import aside
from host_tests.fakes import records
from host_tests.fakes.store import Faulty

SIGNER = records.Signer()
MADE: list[bytes] = []
SESSIONS = 5


def made(n: int) -> list[bytes]:
    while len(MADE) < n:
        prev = records.sha256(MADE[-1]) if MADE else "0" * 64
        MADE.append(records.signed(SIGNER, len(MADE) + 1, prev))
    return MADE[:n]


def opened(store: Faulty) -> Journal:
    return Journal(store, segment_bytes=3000)


def next_step(journal: Journal) -> bool:
    """Does what comes next of five sessions; the backend refuses the second and confirms the first
    and the third. False when all that is done."""
    seq = journal.chain()[0]
    if seq <= SESSIONS:
        if journal.open_session() is None:
            journal.append(log.START, b"start")
        journal.append_many([(log.CHECKPOINT, b"one"), (log.STOP, b"stop")])
        journal.put_record(f"{records.CHARGER}-{seq}", made(seq)[-1])
    elif journal.next_waiting(2) == 2:
        journal.set_aside(2, "no")
    elif journal.next_waiting(0) != 4 or journal.unsaved():
        journal.done(1)
        journal.done(3)
        journal.save()
    else:
        return False
    return True


def worked(store: Faulty) -> list[JournalError]:
    """The errors met until all steps are done, with a boot after every second step and error."""
    errors: list[JournalError] = []
    journal = None
    steps = 0
    goes_on = True
    while goes_on:
        try:
            journal = opened(store) if journal is None or steps % 2 else journal
            goes_on = next_step(journal)
            steps += 1
        except JournalError as e:
            errors.append(e)
            assert len(errors) < 60
            if journal and journal.damage:
                raise AssertionError(journal.damage) from e
            if len(errors) % 2 == 0:
                journal = None
    return errors


def check(store: Faulty) -> None:
    journal = opened(store)
    assert journal.damage == []
    assert journal.chain() == (SESSIONS + 1, records.sha256(made(SESSIONS)[-1]), SESSIONS + 1)
    assert journal.open_session() is None
    assert [journal.next_waiting(seq) for seq in range(1, 7)] == [4, 4, 4, 4, 5, None]
    for seq in (4, 5):
        assert journal.load(seq) == (f"{records.CHARGER}-{seq}", made(seq)[-1])
    assert set(aside(store)) == {(2, "no", made(2)[-1])}


@pytest.mark.parametrize(
    ("operation", "code", "count"),
    [
        ("read", errno.EIO, 1), ("read", errno.EIO, 40),
        ("write", errno.ENOSPC, 1), ("write", errno.ENOSPC, 4), ("write", errno.EIO, 3),
    ],
)  # fmt: skip
def test_a_fault_at_every_read_or_write_loses_and_doubles_nothing(
    operation: str, code: int, count: int
) -> None:
    first = 0
    while True:
        store = Faulty(operation, code, first, count)
        errors = worked(store)
        if store.seen < first:
            break
        store.count = 0
        check(store)
        if operation == "write" and code == errno.ENOSPC and errors:
            assert isinstance(errors[0], JournalFull), (first, errors)
        first += 1
    assert first > (80 if operation == "read" else 20)


def test_flash_that_stays_full_refuses_for_ever_and_keeps_what_is_there() -> None:
    store = Faulty("write", errno.ENOSPC, 0, 0)
    journal = opened(store)
    while journal.chain()[0] <= 3:
        next_step(journal)
    journal.append(log.START, b"start")
    store.first, store.count = store.seen, 1 << 30
    before = store.copy().files
    for _ in range(2):
        for job in (
            lambda j: j.append(log.CHECKPOINT, b"one"),
            lambda j: j.append(log.BOOT, b"{}"),
            lambda j: j.put_record(f"{records.CHARGER}-4", made(4)[-1]),
            lambda j: j.set_aside(1, "no"),
            lambda j: j.reserve_pagination(),
            lambda j: j.abandon(),
        ):
            with pytest.raises(JournalFull):
                job(journal)
            assert journal.open_session() == (b"start", None, None)
            assert [journal.load(seq) for seq in (1, 2, 3)] == [
                (f"{records.CHARGER}-{seq}", made(seq)[-1]) for seq in (1, 2, 3)
            ]
            assert store.files == before
        journal = opened(store)
    store.count = 0
    journal.put_record(f"{records.CHARGER}-4", made(4)[-1])
    assert opened(store).waiting() == 4
