"""The money of an authorisation, step by step: taken once, given back once, never lost."""

import asyncio
import datetime
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from host_tests.fakes import books, records
from tillback import ledger
from tillback.db.database import stamp
from tillback.db.tables import Alarm, AuthorizationChange, Refund
from tillback.payments import authorizations, disputes, refunds
from tillback.payments.authorizations import Asked
from tillback.payments.settle import LEASE_S, Settler
from tillback.payments.simulated import BROKEN, BROKEN_AFTER, DOWN, LOST, NO_COVER, Simulated
from tillback.payments.states import PaymentError
from tillback.payments.units import LEAST, UNITS

CARD = Asked("card", "EUR", records.CHARGER, provider="simulated", hold_minor=5000, source="card")


class World:
    """A database, a provider and a clock."""

    def __init__(self, database):
        self.now = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
        self.database = database
        self.provider = Simulated(clock=self.clock)
        self.settler = Settler(database, {"simulated": self.provider}, self.clock)
        self.seq = 0

    def clock(self):
        return self.now

    def run(self, s=0):
        self.now += datetime.timedelta(seconds=s)
        return self.settler.run_due()

    def do(self, call, *given):
        with self.database.write() as session:
            return call(session, *given, self.now)

    def held(self, **changes):
        """A hold that a session is under way on; its reference."""
        ref = self.do(authorizations.create, Asked(**vars(CARD) | changes)).ref
        self.run()
        self.do(authorizations.begin, ref)
        return ref

    def arrive(self, ref, gross=720, **more):
        self.seq += 1
        with self.database.write() as session:
            books.arrive(session, books.record(self.seq, ref, gross=gross, **more),
                         at=stamp(self.now))  # fmt: skip

    def captured(self, gross=720, **changes):
        ref = self.held(**changes)
        self.arrive(ref, gross, currency=changes.get("currency", "EUR"))
        self.run()
        return ref

    def auth(self, ref):
        with self.database.read() as session:
            return authorizations.get(session, ref)

    def payment(self, ref):
        return self.provider.payments[self.auth(ref).provider_ref]

    def balances(self):
        with self.database.read() as session:
            return {name: minor for name, _, minor in ledger.balances(session) if minor}

    def alarms(self):
        with self.database.read() as session:
            return session.scalars(select(Alarm.name).order_by(Alarm.row)).all()

    def refunds(self):
        with self.database.read() as session:
            return session.scalars(select(Refund).order_by(Refund.created_at)).all()


@pytest.fixture
def world(tmp_path):
    with books.opened(f"sqlite:///{tmp_path}/t.sqlite") as database:
        found = World(database)
        yield found
        books.sound(database)


def test_from_hold_to_capture(world):
    ref = world.held()
    auth = world.auth(ref)
    assert (auth.state, auth.due_at) == ("charging", auth.hold_until_at)
    world.arrive(ref)
    assert world.run() == 1
    auth = world.auth(ref)
    assert (auth.state, auth.captured_minor, auth.fee_minor) == ("captured", 720, 11)
    assert auth.due_at is None
    assert world.payment(ref).captured_minor == 720
    assert world.balances() == {
        "provider:simulated": 709, "provider_fees": 11, "revenue": -605, "vat:19": -115,
    }  # fmt: skip
    with world.database.read() as session:
        steps = session.scalars(
            select(AuthorizationChange.new).order_by(AuthorizationChange.row)
        ).all()
    assert steps == ["requested", "authorised", "charging", "to_capture", "captured"]
    assert world.run(10**6) == 0


@pytest.mark.parametrize("fault", [DOWN, LOST, BROKEN])
def test_whatever_goes_wrong_it_is_taken_once(world, fault):
    ref = world.held()
    world.arrive(ref)
    world.provider.faults += ["", fault]  # the question is answered, the order is not
    world.run()
    assert world.auth(ref).state == "to_capture"
    assert world.run(4) == 0  # not before the pause is over
    world.run(1)
    assert world.auth(ref).state == "captured"
    assert world.auth(ref).attempt == (fault == BROKEN)
    assert world.payment(ref).captured_minor == 720


def test_pauses_grow_and_it_says_so_but_does_not_give_up(world):
    ref = world.held()
    world.arrive(ref)
    world.provider.faults += [DOWN] * 20
    waited = []
    while world.provider.faults:
        assert world.run() == 1
        due = datetime.datetime.fromisoformat(world.auth(ref).due_at)
        waited.append((due - world.now).total_seconds())
        assert world.alarms() == (["settlement_stuck"] if len(waited) >= 8 else [])
        world.now = due
    assert waited[:4] == [5, 10, 20, 40]
    assert waited[-3:] == [3600] * 3
    world.run()
    assert world.auth(ref).state == "captured"


def test_a_bill_of_nothing_frees_the_hold(world):
    ref = world.captured(gross=0)
    assert world.auth(ref).state == "released"
    assert world.payment(ref).state == "released"
    assert world.alarms() == []


def test_a_bill_above_the_hold_takes_the_hold_and_leaves_the_rest_open(world):
    ref = world.captured(gross=6000)
    assert world.auth(ref).captured_minor == 5000
    assert world.balances()[f"receivable:{books.TOKEN}"] == 1000
    assert world.alarms() == ["not_collected"]


@pytest.mark.parametrize("gross, taken, waived", [(723, 720, 3), (9, 0, 9), (720, 720, 0)])
def test_what_the_provider_cannot_move_is_waived(world, monkeypatch, gross, taken, waived):
    monkeypatch.setitem(UNITS, "simulated", {"KWD": 10})
    ref = world.captured(gross, currency="KWD")
    assert world.auth(ref).captured_minor == taken
    assert world.auth(ref).state == ("captured" if taken else "released")
    assert world.balances().get("waived", 0) == waived
    assert world.alarms() == []


def test_a_card_without_cover_opens_nothing(world):
    ref = world.do(authorizations.create, Asked(**vars(CARD) | {"source": NO_COVER})).ref
    world.run()
    auth = world.auth(ref)
    assert (auth.state, auth.due_at, auth.reason) == ("failed", None, "the card has no cover")


def test_a_payer_may_take_a_while_but_not_for_ever(world):
    refs = [world.do(authorizations.create, Asked(**vars(CARD) | {"source": None})).ref
            for _ in range(2)]  # fmt: skip
    world.run()
    for _ in range(20):
        world.run(5)
    assert [world.auth(ref).state for ref in refs] == ["requested"] * 2
    world.provider.pay(world.auth(refs[0]).provider_ref)
    world.run(5)
    world.run(900)
    world.run(5)
    assert [world.auth(ref).state for ref in refs] == ["expired", "released"]
    assert world.payment(refs[0]).state == "held"  # never freed by the time alone
    assert world.alarms() == []


def test_a_hold_that_lapses_under_a_session_is_said(world):
    ref = world.held()
    world.run(7 * 86400)
    assert world.auth(ref).state == "expired"
    world.arrive(ref)
    world.run()
    assert world.auth(ref).state == "failed"
    assert world.alarms() == ["hold_lapsed", "capture_failed"]
    assert world.balances()[f"receivable:{books.TOKEN}"] == 720


def test_a_hold_that_nobody_used_is_over_when_it_lapses(world):
    ref = world.do(authorizations.create, CARD).ref
    world.run()
    world.run(900)
    assert world.auth(ref).state == "expired"
    world.run(7 * 86400)
    assert (world.auth(ref).state, world.alarms()) == ("released", [])
    world.arrive(ref)
    assert world.alarms() == ["record_too_late"]


def test_a_cancelled_hold_is_given_back_even_if_its_answer_was_lost(world):
    ref = world.do(authorizations.create, CARD).ref
    world.provider.faults.append(LOST)
    world.run()
    assert world.auth(ref).provider_ref is None
    world.do(authorizations.cancel, ref, "no car")
    world.run()
    world.run(5)
    assert (world.auth(ref).state, world.auth(ref).reason) == ("released", "given back")
    assert [one.state for one in world.provider.payments.values()] == ["released"]


def test_a_hold_that_is_cancelled_while_it_is_made_is_given_back(world):
    ref = world.do(authorizations.create, CARD).ref
    hold = world.provider.hold

    def while_holding(*given):
        world.do(authorizations.cancel, ref, "no car")
        return hold(*given)

    world.provider.hold = while_holding
    world.run()
    assert world.auth(ref).state == "released"
    assert [one.state for one in world.provider.payments.values()] == ["released"]


def test_a_record_that_overtakes_the_release_is_still_paid(world):
    ref = world.held()
    world.do(authorizations.not_started, ref, "not plugged")
    world.arrive(ref)
    world.run()
    assert world.auth(ref).state == "captured"


def test_money_that_somebody_else_moved_is_not_booked_but_said(world):
    ref = world.held()
    world.provider.capture(world.auth(ref).provider_ref, 99, "EUR", "by hand")
    world.do(authorizations.not_started, ref, "")
    world.run()
    assert (world.auth(ref).state, world.auth(ref).due_at) == ("to_release", None)
    assert world.alarms() == ["provider_disagrees"]


def test_a_provider_that_is_not_configured_waits(world):
    ref = world.held()
    world.arrive(ref)
    lame = Settler(world.database, {}, world.clock)
    assert lame.run_due() == 1
    assert world.auth(ref).reason == "no provider 'simulated' is configured"
    world.run(5)
    assert world.auth(ref).captured_minor == 720


@pytest.mark.parametrize("known", [True, False])
def test_a_fee_that_is_known_later_is_booked_later(world, known):
    world.provider.fee_ppm = None
    ref = world.captured()
    assert "provider_fees" not in world.balances()
    world.do(refunds.create, ref, 20, "goodwill")
    world.run()
    assert world.auth(ref).state == "partly_refunded"
    if known:
        world.provider.payments[world.auth(ref).provider_ref] = replace(
            world.payment(ref), fee_minor=11
        )
    for _ in range(5):
        world.run(3600)
    assert world.auth(ref).due_at is None
    assert world.balances().get("provider_fees", 0) == world.auth(ref).fee_minor == 11 * known
    assert world.alarms() == ([] if known else ["fee_unknown"])


def test_one_step_at_once(world):
    ref = world.do(authorizations.create, CARD).ref
    other = world.do(authorizations.create, CARD).ref
    assert world.settler.step(ref)
    assert [world.auth(one).state for one in (ref, other)] == ["authorised", "requested"]
    assert not world.settler.step(ref)


def test_what_one_has_taken_another_leaves_alone(world):
    """Until the lease is over: then whoever took it is dead, and the question comes first."""
    ref = world.held()
    world.arrive(ref)
    second = Settler(world.database, {"simulated": world.provider}, world.clock)
    seen = []
    ask = world.provider.state

    def while_asking(payment):
        seen.append(second.run_due())
        world.provider.state = ask
        raise KeyboardInterrupt

    world.provider.state = while_asking
    with pytest.raises(KeyboardInterrupt):
        world.run()
    assert seen == [0]
    assert world.run(LEASE_S - 1) == 0
    world.run(1)
    assert world.auth(ref).state == "captured"


def test_several_settle_side_by_side(database_url):
    """On PostgreSQL they pass each other by; on SQLite one at a time writes."""
    with books.opened(database_url) as database:
        world = World(database)
        refs = [world.held() for _ in range(12)]
        for ref in refs:
            world.arrive(ref)
        asked = []
        capture = world.provider.capture
        world.provider.capture = lambda payment, *given: (
            asked.append(payment), capture(payment, *given))[1]  # fmt: skip
        settlers = [Settler(database, {"simulated": world.provider}, world.clock)
                    for _ in range(4)]  # fmt: skip
        with ThreadPoolExecutor(4) as pool:
            steps = list(pool.map(Settler.run_due, settlers))
        assert sum(steps) == 12
        assert sorted(asked) == sorted(world.auth(ref).provider_ref for ref in refs)
        assert {world.auth(ref).state for ref in refs} == {"captured"}
        books.sound(database)


@pytest.mark.parametrize("what, order", [("hold", 0), ("capture", 1), ("refund", 0)])
def test_an_error_after_the_deed_is_found_out(world, what, order):
    if what == "hold":
        ref = world.do(authorizations.create, CARD).ref
    elif what == "capture":
        ref = world.held()
        world.arrive(ref)
    else:
        ref = world.captured()
        world.do(refunds.create, ref, 100, "goodwill")
    world.provider.faults += [""] * order + [BROKEN_AFTER]
    world.run()
    world.run(5)
    wanted = {"hold": "authorised", "capture": "captured", "refund": "partly_refunded"}
    assert world.auth(ref).state == wanted[what]
    assert sum(one.captured_minor for one in world.provider.payments.values()) == (
        world.auth(ref).captured_minor)  # fmt: skip
    assert sum(world.provider.repaid_minor.values()) == world.auth(ref).refunded_minor


def test_refunds_in_parts_give_all_the_vat_back(world):
    ref = world.captured()
    for part in (1, 333, 100, None):
        world.do(refunds.create, ref, part, "goodwill")
        world.run()
    auth = world.auth(ref)
    assert (auth.state, auth.refunded_minor) == ("refunded", 720)
    assert [one.amount_minor for one in world.refunds()] == [1, 333, 100, 286]
    assert world.balances() == {
        "provider:simulated": -11, "provider_fees": 11, "refunds": 605, "revenue": -605,
    }  # fmt: skip
    assert world.provider.repaid_minor[auth.provider_ref] == 720


def test_no_more_is_refunded_than_was_taken(world):
    ref = world.captured()
    world.do(refunds.create, ref, 500, "goodwill")
    for wrong in (221, 0, -1):
        with pytest.raises(PaymentError, match="220 EUR minor units are left"):
            world.do(refunds.create, ref, wrong, "goodwill")
    with pytest.raises(PaymentError, match="is charging: there is nothing to refund"):
        world.do(refunds.create, world.held(), 1, "goodwill")
    world.run()
    assert world.auth(ref).state == "partly_refunded"


@pytest.mark.parametrize("fault", [DOWN, LOST, BROKEN])
def test_a_refund_is_made_once(world, fault):
    ref = world.captured()
    world.do(refunds.create, ref, 100, "goodwill")
    world.provider.faults.append(fault)
    world.run()
    assert world.refunds()[0].state == "pending"
    world.run(5)
    assert world.refunds()[0].state == "done"
    assert world.provider.repaid_minor[world.auth(ref).provider_ref] == 100


def test_a_refund_that_is_declined_is_said(world):
    ref = world.captured()
    world.provider.refund(world.auth(ref).provider_ref, "by hand", 700, "EUR", "by hand")
    world.do(refunds.create, ref, 100, "goodwill")
    world.run()
    assert (world.refunds()[0].state, world.alarms()) == ("failed", ["refund_failed"])
    assert world.auth(ref).state == "captured"


@pytest.mark.parametrize("gross, refunded, alarms", [
    (600, 120, []), (0, 720, []), (720, 0, []), (800, 0, ["not_collected"]),
])  # fmt: skip
@pytest.mark.parametrize("when", ["before", "under way", "after"])
def test_an_amendment_settles_the_difference(world, gross, refunded, alarms, when):
    """By then taken: less is refunded, more stays open. Not yet taken: it is taken right."""
    ref = world.held()
    world.arrive(ref)
    if when == "under way":
        world.provider.faults += ["", DOWN]
    if when != "before":
        world.run()
    world.arrive(ref, gross, amends=f"{records.CHARGER}-1")
    world.run(5)
    auth = world.auth(ref)
    if when == "before":
        assert auth.captured_minor == gross
        assert (world.refunds(), world.alarms()) == ([], [])
        return
    assert (auth.captured_minor, auth.refunded_minor) == (720, refunded)
    assert world.alarms() == alarms
    assert world.balances().get(f"receivable:{books.TOKEN}", 0) == max(0, gross - 720)
    assert "refunds" not in world.balances()  # it was never sold


def test_a_bill_below_the_providers_least_is_waived(world, monkeypatch):
    monkeypatch.setitem(LEAST, "simulated", {"EUR": 50})
    ref = world.captured(49)
    assert (world.auth(ref).state, world.payment(ref).state) == ("released", "released")
    assert world.balances()["waived"] == 49
    assert world.captured(50) and world.balances()["waived"] == 49
    assert world.alarms() == []
    with pytest.raises(PaymentError, match="want 50 to"):
        world.do(authorizations.create, Asked(**vars(CARD) | {"hold_minor": 49}))


def test_what_cannot_be_moved_back_stays_owed(world, monkeypatch):
    monkeypatch.setitem(UNITS, "simulated", {"EUR": 10})
    ref = world.captured()
    world.arrive(ref, 605, amends=f"{records.CHARGER}-1")
    world.run()
    assert world.auth(ref).refunded_minor == 110
    assert world.balances()[f"receivable:{books.TOKEN}"] == -5
    with pytest.raises(PaymentError, match="multiple of 10 for EUR"):
        world.do(refunds.create, ref, 5, "goodwill")
    with pytest.raises(PaymentError, match="multiple of 10 for EUR"):
        world.do(authorizations.create, Asked(**vars(CARD) | {"hold_minor": 5001}))


def test_an_amendment_after_a_refund_owes_no_more_than_is_left(world):
    ref = world.captured()
    world.do(refunds.create, ref, 700, "goodwill")
    world.run()
    world.arrive(ref, 0, amends=f"{records.CHARGER}-1")
    world.run()
    assert world.auth(ref).refunded_minor == 720
    assert world.alarms() == ["owed_and_not_held"]


def test_a_dispute_takes_the_money_and_may_bring_it_back(world):
    ref = world.captured()
    world.do(refunds.create, ref, 20, "goodwill")
    world.run()
    for _ in range(2):
        assert world.do(disputes.opened, ref, "dp_1", 700).state == "disputed"
    assert world.balances()["disputed"] == 700
    with pytest.raises(PaymentError, match="is disputed"):
        world.do(refunds.create, ref, 1, "goodwill")
    world.do(disputes.opened, ref, "dp_2", 5)
    assert world.do(disputes.won, ref, "dp_1").state == "disputed"
    for _ in range(2):
        assert world.do(disputes.won, ref, "dp_2").state == "partly_refunded"
    assert "disputed" not in world.balances()
    assert world.alarms() == ["disputed", "disputed"]
    with pytest.raises(PaymentError, match="no dispute 'dp_3'"):
        world.do(disputes.won, ref, "dp_3")
    with pytest.raises(PaymentError, match="nothing can be disputed"):
        world.do(disputes.opened, world.held(), "dp_4", 1)


def test_it_runs_until_it_is_told_to_end(world):
    ref = world.held()
    world.arrive(ref)

    async def serve():
        task = asyncio.create_task(world.settler.run())
        while world.auth(ref).state != "captured":
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(serve(), 10))
    assert world.auth(ref).captured_minor == 720
