"""The outbox's window over a journal: what is sent when, and what an acknowledgement may do."""

import random
from itertools import pairwise

import pytest

from evtill.core.errors import JournalError
from evtill.core.journal import Journal
from evtill.core.journal_reader import aside
from evtill.core.outbox import Outbox
from host_tests.fakes import records
from host_tests.fakes.store import Store

SIGNER = records.Signer()
RECORDS: list[bytes] = []
RESEND_MS = 30_000


def name(seq: int) -> str:
    return f"{records.CHARGER}-{seq}"


def made(n: int) -> list[bytes]:
    while len(RECORDS) < n:
        prev = records.sha256(RECORDS[-1]) if RECORDS else "0" * 64
        RECORDS.append(records.signed(SIGNER, len(RECORDS) + 1, prev))
    return RECORDS[:n]


def filled(n: int) -> tuple[Store, Outbox]:
    store = Store()
    outbox = Outbox(Journal(store, segment_bytes=6000))
    for seq, jws in enumerate(made(n), 1):
        assert outbox.put(name(seq), jws) == seq
    return store, outbox


def send_all(outbox: Outbox, now_ms: int, window: int = 4) -> list[tuple[str, bytes]]:
    sent = []
    while (item := outbox.next_to_send(now_ms, window)) is not None:
        outbox.sent(item[0], now_ms)
        sent.append(item)
    return sent


def test_records_go_out_in_order_within_the_window() -> None:
    _, outbox = filled(10)
    got: list[tuple[str, bytes]] = []
    while outbox.waiting():
        batch = send_all(outbox, 0)
        assert 1 <= len(batch) <= 4
        got += batch
        record_id, jws = batch[0]
        assert outbox.confirm(record_id, records.sha256(jws))
        for later_id, later in batch[1:]:
            assert outbox.confirm(later_id, records.sha256(later))
    assert got == [(name(seq), jws) for seq, jws in enumerate(made(10), 1)]


def test_what_the_link_did_not_take_is_offered_again() -> None:
    _, outbox = filled(2)
    first = outbox.next_to_send(0)
    assert first == outbox.next_to_send(0) == (name(1), made(1)[0])
    outbox.sent(name(1), 0)
    assert outbox.next_to_send(0) == (name(2), made(2)[1])


def test_an_overdue_record_is_sent_again_with_growing_intervals_for_ever() -> None:
    _, outbox = filled(1)
    times = []
    for now_ms in range(0, 24 * 3_600_000, 10_000):
        if send_all(outbox, now_ms):
            times.append(now_ms)
    assert times[:4] == [0, RESEND_MS, 3 * RESEND_MS, 7 * RESEND_MS]
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 2_000_000
    assert times[-1] > 23 * 3_600_000


def test_a_new_connection_sends_what_is_in_flight_at_once_and_in_order() -> None:
    _, outbox = filled(6)
    first = send_all(outbox, 0)
    assert send_all(outbox, 1000) == []
    outbox.resend_all()
    assert send_all(outbox, 1000) == first


def test_only_the_right_id_and_hash_confirm_and_only_once() -> None:
    _, outbox = filled(3)
    (id_1, jws_1), (id_2, jws_2) = send_all(outbox, 0, 2)
    sha_1, sha_2 = records.sha256(jws_1), records.sha256(jws_2)
    wrong = [
        (id_1, sha_2), (id_2, sha_1), (id_1, sha_1.upper()), (id_1, ""), (id_1, "0" * 64),
        ("", sha_1), (None, sha_1), ("unknown", sha_1), (name(3), records.sha256(made(3)[2])),
        (id_1 + " ", sha_1),
    ]  # fmt: skip
    for record_id, sha in wrong:
        assert not outbox.confirm(record_id, sha)
    assert outbox.waiting() == 3
    assert outbox.confirm(id_2, sha_2)
    assert not outbox.confirm(id_2, sha_2)
    assert not outbox.refuse(id_2, sha_2, "late")
    assert outbox.waiting() == 2
    assert outbox.confirm(id_1, sha_1)
    assert outbox.waiting() == 1


def test_acknowledgements_lost_doubled_reordered_and_late_deliver_all_exactly() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        store, outbox = filled(25)
        stored: dict[str, bytes] = {}
        acks: list[tuple[str, str]] = []
        now_ms = 0
        while outbox.waiting():
            now_ms += rng.randrange(20_000)
            assert now_ms < 30 * 86_400_000
            for record_id, jws in send_all(outbox, now_ms):
                if rng.random() < 0.3:
                    continue  # the broker dropped it
                assert stored.setdefault(record_id, jws) == jws
                acks += [(record_id, records.sha256(jws))] * rng.randrange(3)
            rng.shuffle(acks)
            while acks and rng.random() < 0.7:
                outbox.confirm(*acks.pop())
            if rng.random() < 0.05:
                outbox = Outbox(Journal(store, segment_bytes=6000))
        assert stored == {name(seq): jws for seq, jws in enumerate(made(25), 1)}
        assert Journal(store).waiting() == 0


def test_a_poisoned_record_is_set_aside_and_kept_and_blocks_nobody() -> None:
    store, outbox = filled(5)
    batch = send_all(outbox, 0)
    assert not outbox.refuse(name(2), "0" * 64, "other hash")
    assert outbox.refuse(name(2), records.sha256(made(2)[1]), "bad signature")
    assert outbox.refuse(None, records.sha256(made(3)[2]), "no id")
    for record_id, jws in (batch[0], batch[3], *send_all(outbox, 0)):
        assert outbox.confirm(record_id, records.sha256(jws))
    assert outbox.waiting() == 0
    assert outbox.refused == [(name(2), "bad signature"), (name(3), "no id")]
    assert list(aside(store)) == [
        (2, "bad signature", made(2)[1]), (3, "no id", made(3)[2]),
    ]  # fmt: skip


def test_records_that_nobody_answers_do_not_block_the_others() -> None:
    _, outbox = filled(30)
    deaf = {name(seq) for seq in (1, 2, 3, 4, 9)}
    now_ms = 0
    for now_ms in range(0, 3_600_000, 5_000):
        for record_id, jws in send_all(outbox, now_ms):
            if record_id not in deaf:
                outbox.confirm(record_id, records.sha256(jws))
    assert outbox.waiting() == 5
    for later_ms in range(now_ms, now_ms + 3_600_000, 5_000):
        for record_id, jws in send_all(outbox, later_ms):
            outbox.confirm(record_id, records.sha256(jws))
    assert outbox.waiting() == 0


def test_a_lost_record_is_reported_and_the_rest_delivered() -> None:
    store, outbox = filled(8)
    segment = min(n for n in store.names() if n.startswith("r"))
    at = store.files[segment].find(b"kWh")
    middle = store.size(segment) // 2 if at < 0 else at
    store.files[segment][middle] ^= 0x10
    got = []
    for _ in range(20):
        for record_id, jws in send_all(outbox, 0):
            got.append(bytes(jws))
            outbox.confirm(record_id, records.sha256(jws))
    assert outbox.waiting() == 0
    assert len(got) == 7 and set(got) < set(made(8))
    lost = made(8).index(next(jws for jws in made(8) if jws not in got)) + 1
    assert outbox.refused == [(f"#{lost}", "lost")]
    assert list(aside(store)) == [(lost, "lost", None)]


def test_a_read_error_delays_and_loses_nothing() -> None:
    store, outbox = filled(3)
    store.read_fails = True
    with pytest.raises(JournalError):
        outbox.next_to_send(0)
    store.read_fails = False
    assert [record_id for record_id, _ in send_all(outbox, 0)] == [name(2), name(3)]
    assert next(record_id for record_id, _ in send_all(outbox, RESEND_MS)) == name(1)
    assert outbox.waiting() == 3


def test_a_full_flash_keeps_no_record_from_being_confirmed() -> None:
    store, outbox = filled(3)
    store.capacity = 0
    for record_id, jws in send_all(outbox, 0):
        assert outbox.confirm(record_id, records.sha256(jws))
    again = Outbox(Journal(store, segment_bytes=6000))
    assert again.waiting() == 3  # sent once more, harmlessly
    store.capacity = 1 << 20
    for record_id, jws in send_all(again, 0):
        assert again.confirm(record_id, records.sha256(jws))
    assert Journal(store).waiting() == 0


def test_a_refusal_that_cannot_be_kept_leaves_the_record_waiting() -> None:
    store, outbox = filled(2)
    send_all(outbox, 0)
    store.fail_at = store.changes
    assert not outbox.refuse(name(1), records.sha256(made(1)[0]), "no")
    assert outbox.waiting() == 2 and outbox.refused == []
    assert outbox.confirm(name(2), records.sha256(made(2)[1]))
    times = (now_ms for now_ms in range(0, 2_000_000, 10_000) if send_all(outbox, now_ms))
    assert next(times) > RESEND_MS
    assert outbox.refuse(name(1), records.sha256(made(1)[0]), "no")
    assert outbox.waiting() == 0
    assert list(aside(store)) == [(1, "no", made(1)[0])]
