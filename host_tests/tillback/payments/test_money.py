"""Whatever happens in whatever order, and whenever the process dies: the books balance, and in the
end they hold what the provider really took and gave back. Found by hypothesis's state machines."""

import contextlib
import datetime
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as play
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from evtill.core.errors import EvtillError
from host_tests.fakes import books, records
from tillback import audit, ledger
from tillback.db.database import Database, stamp
from tillback.db.tables import Authorization, Refund, UsageRecord
from tillback.payments import authorizations, disputes, refunds
from tillback.payments.authorizations import Asked
from tillback.payments.settle import Settler
from tillback.payments.simulated import BROKEN, BROKEN_AFTER, DOWN, LOST, NO_COVER, Simulated
from tillback.payments.units import UNITS, movable_minor

SOAK = pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak")
FAULTS = st.lists(st.sampled_from(["", DOWN, LOST, BROKEN, BROKEN_AFTER]), max_size=4)
GROSS = st.sampled_from([0, 1, 9, 720, 1234, 5000, 5001, 9999])
UNDER_WAY = ("requested", "to_capture", "to_release")


class Crash(BaseException):
    """The process is gone, with all that was not on disk."""


class Mortal:
    """Dies when `left` moments have passed: before and after each call to the provider and each
    commit."""

    def __init__(self) -> None:
        self.left: int | None = None

    def moment(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash

    def provider(self, real: Simulated) -> Any:
        return _Watched(real, self)

    def database(self, real: Database) -> Any:
        return _MortalDatabase(real, self)


class _Watched:
    def __init__(self, real: Any, life: Mortal) -> None:
        self._real, self._life = real, life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def call(*given: Any) -> Any:
            self._life.moment()
            answer = found(*given)
            self._life.moment()
            return answer

        return call


class _MortalDatabase:
    def __init__(self, real: Database, life: Mortal) -> None:
        self._real, self._life = real, life
        self.read = real.read

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        with self._real.write() as session:
            yield session
            session.flush()
            self._life.moment()
        self._life.moment()


class Money(RuleBasedStateMachine):
    """Everybody who has to do with an authorisation, each at random."""

    fresh: Callable[[], str]  # the URL of a new database
    seen: set[str]  # what has happened in any of the runs

    fee_ppm: int | None

    @initialize()
    def open(self) -> None:
        self.now = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
        self.real = Database(type(self).fresh())
        if self.real.is_sqlite:
            event.listen(self.real.engine, "connect", lambda connection, _: connection.execute(
                "PRAGMA synchronous=OFF"))  # fmt: skip
            self.real.engine.dispose()
        self.bank = Simulated(clock=lambda: self.now, fee_ppm=type(self).fee_ppm)
        self.life = Mortal()
        self.database = self.life.database(self.real)
        self.reborn()
        self.refs: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.numbers = itertools.count(1)
        for _ in range(2):
            self.a_session_begins()

    def reborn(self) -> None:
        self.settler = Settler(
            self.database, {"simulated": self.life.provider(self.bank)}, lambda: self.now
        )

    def do(self, call: Callable[..., Any], *given: Any) -> Any:
        """None where it is refused, or where the process dies of it."""
        try:
            with self.database.write() as session:
                return call(session, *given, self.now)
        except EvtillError:
            return None
        except Crash:
            self.reborn()
            return None

    def settle(self) -> None:
        try:
            self.settler.run_due()
        except Crash:
            self.reborn()

    @rule(source=st.sampled_from(["card", None, NO_COVER]), hold=st.sampled_from([5000, 700, 1, 0]))
    def authorise(self, source: str | None, hold: int) -> None:
        asked = Asked("card", "EUR", records.CHARGER, provider="simulated", hold_minor=hold,
                      source=source)  # fmt: skip
        made = self.do(authorizations.create, asked if hold else Asked("rfid", "EUR", account="a"))
        if made is not None:
            self.refs.insert(0, made.ref)

    @rule()
    def a_session_begins(self) -> None:
        known = len(self.refs)
        self.authorise("card", 5000)
        self.settle()
        if len(self.refs) > known:
            self.do(authorizations.begin, self.refs[0])

    @rule(faults=FAULTS, gross=GROSS)
    def a_session_is_paid(self, faults: list[str], gross: int) -> None:
        self.a_session_begins()
        if self.refs:
            self.arrive(books.record(next(self.numbers), self.refs[0], gross=gross), gross)
        self.time_to_settle(faults)

    @rule(data=st.data(), call=st.sampled_from([
        authorizations.begin, authorizations.cancel, authorizations.not_started, None,
    ]))  # fmt: skip
    def somebody_acts(self, data: st.DataObject, call: Callable[..., Any] | None) -> None:
        if call is None:
            for one in list(self.bank.payments):
                self.bank.pay(one)
            return
        more = () if call is authorizations.begin else ("no car",)
        self.do(call, data.draw(st.sampled_from(self.refs or ["nobody's"])), *more)

    @rule(data=st.data(), gross=GROSS, lower=st.booleans())
    def a_record_comes(self, data: st.DataObject, gross: int, lower: bool) -> None:
        ref = data.draw(st.sampled_from([*self.refs, None, "nobody's"]))
        one = books.record(next(self.numbers), ref, gross=gross)
        self.arrive(one, gross // 2 if lower else gross)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), gross=GROSS)
    def a_record_is_amended(self, data: st.DataObject, gross: int) -> None:
        of = data.draw(st.sampled_from(self.sent))
        self.arrive(books.record(next(self.numbers), of["auth"]["ref"], gross=gross,
                                 amends=of["id"]), gross)  # fmt: skip

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def a_record_comes_again(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.sent))
        self.arrive(one, one["total_cost"]["incl_minor"])

    def arrive(self, one: dict[str, Any], billed: int) -> None:
        """As ingest does: what is stored is left as it is; without an answer it comes again."""
        def store(session: Session, at: datetime.datetime) -> None:
            known = select(UsageRecord).where(UsageRecord.id == one["id"])
            if session.scalars(known).one_or_none() is None:
                books.arrive(session, one, billed=billed, at=stamp(at))

        self.do(store)
        self.do(store)
        if one not in self.sent:
            self.sent.append(one)

    @rule(faults=FAULTS)
    def time_to_settle(self, faults: list[str]) -> None:
        self.bank.faults[:] = faults
        self.settle()

    @rule(moments=st.integers(0, 12))
    def die(self, moments: int) -> None:
        """At some moment from now on."""
        self.life.left = moments
        self.settle()

    @rule(seconds=st.sampled_from([5, 121, 3601]), is_long=st.integers(0, 9))
    def time_passes(self, seconds: int, is_long: int) -> None:
        self.now += datetime.timedelta(seconds=seconds, days=8 * (is_long == 9))
        self.settle()

    def taken(self, data: st.DataObject) -> str:
        """One that something was taken on, if there is any."""
        with self.real.read() as session:
            refs = session.scalars(
                select(Authorization.ref).where(Authorization.captured_minor > 0)
                .order_by(Authorization.ref)
            ).all()  # fmt: skip
        some = [ref for ref in self.refs if ref in refs] or self.refs or ["nobody's"]
        return data.draw(st.sampled_from(some))

    @rule(data=st.data(), amount=st.sampled_from([1, 10, 700, None]), faults=FAULTS)
    def refund(self, data: st.DataObject, amount: int | None, faults: list[str]) -> None:
        self.do(refunds.create, self.taken(data), amount, "goodwill")
        self.time_to_settle(faults)

    @rule(data=st.data(), amount=st.sampled_from([1, 720]), is_new=st.booleans())
    def dispute(self, data: st.DataObject, amount: int, is_new: bool) -> None:
        ref = self.taken(data)
        if is_new:
            self.do(disputes.opened, ref, f"dp_{ref}", amount)
        else:
            self.do(disputes.won, ref, f"dp_{ref}")

    @invariant()
    def the_books_balance(self) -> None:
        with self.real.read() as session:
            assert audit.check(session) == []
            booked = session.execute(select(Authorization.provider_ref,
                                            Authorization.captured_minor,
                                            Authorization.refunded_minor)).all()  # fmt: skip
        for payment, captured, refunded in booked:
            if payment is not None:  # never more in the books than in the bank
                assert captured <= self.bank.payments[payment].captured_minor
                assert refunded <= self.bank.repaid_minor.get(payment, 0)

    def teardown(self) -> None:
        """Once nothing fails any more, the books say what the bank says, and nothing is left."""
        if not hasattr(self, "real"):
            return
        self.life.left = None
        self.bank.faults.clear()
        for _ in range(12):
            self.now += datetime.timedelta(seconds=3601)
            self.settler.run_due()
        self.the_books_balance()
        with self.real.read() as session:
            auths = session.scalars(select(Authorization)).all()
            back = session.scalars(select(Refund)).all()
            there = {name: minor for name, _, minor in ledger.balances(session)}
            stored = session.scalars(select(UsageRecord.id)).all()
            owed = [auth.ref for auth in auths if _owes(session, auth)]
        assert sorted(stored) == sorted(one["id"] for one in self.sent)
        assert owed == []
        assert not [one for one in auths if one.state in UNDER_WAY]
        assert not [one for one in back if one.state == refunds.PENDING]
        known = {one.provider_ref: one for one in auths if one.provider_ref is not None}
        assert set(known) <= set(self.bank.payments)
        for name, payment in self.bank.payments.items():
            if name not in known:  # made, with an error for an answer: it lapses, untouched
                assert payment.captured_minor == 0
                continue
            assert known[name].captured_minor == payment.captured_minor
            assert known[name].refunded_minor == self.bank.repaid_minor.get(name, 0)
        type(self).seen.update(one.state for one in [*auths, *back])
        real = sum(one.captured_minor for one in self.bank.payments.values())
        real -= sum(self.bank.repaid_minor.values())
        kept = there.get("provider_fees", 0) + there.get("disputed", 0)
        assert there.get("provider:simulated", 0) == real - kept
        self.real.close()


def _owes(session: Session, auth: Authorization) -> bool:
    """Whether it has taken more than is billed, and could give that back."""
    if auth.state not in ("captured", "partly_refunded") or auth.record is None:
        return False
    owed = min(-ledger.receivable(session, auth.record)[1], refunds.left_minor(session, auth))
    return owed > 0 and movable_minor(auth.provider, auth.currency, owed) > 0


def run(
    fresh: Callable[[], str], examples: int, steps: int, fee_ppm: int | None = 14000,
    repeatable: bool = True,
) -> set[str]:  # fmt: skip
    """Plays so many; the states that authorisations and refunds came to in the end."""
    of = {"fresh": staticmethod(fresh), "seen": set(), "fee_ppm": fee_ppm}
    machine = type("TheMoney", (Money,), of)
    play(machine, settings=settings(
        max_examples=examples, stateful_step_count=steps, derandomize=repeatable, deadline=None,
        database=None, suppress_health_check=list(HealthCheck),
    ))  # fmt: skip
    seen: set[str] = machine.seen
    return seen


@pytest.fixture
def on_sqlite(tmp_path):
    template = tmp_path / "template.sqlite"
    with books.opened(f"sqlite:///{template}"):
        pass
    counted = itertools.count()

    def fresh() -> str:
        copied = tmp_path / f"{next(counted)}.sqlite"
        shutil.copy(template, copied)
        return f"sqlite:///{copied}"

    return fresh


@pytest.fixture
def on_postgresql(postgres):
    names = []

    def fresh() -> str:
        names.append(f"money{id(names)}n{len(names)}")
        url = postgres.create(names[-1])
        with books.opened(url):
            pass
        return url

    yield fresh
    for name in names:
        postgres.drop(name)


# what the runs have to come by, lest they show nothing
ENDS = {"charging", "expired", "captured", "partly_refunded", "refunded", "disputed", "released",
        "failed", "invoiced", "done"}  # fmt: skip


@pytest.mark.parametrize("unit, fee_ppm", [(1, 14000), (10, None)])
def test_on_sqlite(on_sqlite, monkeypatch, unit, fee_ppm):
    monkeypatch.setitem(UNITS, "simulated", {"EUR": unit})
    assert run(on_sqlite, 8, 25, fee_ppm) >= {"captured", "released", "done"}


def test_on_postgresql(on_postgresql):
    assert "captured" in run(on_postgresql, 3, 25)


@SOAK
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("unit, fee_ppm", [(1, 14000), (10, None)])
def test_long_on_sqlite(on_sqlite, monkeypatch, unit, fee_ppm):
    monkeypatch.setitem(UNITS, "simulated", {"EUR": unit})
    assert run(on_sqlite, 500, 60, fee_ppm, repeatable=False) >= ENDS


@SOAK
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_long_on_postgresql(on_postgresql):
    assert run(on_postgresql, 60, 60, repeatable=False) >= ENDS - {"disputed", "invoiced"}
