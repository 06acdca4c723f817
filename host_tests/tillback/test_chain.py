"""A hole in a charger's records waits a while and is then alarmed; a broken chain is at once."""

import datetime
import itertools
import random

import pytest
from sqlalchemy import select

from host_tests.fakes import records
from tillback import chain, tariffs
from tillback.db import tables
from tillback.intake import Intake
from tillback.store import Store

SIGNER = records.Signer()
USAGE = f"evtill/v1/{records.CHARGER}/usage"


@pytest.fixture
def store(database_url):
    store = Store(database_url)
    store.register(records.CHARGER, SIGNER.public.pem, bytes(32))
    tariffs.add_tariff(store.database, records.TARIFF)
    yield store
    store.close()


def published(count):
    found, prev = [], records.ZEROS
    for seq in range(1, count + 1):
        found.append(records.signed(SIGNER, seq, prev))
        prev = records.sha256(found[-1])
    return found


def take(store, *bodies):
    answers = Intake(store).take_all([(USAGE, body) for body in bodies])
    assert not any(answer.refused for answer in answers)


def gaps(store):
    with store.database.read() as session:
        return list(session.scalars(select(tables.ChainGap.seq).order_by(tables.ChainGap.seq)))


def alarms(store):
    return [(alarm.name, alarm.detail) for alarm in store.alarms()]


def after(seconds):
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


def test_records_in_any_order_and_any_batches_leave_no_gap_and_no_alarm(store):
    rng = random.Random(1)
    left = published(40)
    rng.shuffle(left)
    while left:
        size = rng.randrange(1, 8)
        take(store, *left[:size])
        left = left[size:]
    assert (gaps(store), alarms(store)) == ([], [])
    assert chain.sweep(store.database, after(10**6)) == 0


def test_a_hole_waits_and_is_then_alarmed_once(store):
    one, _, three, *_, seven = published(7)
    take(store, one, three)
    take(store, seven)
    assert gaps(store) == [3, 7]
    assert chain.sweep(store.database, after(chain.HOLE_AFTER_S - 10)) == 0
    assert alarms(store) == []
    for _ in range(2):
        chain.sweep(store.database, after(chain.HOLE_AFTER_S + 10))
        assert alarms(store) == [
            ("hole_in_seq", "seq 2 missing before 3"),
            ("hole_in_seq", "seq 4 to 6 missing before 7"),
        ]


def test_a_hole_that_is_filled_in_time_is_no_alarm(store):
    one, two, three = published(3)
    take(store, three)
    take(store, one)
    assert gaps(store) == [3]
    take(store, two)
    assert gaps(store) == []
    chain.sweep(store.database, after(10**6))
    assert alarms(store) == []


def test_a_charger_whose_first_records_are_elsewhere_is_a_hole(store):
    take(store, *published(9)[6:])
    chain.sweep(store.database, after(10**6))
    assert alarms(store) == [("hole_in_seq", "seq 1 to 6 missing before 7")]


@pytest.mark.parametrize("together", [True, False])
def test_a_broken_chain_is_alarmed_whichever_record_comes_first(store, together):
    for number, order in enumerate(itertools.permutations(range(3))):
        charger = f"C{number}"
        store.register(charger, SIGNER.public.pem, bytes(32))

        def signed(seq, prev, charger=charger):
            return records.signed(SIGNER, seq, prev, charger=charger, id=f"{charger}-{seq}")

        one = signed(1, "1" * 64)
        given = [one, signed(2, records.sha256(one)), signed(3, "3" * 64)]
        ordered = [(f"evtill/v1/{charger}/usage", given[place]) for place in order]
        for batch in [ordered] if together else [[message] for message in ordered]:
            assert not any(answer.refused for answer in Intake(store).take_all(batch))
        assert sorted((alarm.name, alarm.detail) for alarm in store.alarms(charger)) == [
            ("chain_broken", "seq 1 does not begin the chain"),
            ("chain_broken", "seq 3 does not follow 2"),
        ]
    assert gaps(store) == []
