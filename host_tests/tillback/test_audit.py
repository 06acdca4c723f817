"""The books' own laws: each is broken once, and is found to be."""

import contextlib

import pytest
from sqlalchemy import insert, update

from host_tests.fakes import books, records
from tillback import audit, ledger
from tillback.db.tables import Authorization, Bill, Entry, Posting, Refund
from tillback.ledger import Booking

ONE = f"{records.CHARGER}-1"
UNBILLED = f"{records.CHARGER}-5"
OWES = f"receivable:{books.TOKEN}"
TAKEN = {"captured_minor": 720, "fee_minor": 20, "refunded_minor": 120, "state": "partly_refunded"}
BOOKED = [
    Booking("capture:ref1", "EUR", {"provider:simulated": 720, OWES: -720}, ONE, "ref1"),
    Booking("fee:ref1", "EUR", {"provider_fees": 20, "provider:simulated": -20}, ONE, "ref1"),
    Booking("refund:1", "EUR", {"refunds": 101, "vat:19": 19, "provider:simulated": -120}, ONE,
            "ref1"),
]  # fmt: skip


def given_back(minor, state="done"):
    return Refund(id=f"re{minor}", ref="ref1", currency="EUR", amount_minor=minor, reason="",
                  state=state, provider_ref=None, attempt=0, tries=0, due_at=None,
                  created_at=books.AT)  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with balanced(f"sqlite:///{tmp_path_factory.mktemp('audit')}/t.sqlite") as found:
        yield found


@contextlib.contextmanager
def balanced(url):
    """A session that was billed, captured and partly refunded, its amendment, one unpaid, and a
    record (5) without a bill."""
    with books.opened(url) as found:
        with found.write() as session:
            session.add(books.authorization())
            books.arrive(session, books.record(1, ref="ref1"), books.record(2, gross=0))
            books.arrive(session, books.record(3), books.record(4, gross=100, amends=ONE))
            session.add(books.stored(books.record(5)))
        with found.write() as session:
            ledger.post(session, BOOKED, books.AT)
            session.execute(update(Authorization).values(**TAKEN))
            session.add(given_back(120))
        books.sound(found)
        yield found


def wrong(database, *changes):
    """What audit says after `changes`, the database left as it was."""
    with database.read() as session:
        for one in changes:
            session.add(one) if not hasattr(one, "compile") else session.execute(one)
        session.flush()
        return audit.check(session)


def entry(name, **more):
    values = {"id": name, "kind": name.partition(":")[0], "currency": "EUR", "record": None,
              "auth_ref": None, "booked_at": books.AT}  # fmt: skip
    return insert(Entry).values(values | more)


def posting(entry, account, minor):
    return insert(Posting).values(entry=entry, account=account, amount_minor=minor)


def test_an_entry_that_does_not_sum_to_zero(database):
    assert wrong(database, entry("payment:1"), posting("payment:1", "bank", 5)) == [
        "payment:1 sums to 5, not 0", "all that is in EUR sums to 5, not 0",
    ]  # fmt: skip


def test_entries_that_only_balance_together(database):
    assert wrong(database, entry("payment:1"), posting("payment:1", "bank", 5),
                 entry("payment:2"), posting("payment:2", "bank", -5)) == [
        "payment:1 sums to 5, not 0", "payment:2 sums to -5, not 0",
    ]  # fmt: skip


def bill():
    return Bill(record=UNBILLED, currency="EUR", total_minor=720, recomputed_minor=720,
                billed_minor=720, finding="", billed_at=books.AT)  # fmt: skip


def test_a_bill_that_is_not_booked(database):
    missing = f"the bill of {UNBILLED} is not booked in its currency"
    other = entry(f"bill:{UNBILLED}", currency="SEK", record=UNBILLED)
    assert wrong(database, bill()) == [missing]
    assert wrong(database, bill(), other) == [
        missing, f"{UNBILLED}: billed 720, booked 0, of it sold 0",
    ]  # fmt: skip


def test_a_bill_that_is_booked_otherwise(database):
    more = [entry("bill:extra", record=ONE), posting("bill:extra", OWES, 7),
            posting("bill:extra", "revenue", -7)]  # fmt: skip
    assert wrong(database, *more) == [
        "bill:extra is booked without a bill", f"{ONE}: billed 100, booked 107, of it sold 107",
        ]  # fmt: skip


@pytest.mark.parametrize("column, said", [
    ("captured_minor", 720), ("fee_minor", 20), ("refunded_minor", 120),
])  # fmt: skip
def test_an_authorisation_that_says_other_than_the_books(database, column, said):
    change = update(Authorization).values({column: said + 1})
    assert f"ref1: {column} is {said + 1}, booked {said}" in wrong(database, change)


def test_a_capture_above_its_hold(database):
    assert wrong(database, update(Authorization).values(hold_minor=719)) == [
        "ref1: captured 720 of a hold of 719"
    ]


def test_a_capture_that_no_state_tells(database):
    assert wrong(database, update(Authorization).values(state="released")) == [
        "ref1: captured, and yet in no state that says so"
    ]


def test_a_receivable_that_is_changed_by_what_may_not(database):
    more = [entry("payment:1", record=ONE), posting("payment:1", "bank", 5),
            posting("payment:1", OWES, -5)]  # fmt: skip
    assert wrong(database, *more) == [
        "ref1: captured 720, billed 100, waived 0, open -625, given back 0"
    ]


def test_refunds_above_what_was_captured(database):
    assert wrong(database, given_back(600, "pending")) == []
    assert wrong(database, given_back(601, "failed")) == []
    assert wrong(database, given_back(601, "pending")) == ["ref1: 721 refunded of 720"]


def test_more_reserved_than_was_paid_in(database):
    def paid_in(minor):
        return [entry("top_up:1"), posting("top_up:1", "bank", minor),
                posting("top_up:1", "prepaid:acme", -minor)]  # fmt: skip

    reserved = {"provider": "prepaid", "account": "acme", "hold_minor": 500}
    mine = books.authorization("ref2", **reserved)
    assert wrong(database, *paid_in(500), mine) == []
    mine = books.authorization("ref2", **reserved)
    assert wrong(database, *paid_in(499), mine) == [
        "prepaid:acme has 499 EUR, of which 500 are reserved"
    ]
    assert wrong(database, *paid_in(-1)) == ["prepaid:acme has -1 EUR, of which 0 are reserved"]


def test_on_postgresql_too(postgres_url):
    with balanced(postgres_url) as found:
        changes = [bill(), entry("payment:1"), posting("payment:1", "bank", 5),
                   update(Authorization).values(hold_minor=1, state="released"),
                   given_back(601, "pending")]  # fmt: skip
        assert len(wrong(found, *changes)) == 6
