"""Ceilings of prepaid sessions: reserved first, raised and freed by the charger's own word."""

import datetime
import json

import pytest

from evtill.core.commands import result_mac
from host_tests.fakes import books, records
from tillback import orders
from tillback.db.database import stamp
from tillback.db.tables import LiveMeter, Order, Token
from tillback.intake import Intake
from tillback.payments import authorizations, prepaid, raising, starting
from tillback.store import Store

C = records.CHARGER
KEY = bytes(range(32))
SIGNER = records.Signer()
BASE = f"evtill/v1/{C}/"


class World:
    """A prepaid session and its charger; time passes by hand."""

    def __init__(self, url, paid_in):
        self.store = Store(url)
        self.store.register(C, SIGNER.public.pem, bytes(32), command_key=KEY)
        self.database = self.store.database
        self.intake = Intake(self.store)
        self.now = datetime.datetime.now(datetime.UTC)  # as live readings are stamped
        self.raiser = raising.Raiser(self.database, lambda: self.now)
        self.starter = starting.Starter(self.database, lambda: self.now)
        self.say("status", state="available", boot=1, nonce="n1")
        with self.database.write() as session:
            session.add(Token(token=books.TOKEN, uid=None, account="acme", group=None, ocpi=None,
                              flags="prepaid ask", expires_at=None, ceiling_minor=None,
                              added_at=books.AT))  # fmt: skip
            prepaid.top_up(session, "acme", paid_in, "EUR", "bank 1", stamp(self.now))
        with self.database.write() as session:
            said = authorizations.for_token(session, books.TOKEN, C, "EUR", self.now)
            self.ref = said.authorization.ref

    def say(self, kind, **said):
        self.intake.take(BASE + kind, json.dumps(said).encode())

    def costs(self, minor, s=0):
        """The session's live cost, as a raiser finds it `s` later; what the charger is told."""
        self.now += datetime.timedelta(seconds=s)
        self.say("meter", energy_wh=1, duration_ms=1, cost_minor=minor, power_w=1, ref=self.ref)
        with self.database.write() as session:
            session.get_one(LiveMeter, C).received_at = stamp(self.now)
        self.raiser.run_due()
        return self.sent()

    def sent(self):
        before = {one.id for one in self._orders() if one.state == orders.SENT}
        orders.take(self.database, self.now)
        return [(one.name, json.loads(one.args)["ref"], json.loads(one.args).get("ceiling_minor"))
                for one in self._orders() if one.state == orders.SENT and one.id not in before]

    def raised_to(self, minor):
        return [("raise_ceiling", self.ref, minor)]

    def _orders(self):
        with self.database.read() as session:
            return list(session.query(Order).order_by(Order.made_at))

    def answer(self, detail="", status="accepted", mac=None, of=-1):
        order = self._orders()[of].id
        self.say("cmd/result", id=order, status=status, detail=detail,
                 mac=mac or result_mac(KEY, order, status, detail))  # fmt: skip
        self.raiser.run_due()

    def stands(self):
        """(state, what its charger lets it cost, what is reserved); the books balance."""
        books.sound(self.database)
        with self.database.read() as session:
            auth = authorizations.get(session, self.ref)
            return auth.state, auth.ceiling_minor, auth.hold_minor


@pytest.fixture
def world(tmp_path, request):
    made = World(f"sqlite:///{tmp_path}/t.sqlite", getattr(request, "param", 2500))
    yield made
    made.store.close()


def test_a_ceiling_that_comes_near_is_raised_until_the_credit_is_used(world):
    assert world.costs(799) == []
    assert world.stands() == ("charging", 1000, 1000)
    assert world.costs(800) == world.raised_to(2000)
    assert world.stands() == ("charging", 1000, 2000)
    assert world.costs(900) == []  # it has not answered yet
    world.answer()
    assert world.stands() == ("charging", 2000, 2000)
    assert world.costs(1599) == []
    assert world.costs(1600) == world.raised_to(2500)
    world.answer()
    assert world.costs(2499) == []
    assert world.stands() == ("charging", 2500, 2500)


def test_a_proven_refusal_frees_what_was_reserved_and_it_is_tried_again(world):
    assert world.costs(800) == world.raised_to(2000)
    world.answer("no", "rejected", mac="00" * 32)
    assert world.stands() == ("charging", 1000, 2000), "anybody may say so"
    world.answer("journal is full", "rejected")
    assert world.stands() == ("charging", 1000, 1000)
    assert world.costs(900, 29) == []
    assert world.costs(900, 1) == world.raised_to(2000)


def test_silence_frees_nothing_and_is_asked_again_for_the_same(world):
    assert world.costs(800) == world.raised_to(2000)
    world.costs(900, 700)
    assert world.stands() == ("charging", 1000, 2000)
    assert world.costs(900, 1) == world.raised_to(2000)
    assert world.stands() == ("charging", 1000, 2000)
    # It had carried out the first one: nothing is freed, and there is more to be had.
    world.answer("the ceiling can only be raised", "rejected")
    assert world.stands() == ("charging", 1000, 2000)
    assert world.costs(900, 31) == world.raised_to(2500)
    world.answer()
    assert world.stands() == ("charging", 2500, 2500)


def test_an_answer_that_comes_late_counts(world):
    assert world.costs(800) == world.raised_to(2000)
    world.costs(900, 700)
    world.answer(of=0)
    assert world.stands()[1:] == (2000, 2000)


def test_one_that_is_away_is_told_nothing_and_reserves_nothing(world):
    world.say("status", state="offline")
    assert world.costs(800) == []
    assert world.stands() == ("charging", 1000, 1000)


def test_what_was_never_sent_is_free_again(world):
    world.say("meter", energy_wh=1, duration_ms=1, cost_minor=800, power_w=1, ref=world.ref)
    world.raiser.run_due()
    assert world.stands() == ("charging", 1000, 2000)
    world.say("status", state="offline")
    world.now += datetime.timedelta(seconds=31)
    assert world.sent() == []
    world.raiser.run_due()
    assert world.stands() == ("charging", 1000, 1000)


@pytest.mark.parametrize("world", [1000], indirect=True)
def test_without_credit_nothing_is_raised(world):
    assert world.costs(1000) == []
    assert world.stands() == ("charging", 1000, 1000)


def test_a_token_is_raised_to_its_own_ceiling_at_most(world):
    with world.database.write() as session:
        session.get_one(Token, books.TOKEN).ceiling_minor = 1200
    assert world.costs(900) == world.raised_to(1200)
    world.answer()
    assert world.costs(1199, 60) == []


def test_what_others_have_reserved_is_not_there(world):
    with world.database.write() as session:
        assert authorizations.for_token(session, books.TOKEN, C, "EUR", world.now).authorization
    assert world.costs(800) == world.raised_to(1500)


def test_a_session_of_another_is_not_looked_at(world):
    world.say("meter", energy_wh=1, duration_ms=1, cost_minor=900, power_w=1, ref="other")
    assert world.raiser.run_due() == 0
    world.say("meter", energy_wh=1, duration_ms=1, cost_minor=None, power_w=1, ref=world.ref)
    world.raiser.run_due()
    assert world.sent() == []


def test_a_card_that_begins_nothing_is_freed_when_the_charger_says_so(world):
    """It was authorised at the charger itself: nobody has sent a start."""
    world.now += datetime.timedelta(seconds=starting.ASK_S - 1)
    assert world.starter.run_due() == 0
    world.now += datetime.timedelta(seconds=2)
    world.starter.run_due()
    assert world.sent() == [("diagnostics", world.ref, None)]
    world.answer("undecided")
    assert world.starter.run_due() == 0
    world.now += datetime.timedelta(days=2)
    world.starter.run_due()
    world.sent()
    world.now += datetime.timedelta(hours=1)
    world.sent()  # it does not answer
    assert world.stands() == ("authorised", 1000, 1000)
    world.starter.run_due()
    world.sent()
    world.answer("none before 1")
    assert world.starter.run_due() == 1
    assert world.stands()[0] == "released"
    with world.database.read() as session:
        assert prepaid.balances(session, "acme") == [("EUR", 2500, 0)]
