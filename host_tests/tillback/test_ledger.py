"""The ledger: an entry sums to zero, is booked once, and only on accounts of the chart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from host_tests.fakes import books
from tillback import ledger
from tillback.cli import main
from tillback.db.tables import Entry, Posting
from tillback.ledger import Booking, LedgerError

SALE = Booking("bill:R1", "EUR", {"receivable:acme": 720, "revenue": -605, "vat:19": -115})


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    with books.opened(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/t.sqlite") as database:
        yield database


def test_what_was_booked_stands_on_its_accounts(database_url):
    with books.opened(database_url) as database:
        with database.write() as session:
            yen = Booking("bill:R2", "JPY", {"receivable:acme": 90, "revenue": -90})
            assert ledger.post(session, [SALE, yen], books.AT) == 2
        with database.write() as session:
            paid = Booking("capture:A1", "EUR", {"provider:stripe": 700, "receivable:acme": -700})
            assert ledger.post(session, [paid], books.AT) == 1
        with database.read() as session:
            assert ledger.balances(session) == [
                ("provider:stripe", "EUR", 700), ("receivable:acme", "EUR", 20),
                ("receivable:acme", "JPY", 90), ("revenue", "EUR", -605), ("revenue", "JPY", -90),
                ("vat:19", "EUR", -115),
            ]  # fmt: skip


def test_an_entry_is_booked_once_however_often_it_is_posted(database_url):
    with books.opened(database_url) as database:
        with database.write() as session:
            assert ledger.post(session, [SALE, SALE], books.AT) == 1
        with database.write() as session:
            assert ledger.post(session, [SALE], "2027-01-01T00:00:00.000Z") == 0
        with database.read() as session:
            assert session.scalar(select(func.sum(Posting.amount_minor).filter(
                Posting.amount_minor > 0))) == 720  # fmt: skip
            assert session.scalars(select(Entry.booked_at)).all() == [books.AT]


@pytest.mark.parametrize("other", [
    Booking("bill:R1", "EUR", {"receivable:acme": 721, "revenue": -606, "vat:19": -115}),
    Booking("bill:R1", "USD", SALE.amounts),
    Booking("bill:R1", "EUR", SALE.amounts, auth_ref="A1"),
])  # fmt: skip
def test_the_same_entry_with_other_content_is_refused(tmp_path, other):
    with books.opened(f"sqlite:///{tmp_path}/t.sqlite") as database:
        with pytest.raises(LedgerError, match="bill:R1 is booked already"), database.write() as new:
            ledger.post(new, [SALE, other], books.AT)
        with database.write() as session:
            ledger.post(session, [SALE], books.AT)
        with pytest.raises(LedgerError, match="bill:R1 is booked already"), database.write() as new:
            ledger.post(new, [other], books.AT)
        with database.read() as session:
            assert ("receivable:acme", "EUR", 720) in ledger.balances(session)


@pytest.mark.parametrize("wrong, why", [
    (Booking("bill:R1", "EUR", {"receivable:a": 720, "revenue": -719}), "sums to 1 EUR, not 0"),
    (Booking("bill:R1", "EUR", {"receivables:a": 1, "revenue": -1}), "no such account"),
    (Booking("bill:R1", "EUR", {"receivable:": 1, "revenue": -1}), "no such account: receivable:"),
    (Booking("bill:R1", "EUR", {"revenue:x": 1, "revenue": -1}), "no such account: revenue:x"),
    (Booking("R1", "EUR", {"receivable:a": 1, "revenue": -1}), "not the name of an entry"),
])  # fmt: skip
def test_what_does_not_add_up_is_refused_and_nothing_with_it_is_booked(tmp_path, wrong, why):
    good = Booking("bill:R0", "EUR", SALE.amounts)
    with books.opened(f"sqlite:///{tmp_path}/t.sqlite") as database:
        with pytest.raises(LedgerError, match=why), database.write() as session:
            ledger.post(session, [good, wrong], books.AT)
        with database.read() as session:
            assert ledger.balances(session) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["EUR", "SEK"]), st.integers(-10**9, 10**9))))
def test_whatever_is_posted_all_accounts_come_to_zero(empty, amounts):
    with empty.read() as session:  # never committed
        ledger.post(session, [
            Booking(f"bill:{i}", currency, {"receivable:a": amount, "revenue": -amount})
            for i, (currency, amount) in enumerate(amounts)
        ], books.AT)  # fmt: skip
        found = ledger.balances(session)
    for currency in ("EUR", "SEK"):
        of_it = {name: amount for name, of, amount in found if of == currency}
        owed = sum(amount for of, amount in amounts if of == currency)
        assert of_it.get("receivable:a", 0) == owed
        assert sum(of_it.values()) == 0


def test_the_command_line_shows_balances_and_faults(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/t.sqlite"
    with books.opened(url) as database:
        with database.write() as session:
            books.arrive(session, books.record(1))
        assert main(["ledger", "check", "--db", url]) == 0
        assert main(["ledger", "balances", "--db", url]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "the books balance"
        assert [line.split() for line in said[1:]] == [
            [f"receivable:{books.TOKEN}", "7.20", "EUR"], ["revenue", "-6.05", "EUR"],
            ["vat:19", "-1.15", "EUR"],
        ]  # fmt: skip
        with database.write() as session:
            ledger.post(session, [SALE], books.AT)  # of a record that nobody has
        assert main(["ledger", "check", "--db", url]) == 1
        assert capsys.readouterr().err == "bill:R1 is booked without a bill\n"
