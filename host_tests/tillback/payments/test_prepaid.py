"""Prepaid credit: reserved before it is used, freed by a charger's word alone, never overdrawn."""

import datetime
from concurrent.futures import ThreadPoolExecutor

import pytest

from host_tests.fakes import books, records
from tillback import ledger
from tillback.cli import main
from tillback.db.database import Database, stamp
from tillback.db.tables import Token
from tillback.payments import authorizations, prepaid, refunds
from tillback.payments.authorizations import Asked
from tillback.payments.settle import Settler
from tillback.payments.states import PaymentError

AT = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
OTHER = "ab" * 8


class World:
    """A database with two prepaid tokens of one account, and what settles it; a clock by hand."""

    def __init__(self, database, paid_in=2500):
        self.now = AT
        self.database = database
        self.settler = Settler(database, {"prepaid": prepaid.Prepaid()}, lambda: self.now)
        with database.write() as session:
            session.add_all([token(), token(token=OTHER)])
            if paid_in:
                prepaid.top_up(session, "acme", paid_in, "EUR", "bank 1", stamp(AT))

    def tap(self, token=books.TOKEN, currency="EUR"):
        """(status, authorisation) of a token at the charger."""
        with self.database.write() as session:
            said = authorizations.for_token(session, token, records.CHARGER, currency, self.now)
            return said.status, said.authorization

    def ref(self):
        status, auth = self.tap()
        assert status == "ALLOWED"
        return auth.ref

    def do(self, call, *given):
        with self.database.write() as session:
            return call(session, *given, self.now)

    def arrive(self, seq, ref, gross, **more):
        with self.database.write() as session:
            books.arrive(session, books.record(seq, ref, gross=gross, **more), at=stamp(self.now))
        self.settler.run_due()

    def later(self, s):
        self.now += datetime.timedelta(seconds=s)
        self.settler.run_due()

    def auth(self, ref):
        with self.database.read() as session:
            return authorizations.get(session, ref)

    def balance(self):
        """(what the account has, what of that is reserved)."""
        books.sound(self.database)
        with self.database.read() as session:
            return prepaid.balances(session, "acme")[0][1:]

    def booked(self, account):
        with self.database.read() as session:
            return {name: minor for name, _, minor in ledger.balances(session)}[account]


def token(**changes):
    return Token(**{"token": books.TOKEN, "uid": None, "account": "acme", "group": None,
                    "flags": "ask prepaid", "expires_at": None, "ceiling_minor": None, "ocpi": None,
                    "added_at": books.AT} | changes)  # fmt: skip


@pytest.fixture
def world(tmp_path):
    with books.opened(f"sqlite:///{tmp_path}/t.sqlite") as database:
        yield World(database)


def test_each_start_reserves_an_allotment_or_the_rest_until_too_little_is_left(world):
    _, first = world.tap()
    assert (first.state, first.method, first.provider) == ("authorised", "prepaid", "prepaid")
    assert (first.hold_minor, first.ceiling_minor, first.account) == (1000, 1000, "acme")
    assert world.tap(OTHER)[1].hold_minor == 1000
    assert world.balance() == (2500, 2000)
    assert world.tap()[1].hold_minor == 500
    assert world.tap() == ("NO_CREDIT", None)
    assert world.tap(currency="USD") == ("NO_CREDIT", None)
    assert world.balance() == (2500, 2500)


def test_less_than_a_session_may_need_is_no_credit_and_stays(world):
    for _ in range(2):
        world.tap()
    with world.database.write() as session:
        prepaid.top_up(session, "solo", prepaid.LEAST_MINOR - 1, "EUR", "bank 2", stamp(AT))
        session.add(token(token="cd" * 8, account="solo"))
        session.add(token(token="ef" * 8, account=None))
    assert world.tap("cd" * 8) == ("NO_CREDIT", None)
    assert world.tap("ef" * 8) == ("NO_CREDIT", None)
    with world.database.write() as session:
        prepaid.top_up(session, "solo", 1, "EUR", "bank 3", stamp(AT))
        prepaid.top_up(session, "ef" * 8, 300, "EUR", "bank 4", stamp(AT))
    assert world.tap("cd" * 8)[1].hold_minor == prepaid.LEAST_MINOR
    assert world.tap("ef" * 8)[1].hold_minor == 300, "a card without an account has its own credit"


def test_a_token_with_a_ceiling_reserves_no_more(world):
    with world.database.write() as session:
        session.get_one(Token, books.TOKEN).ceiling_minor = 400
    assert world.tap()[1].ceiling_minor == 400
    assert world.balance() == (2500, 400)


@pytest.mark.parametrize("gross, left", [(720, 1780), (1000, 1500), (0, 2500)])
def test_the_record_takes_what_it_costs_and_frees_the_rest(world, gross, left):
    ref = world.ref()
    world.arrive(1, ref, gross)
    auth = world.auth(ref)
    assert (auth.state, auth.captured_minor) == ("captured" if gross else "released", gross)
    assert world.balance() == (left, 0)
    assert world.booked("prepaid:acme") == -left
    if gross:
        assert world.booked("receivable:acme") == 0


def test_what_a_record_costs_beyond_its_allotment_stays_owed(world):
    ref = world.ref()
    world.arrive(1, ref, 1100)
    assert world.balance() == (1500, 0)
    assert world.booked("receivable:acme") == 100


def test_an_amendment_and_a_refund_go_back_to_the_credit(world):
    ref = world.ref()
    world.arrive(1, ref, 720)
    world.arrive(2, None, 600, amends=f"{records.CHARGER}-1")
    assert world.balance() == (1900, 0)
    world.do(refunds.create, ref, None, "goodwill")
    world.settler.run_due()
    assert world.auth(ref).state == "refunded"
    assert world.balance() == (2500, 0)


def test_time_frees_nothing_and_a_record_that_comes_late_is_paid(world):
    ref = world.ref()
    for _ in range(40):
        world.later(86400)
    assert world.auth(ref).state == "expired"
    assert world.balance() == (2500, 1000)
    world.arrive(1, ref, 720)
    assert world.auth(ref).state == "captured"
    assert world.balance() == (1780, 0)


def test_only_the_charger_says_that_nothing_began(world):
    ref = world.ref()
    with pytest.raises(PaymentError, match="its charger alone can give it up"):
        world.do(authorizations.cancel, ref, "changed my mind")
    assert world.balance() == (2500, 1000)
    world.do(authorizations.not_started, ref, "no session came of it")
    assert world.auth(ref).state == "released"
    assert world.balance() == (2500, 0)


@pytest.mark.parametrize("asked, why", [
    ({"hold_minor": 2501}, "acme has not so much EUR"), ({"account": None}, "whose credit"),
    ({"currency": "USD"}, "acme has not so much USD"), ({"hold_minor": 0}, "hold_minor"),
])  # fmt: skip
def test_more_than_there_is_cannot_be_reserved(world, asked, why):
    given = {"account": "acme", "hold_minor": 2500, "currency": "EUR"} | asked
    with pytest.raises(PaymentError, match=why):
        world.do(authorizations.create, Asked("prepaid", provider="prepaid", **given))
    assert world.balance() == (2500, 0)


def test_many_at_once_never_overdraw(database_url):
    """Each in a process's own connections, as several APIs have them."""
    with books.opened(database_url) as database:
        world = World(database, 5550)
        others = [Database(database_url) for _ in range(2)]
        try:
            def tap(n):
                with others[n % 2].write() as session:
                    said = authorizations.for_token(
                        session, books.TOKEN if n % 3 else OTHER, records.CHARGER, "EUR", AT
                    )  # fmt: skip
                    return said.authorization.hold_minor if said.authorization else 0

            with ThreadPoolExecutor(8) as threads:
                held = list(threads.map(tap, range(24)))
        finally:
            for one in others:
                one.close()
        assert sorted(held)[-6:] == [550, 1000, 1000, 1000, 1000, 1000] and sum(held) == 5550
        assert world.balance() == (5550, 5550)


def test_top_up_and_balance_by_command(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/t.sqlite"
    with books.opened(url):
        pass
    paid = ["prepaid", "top-up", "acme", "2500", "EUR", "--ref", "RF18 1", "--db", url]
    for words in ("25.00 EUR booked", "25.00 EUR was booked before"):
        assert main(paid) == 0
        assert capsys.readouterr().out.strip() == words
    assert main(["prepaid", "balance", "acme", "--db", url]) == 0
    assert capsys.readouterr().out.strip() == "25.00 EUR, of it 0.00 EUR reserved"
    assert main(["prepaid", "balance", "nobody", "--db", url]) == 0
    assert capsys.readouterr().out.strip() == "nothing was paid in"
    for change, why in (
        ((2, "other"), "booked already"), ((3, "2501"), "booked already"), ((3, "0"), "want 1 to"),
        ((4, "eur"), "currency"), ((2, ""), "account and ref"), ((6, "a\nb"), "account and ref"),
        ((3, "100000001"), "want 1 to"),
    ):  # fmt: skip
        wrong = list(paid)
        wrong[change[0]] = change[1]
        assert main(wrong) == 1
        assert why in capsys.readouterr().err
