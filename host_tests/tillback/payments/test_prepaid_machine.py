"""Whatever happens in whichever order: what a charger may let a session cost is reserved, no credit
is overdrawn, and none is freed by time. Found by hypothesis's state machines."""

import datetime
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as play

from host_tests.fakes import books, records
from tillback import ledger, orders
from tillback.db.database import Database, stamp
from tillback.db.tables import Boot, CommandKey, LiveMeter, Order, Status, Token
from tillback.orders import Answer
from tillback.payments import authorizations, prepaid, raising
from tillback.payments.settle import Settler

AT = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
C = records.CHARGER


class Credit(RuleBasedStateMachine):
    """One account, and a charger that may carry out a command without saying so."""

    template: Path

    @initialize(minor=st.integers(1100, 6000))
    def paid_in(self, minor):
        self.folder = tempfile.TemporaryDirectory()
        file = f"{self.folder.name}/t.sqlite"
        shutil.copy(self.template, file)
        self.database = Database(f"sqlite:///{file}")
        self.now, self.seq = AT, 0
        self.raiser = raising.Raiser(self.database, lambda: self.now)
        self.settler = Settler(self.database, {"prepaid": prepaid.Prepaid()}, lambda: self.now)
        self.ceilings = {}  # {reference of a session: what its charger lets it cost}
        self.begun = set()
        self.paid = 0
        self.top_up(minor)
        self.tap()

    def teardown(self):
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    def tick(self):
        """Nothing is made at the same time as another: what is drawn goes by their order."""
        self.now += datetime.timedelta(milliseconds=1)

    @rule(minor=st.integers(1, 1500))
    def top_up(self, minor):
        self.paid += minor
        with self.database.write() as session:
            prepaid.top_up(session, "acme", minor, "EUR", f"bank {self.paid}", stamp(self.now))

    @rule()
    def tap(self):
        self.tick()
        with self.database.write() as session:
            said = authorizations.for_token(session, books.TOKEN, C, "EUR", self.now)
            if said.authorization is not None:
                self.ceilings[said.authorization.ref] = said.authorization.ceiling_minor

    @precondition(lambda self: self.ceilings)
    @rule(data=st.data(), percent=st.sampled_from([79, 80, 100]))
    def meter(self, data, percent):
        ref = data.draw(st.sampled_from(list(self.ceilings)))
        self.tick()
        self.begun.add(ref)
        said = json.dumps({"ref": ref, "cost_minor": self.ceilings[ref] * percent // 100})
        with self.database.write() as session:
            session.merge(LiveMeter(charger=C, payload=said.encode(), received_at=stamp(self.now)))
        self.raiser.run_due()

    @rule(data=st.data(), does=st.booleans(), says=st.booleans())
    def the_charger_has_a_command(self, data, does, says):
        orders.take(self.database, self.now)
        with self.database.read() as session:
            there = [one for one in session.query(Order).order_by(Order.made_at)
                     if one.state in (orders.SENT, orders.UNANSWERED)]  # fmt: skip
        if not there:
            return
        one = data.draw(st.sampled_from(there))
        minor = json.loads(one.args)["ceiling_minor"]
        does = does and self.ceilings.get(one.auth_ref, minor) < minor
        if does:
            self.ceilings[one.auth_ref] = minor
        if says:
            with self.database.write() as session:
                orders.answered(session, [Answer(C, one.id, does, "", True)])

    @rule(s=st.sampled_from([1, 31, 700, 100_000]))
    def time_passes(self, s):
        self.now += datetime.timedelta(seconds=s)
        self.settler.run_due()
        orders.take(self.database, self.now)  # what is overdue is given up
        self.raiser.run_due()

    @precondition(lambda self: self.ceilings)
    @rule(data=st.data(), percent=st.integers(0, 100))
    def record(self, data, percent):
        ref = data.draw(st.sampled_from(list(self.ceilings)))
        self.seq += 1
        gross = self.ceilings.pop(ref) * percent // 100
        with self.database.write() as session:
            books.arrive(session, books.record(self.seq, ref, gross=gross), at=stamp(self.now))

    @precondition(lambda self: set(self.ceilings) - self.begun)
    @rule(data=st.data())
    def nothing_came_of_it(self, data):
        waiting = [ref for ref in self.ceilings if ref not in self.begun]
        ref = data.draw(st.sampled_from(waiting))
        del self.ceilings[ref]
        with self.database.write() as session:
            authorizations.not_started(session, ref, "no session came of it", self.now)

    @invariant()
    def holds(self):
        if not hasattr(self, "database"):
            return
        books.sound(self.database)
        with self.database.read() as session:
            for ref, minor in self.ceilings.items():
                auth = authorizations.get(session, ref)
                assert auth.state in ("authorised", "charging", "expired")
                assert minor <= auth.hold_minor, "a session may cost more than is reserved for it"
            free = prepaid.available_minor(session, "acme", "EUR")
        self.settler.run_due()
        with self.database.read() as session:
            booked = {name: minor for name, _, minor in ledger.balances(session)}
            assert booked.get("receivable:acme", 0) == 0
            sold = -sum(booked.get(name, 0) for name in ("revenue", "vat:19"))
            assert booked["prepaid:acme"] == sold - self.paid
            reserved = sum(authorizations.get(session, ref).hold_minor for ref in self.ceilings)
            assert prepaid.available_minor(session, "acme", "EUR") >= free >= 0
            assert prepaid.balances(session, "acme") == [("EUR", self.paid - sold, reserved)]


@pytest.fixture
def machine(tmp_path):
    file = tmp_path / "t.sqlite"
    with books.opened(f"sqlite:///{file}") as database, database.write() as session:
        session.add(CommandKey(charger=C, key=bytes(32)))
        session.add(Boot(charger=C, boot=1, nonce="n1", seen_at=books.AT))
        session.add(Status(charger=C, payload=b'{"state": "available"}', received_at=books.AT))
        session.add(Token(token=books.TOKEN, uid=None, account="acme", group=None, ocpi=None,
                          flags="prepaid ask", expires_at=None, ceiling_minor=None,
                          added_at=books.AT))  # fmt: skip
    Credit.template = file
    return Credit


def run(machine, examples, steps):
    play(machine, settings=settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    ))  # fmt: skip


def test_any_order(machine):
    run(machine, 15, 25)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak")
def test_any_order_at_length(machine):
    run(machine, 300, 60)
