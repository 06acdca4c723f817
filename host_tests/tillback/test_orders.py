"""Commands to chargers: sent once, answered by the charger itself, or given up and said so."""

import datetime
import json

import pytest

from evtill.core import jws
from evtill.core.commands import result_mac
from host_tests.fakes import records
from tillback import commands, orders
from tillback.db.tables import Order
from tillback.intake import Intake
from tillback.store import Store

C = records.CHARGER
KEY = bytes(range(32))
NOW = datetime.datetime(2026, 3, 2, 8, tzinfo=datetime.UTC)
BASE = f"evtill/v1/{C}/"


def later(s):
    return NOW + datetime.timedelta(seconds=s)


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/x.sqlite")
    store.register(C, records.Signer().public.pem, bytes(32), command_key=KEY)
    yield store
    store.close()


@pytest.fixture
def intake(store):
    return Intake(store)


def online(intake, nonce="n1", boot=1):
    said = {"state": "available", "boot": boot, "nonce": nonce}
    intake.take(BASE + "status", json.dumps(said).encode())


def give(store, name="start", at=NOW, **args):
    with store.database.write() as session:
        return orders.give(session, C, name, args, now=at, within_s=30, auth_ref=args.get("ref"))


def state(store, order):
    with store.database.read() as session:
        found = session.get(Order, order)
        return found.state, found.detail


def answer(intake, order, status="accepted", detail="", key=KEY):
    said = {"id": order, "status": status, "detail": detail}
    said["mac"] = result_mac(key, order, status, detail)
    intake.take(BASE + "cmd/result", json.dumps(said).encode())


def test_one_is_sent_once_under_this_boots_nonce_and_answered(store, intake):
    online(intake)
    order = give(store, ref="A-1", method="app")
    (sent,) = orders.take(store.database, NOW)
    said = json.loads(jws.hs256_verify(sent.body, jws.COMMAND, KEY))
    assert sent.topic == BASE + "cmd" and said["nonce"] == "n1" and said["id"] == order
    assert said["args"] == {"ref": "A-1", "method": "app"} and said["cmd"] == "start"
    assert said["exp"] - said["iat"] == commands.LIFE_S
    assert orders.take(store.database, later(1)) == []
    answer(intake, order, detail="done")
    assert state(store, order) == (orders.ACCEPTED, "done")
    assert orders.take(store.database, later(3600)) == []
    assert state(store, order) == (orders.ACCEPTED, "done")


def test_a_charger_that_is_away_is_waited_for_and_then_given_up(store, intake):
    order = give(store)
    assert orders.take(store.database, NOW) == []  # never seen
    online(intake)
    intake.take(BASE + "status", b'{"state":"offline"}')
    assert orders.take(store.database, later(10)) == []
    assert state(store, order)[0] == orders.WAITING
    assert orders.take(store.database, later(30)) == []
    assert state(store, order) == (orders.NOT_SENT, "the charger was not reached")
    online(intake, "n2", 2)
    assert orders.take(store.database, later(31)) == []  # whoever wanted it has gone on


def test_one_that_is_not_answered_may_have_been_carried_out(store, intake):
    online(intake)
    order = give(store)
    assert len(orders.take(store.database, NOW)) == 1
    orders.take(store.database, later(60))
    assert state(store, order)[0] == orders.SENT
    orders.take(store.database, later(90))
    assert state(store, order) == (orders.UNANSWERED, "the charger did not answer")
    answer(intake, order, "rejected", "in use")  # it comes late, and counts
    assert state(store, order) == (orders.REJECTED, "in use")


def test_an_answer_is_only_the_chargers_own(store, intake):
    """Who can publish for it, a broker say, cannot have a hold released."""
    online(intake)
    order = give(store)
    orders.take(store.database, NOW)
    answer(intake, order, "rejected", "no", key=bytes(32))
    for mac in (None, 7, "", "\u00e4", "\ud800", "0" * 64):
        said = {"id": order, "status": "rejected", "detail": "no", "mac": mac}
        intake.take(BASE + "cmd/result", json.dumps(said).encode())
    good = result_mac(KEY, order, "accepted", "no")
    said = {"id": order, "status": "rejected", "detail": "no", "mac": good}
    intake.take(BASE + "cmd/result", json.dumps(said).encode())
    assert state(store, order)[0] == orders.SENT
    assert {row.proven for row in store.results()} == {0} and len(store.results()) == 8
    answer(intake, order)
    answer(intake, order, "rejected", "second thoughts")
    assert state(store, order) == (orders.ACCEPTED, "")


def test_a_waiting_one_has_no_answer(store, intake):
    order = give(store)
    answer(intake, order)
    assert state(store, order)[0] == orders.WAITING


def test_what_is_reachable(store, intake):
    with store.database.read() as session:
        assert not orders.is_reachable(session, C)
    online(intake)
    with store.database.read() as session:
        assert orders.is_reachable(session, C) and not orders.is_reachable(session, "other")
