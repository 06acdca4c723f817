"""A start, and what becomes of it: money is given back on the charger's own word alone."""

import datetime
import json

import pytest

from evtill.core.commands import result_mac
from host_tests.fakes import records
from tillback import orders
from tillback.db.tables import Order
from tillback.intake import Intake
from tillback.payments import authorizations, starting
from tillback.payments.authorizations import Asked
from tillback.payments.states import PaymentError
from tillback.store import Store

C = records.CHARGER
KEY = bytes(range(32))
SIGNER = records.Signer()
BASE = f"evtill/v1/{C}/"


class World:
    """A backend with an authorisation, and the charger's side of it; time passes by hand."""

    def __init__(self, url):
        self.store = Store(url)
        self.store.register(C, SIGNER.public.pem, bytes(32), command_key=KEY)
        self.database = self.store.database
        self.intake = Intake(self.store)
        self.now = datetime.datetime.now(datetime.UTC)  # as live readings are stamped
        self.starter = starting.Starter(self.database, lambda: self.now)
        with self.database.write() as session:
            asked = Asked("app", "EUR", C, account="acme", ceiling_minor=2000)
            self.ref = authorizations.create(session, asked, self.now).ref

    def say(self, kind, **said):
        self.intake.take(BASE + kind, json.dumps(said).encode())

    def online(self, boot=1):
        self.say("status", state="available", boot=boot, nonce=f"n{boot}")

    def start(self):
        with self.database.write() as session:
            starting.start(session, self.ref, self.now)

    def later(self, s):
        self.now += datetime.timedelta(seconds=s)

    def sent(self):
        """The commands that go out now: [(name, args)]."""
        return [(one.name, json.loads(one.args)) for one in self._send()]

    def _send(self):
        before = {one.id for one in self._orders() if one.state == orders.SENT}
        orders.take(self.database, self.now)
        return [one for one in self._orders()
                if one.state == orders.SENT and one.id not in before]  # fmt: skip

    def _orders(self):
        with self.database.read() as session:
            return list(session.query(Order).order_by(Order.made_at))

    def answer(self, detail="", status="accepted"):
        """The charger's result of the newest command."""
        order = self._orders()[-1].id
        self.say("cmd/result", id=order, status=status, detail=detail,
                 mac=result_mac(KEY, order, status, detail))  # fmt: skip

    def state(self):
        self.starter.run_due()
        with self.database.read() as session:
            found = authorizations.get(session, self.ref)
            return found.state, found.reason


@pytest.fixture
def world(tmp_path):
    made = World(f"sqlite:///{tmp_path}/x.sqlite")
    made.online()
    yield made
    made.store.close()


def record(world, seq, prev=records.ZEROS, ref=None):
    auth = records.facts()["auth"] | {"method": "app", "assurance": "app", "ref": ref}
    published = records.signed(SIGNER, seq, prev, auth=auth)
    world.intake.take(BASE + "usage", published)
    return records.sha256(published)


def test_the_charger_is_told_once_what_it_needs(world):
    world.start()
    world.start()
    assert world.sent() == [
        ("start", {"ref": world.ref, "method": "app", "ceiling_minor": 2000})
    ]  # fmt: skip
    assert world.state()[0] == "charging" and world.sent() == []


def test_one_that_is_away_starts_nothing(world):
    world.say("status", state="offline")
    with pytest.raises(PaymentError, match="offline"):
        world.start()
    assert world.state()[0] == "authorised"


def test_a_refusal_gives_the_money_back(world):
    world.start()
    world.sent()
    world.answer("in use", "rejected")
    assert world.state() == ("released", "in use")


def test_one_that_never_got_it_gives_the_money_back(world):
    world.start()
    world.say("status", state="offline")
    world.later(31)
    assert world.sent() == []
    assert world.state() == ("released", "the charger was not reached")


def test_time_alone_gives_nothing_back(world):
    """Nor does an answer that decides nothing."""
    world.start()
    world.sent()
    world.answer()
    for detail in ("undecided", "reserved", "charging", "none before 2", "none", "none before -1"):
        world.later(starting.ASK_S + 1)
        assert world.state()[0] == "charging"
        assert world.sent() == [("diagnostics", {"ref": world.ref})]
        world.answer(detail)
        assert world.state()[0] == "charging"
    world.later(86400)
    world.state()
    world.sent()
    world.later(3600)
    world.sent()
    assert world.state()[0] == "charging"


def test_nobody_who_plugs_in_gives_the_money_back_once_the_charger_says_so(world):
    world.start()
    world.sent()
    world.answer()
    world.later(20)
    assert world.state()[0] == "charging" and world.sent() == []
    world.later(30)
    assert world.state()[0] == "charging"
    assert world.sent() == [("diagnostics", {"ref": world.ref})]
    world.answer("none before 1")
    assert world.state() == ("released", "no session came of it")


def test_a_record_that_is_under_way_is_waited_for(world):
    """The charger has nothing of it any more, and a record of it is missing here."""
    first = record(world, 1)
    world.start()
    world.sent()
    world.answer()
    world.later(50)
    world.state()
    world.sent()
    world.answer("none before 3")
    assert world.state()[0] == "charging"
    record(world, 2, first, ref=world.ref)  # its tariff is not known yet: no bill
    assert world.state()[0] == "charging"


def test_a_start_whose_answer_is_lost_is_asked_about(world):
    world.start()
    world.sent()
    world.later(91)
    world.sent()  # gives up
    assert world.state()[0] == "charging"
    assert world.sent() == [("diagnostics", {"ref": world.ref})]
    world.answer("charging")
    assert world.state()[0] == "charging"


def test_a_session_that_is_seen_is_not_asked_about(world):
    world.start()
    world.sent()
    world.answer()
    world.later(50)
    world.say("meter", energy_wh=1, duration_ms=1, cost_minor=1, power_w=1, ref=world.ref)
    assert world.state()[0] == "charging" and world.sent() == []
    world.later(120)
    assert world.state()[0] == "charging"
    assert world.sent() == [("diagnostics", {"ref": world.ref})]


def test_stop(world):
    with pytest.raises(PaymentError, match="no session"), world.database.write() as session:
        starting.stop(session, world.ref, world.now)
    world.start()
    world.sent()
    world.answer()
    for _ in range(2):
        with world.database.write() as session:
            starting.stop(session, world.ref, world.now)
    assert world.sent() == [("stop", {"ref": world.ref})]
