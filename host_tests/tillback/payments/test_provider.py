"""The contract of every payment provider: the simulated one, and Stripe by its own SDK against
stripe_edge (localstripe, and what it lacks)."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from host_tests.stripe_edge import money
from tillback.payments import simulated
from tillback.payments.provider import (
    CAPTURED,
    DONE,
    HELD,
    PENDING,
    RELEASED,
    Declined,
    Unreachable,
    Unsure,
)
from tillback.payments.simulated import BROKEN, BROKEN_AFTER, DOWN, LOST, Simulated
from tillback.payments.stripe import Stripe

FAULTS = {DOWN: "drop", LOST: "lost_answer", BROKEN: "500", BROKEN_AFTER: "500_acted"}
_count = itertools.count(1)


@dataclass
class World:
    """A provider, what it knows good and bad cards by, and what it really took, keeps of that, and
    gave back. fails(order, fault): with the next of these orders, something goes wrong."""

    provider: Any
    good: str
    bad: str
    fails: Callable[[str, str], None]
    taken: Callable[[str], int]
    fee: Callable[[int], int]

    def hold(self, amount=5000, currency="EUR", **more):
        return self.provider.hold("ref1", amount, currency, self.good, more.get("key", key()))


def key():
    return f"key{next(_count)}"


@pytest.fixture(params=["simulated", "stripe"])
def world(request):
    if request.param == "simulated":
        one = Simulated()
        return World(
            one, "card", simulated.NO_COVER, lambda _, fault: one.faults.append(fault),
            lambda payment: one.payments[payment].captured_minor,
            lambda amount: -(-amount * 14000 // 10**6),
        )  # fmt: skip
    edge = request.getfixturevalue("stripe_edge")
    names = {"hold": "create", "state": "retrieve_payment_intent"}
    return World(
        Stripe(edge.key, edge.url, 5), "pm_card_visa", "pm_card_visa_chargeDeclined",
        lambda order, fault: edge.next_fault(names.get(order, order), FAULTS[fault]),
        lambda payment: edge.object(payment)["amount_received"], money.fee,
    )  # fmt: skip


def test_what_is_held_is_there_and_not_taken(world):
    made = world.hold()
    assert (made.state, made.held_minor, made.captured_minor) == (HELD, 5000, 0)
    assert made.until_at and made.until_at.endswith("Z")
    assert world.provider.state(made.id) == made
    assert world.taken(made.id) == 0


@pytest.mark.parametrize("amount", [50, 1234, 5000])
def test_some_of_it_is_taken_and_the_rest_is_free(world, amount):
    made = world.hold()
    taken = world.provider.capture(made.id, amount, "EUR", key())
    assert (taken.state, taken.captured_minor) == (CAPTURED, amount)
    assert taken.fee_minor == world.fee(amount)
    assert world.provider.state(made.id) == taken
    assert world.taken(made.id) == amount


def test_more_than_is_held_is_declined(world):
    made = world.hold()
    with pytest.raises(Declined):
        world.provider.capture(made.id, 5001, "EUR", key())
    assert world.provider.state(made.id).state == HELD


def test_it_is_taken_once(world):
    made, same = world.hold(), key()
    first = world.provider.capture(made.id, 100, "EUR", same)
    assert world.provider.capture(made.id, 100, "EUR", same) == first
    with pytest.raises(Declined):
        world.provider.capture(made.id, 100, "EUR", key())
    with pytest.raises(Declined):
        world.provider.release(made.id, key())
    assert world.taken(made.id) == 100


def test_what_is_given_back_cannot_be_taken(world):
    made, same = world.hold(), key()
    freed = world.provider.release(made.id, same)
    assert (freed.state, freed.captured_minor) == (RELEASED, 0)
    assert world.provider.release(made.id, same) == freed
    with pytest.raises(Declined):
        world.provider.capture(made.id, 100, "EUR", key())
    assert world.provider.state(made.id).state == RELEASED


def test_a_card_without_cover_is_declined_every_time(world):
    same = key()
    for _ in range(2):
        with pytest.raises(Declined):
            world.provider.hold("ref1", 5000, "EUR", world.bad, same)


def test_without_a_card_it_waits_for_the_payer(world):
    made = world.provider.hold("ref1", 5000, "EUR", None, key())
    assert made.state == PENDING
    assert made.secret
    assert world.provider.release(made.id, key()).state == RELEASED


def test_the_same_key_is_for_the_same_order_only(world):
    same = key()
    world.hold(key=same)
    with pytest.raises(Declined):
        world.hold(5001, key=same)


@pytest.mark.parametrize("fault", [DOWN, LOST])
def test_an_order_without_an_answer_is_given_again_and_done_once(world, fault):
    same, taking, giving = key(), key(), key()
    world.fails("hold", fault)
    with pytest.raises(Unreachable):
        world.hold(key=same)
    made = world.hold(key=same)
    for name, order in (
        ("capture", lambda: world.provider.capture(made.id, 700, "EUR", taking)),
        ("refund", lambda: world.provider.refund(made.id, "re1", 200, "EUR", giving)),
    ):
        world.fails(name, fault)
        with pytest.raises(Unreachable):
            order()
        answer = order()
        assert order() == answer
    assert world.taken(made.id) == 700
    with pytest.raises(Declined):
        world.provider.refund(made.id, "re2", 501, "EUR", key())


@pytest.mark.parametrize("fault, state", [(BROKEN, HELD), (BROKEN_AFTER, CAPTURED)])
def test_an_error_of_its_own_is_the_same_for_ever_and_says_nothing_of_the_deed(
    world, fault, state
):  # fmt: skip
    made, same = world.hold(), key()
    world.fails("capture", fault)
    for _ in range(2):
        with pytest.raises(Unsure):
            world.provider.capture(made.id, 700, "EUR", same)
    assert world.provider.state(made.id).state == state
    if state == HELD:
        assert world.provider.capture(made.id, 700, "EUR", key()).state == CAPTURED
    world.fails("refund", fault)
    with pytest.raises(Unsure):
        world.provider.refund(made.id, "re1", 200, "EUR", key())
    known = world.provider.refunded(made.id, "re1")
    assert (known is not None and known.state == DONE) == (fault == BROKEN_AFTER)
    assert world.taken(made.id) == 700


def test_refunds_come_to_no_more_than_was_taken(world):
    made = world.hold()
    world.provider.capture(made.id, 700, "EUR", key())
    assert world.provider.refunded(made.id, "re1") is None
    first = world.provider.refund(made.id, "re1", 300, "EUR", key())
    assert first.state == DONE
    with pytest.raises(Declined):
        world.provider.refund(made.id, "re2", 401, "EUR", key())
    second = world.provider.refund(made.id, "re2", 400, "EUR", key())
    assert world.provider.refunded(made.id, "re1") == first
    assert world.provider.refunded(made.id, "re2") == second
    assert world.provider.refunded(made.id, "re3") is None


def test_what_was_not_taken_is_not_refunded(world):
    with pytest.raises(Declined):
        world.provider.refund(world.hold().id, "re1", 1, "EUR", key())


def test_an_unknown_payment_is_declined(world):
    for order in (
        lambda: world.provider.state("pi_none"),
        lambda: world.provider.capture("pi_none", 1, "EUR", key()),
        lambda: world.provider.release("pi_none", key()),
    ):
        with pytest.raises(Declined):
            order()


@pytest.mark.parametrize("fault", [DOWN, LOST])
def test_a_question_without_an_answer(world, fault):
    made = world.hold()
    world.fails("state", fault)
    with pytest.raises(Unreachable):
        world.provider.state(made.id)
    assert world.provider.state(made.id) == made
