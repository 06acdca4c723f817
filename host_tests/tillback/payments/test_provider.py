"""The contract of every payment provider: the simulated one, and Stripe by its own SDK against a
server (localstripe, behind an edge that refuses what Stripe refuses)."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import stripe as sdk

from host_tests.fakes import stripe_api
from host_tests.fakes.stripe_api import StripeApi
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
from tillback.payments.simulated import BROKEN, DOWN, LOST, Simulated
from tillback.payments.stripe import Stripe

_count = itertools.count(1)


@dataclass
class World:
    """A provider, what it knows good and bad cards by, and what it really took."""

    provider: Any
    good: str
    bad: str
    faults: list[str]
    taken: Any

    def hold(self, amount=5000, currency="EUR", **more):
        return self.provider.hold("ref1", amount, currency, self.good, more.get("key", key()))


def key():
    return f"key{next(_count)}"


@pytest.fixture(scope="module")
def api():
    with StripeApi() as found:
        yield found


@pytest.fixture(scope="module")
def cards(api):
    """What Stripe knows a good and a bad card by."""
    client = sdk.StripeClient("sk_test_1", base_addresses={"api": api.url}).v1
    return [
        client.payment_methods.create({"type": "card", "card": {
            "number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123",
        }}).id for number in (stripe_api.GOOD_CARD, stripe_api.CARD_WITHOUT_COVER)
    ]  # fmt: skip


@pytest.fixture(params=["simulated", "stripe"])
def world(request):
    if request.param == "simulated":
        one = Simulated()
        yield World(one, "card", simulated.NO_COVER, one.faults,
                    lambda payment: one.payments[payment].captured_minor)  # fmt: skip
        assert one.faults == []
        return
    api, cards = request.getfixturevalue("api"), request.getfixturevalue("cards")
    provider = Stripe("sk_test_1", api.url, 5)
    yield World(provider, *cards, api.faults, api.received_minor)
    assert api.faults == []


def test_what_is_held_is_there_and_not_taken(world):
    made = world.hold()
    assert (made.state, made.held_minor, made.captured_minor) == (HELD, 5000, 0)
    assert made.until_at and made.until_at.endswith("Z")
    assert world.provider.state(made.id) == made
    assert world.taken(made.id) == 0


@pytest.mark.parametrize("amount", [1, 1234, 5000])
def test_some_of_it_is_taken_and_the_rest_is_free(world, amount):
    made = world.hold()
    taken = world.provider.capture(made.id, amount, "EUR", key())
    assert (taken.state, taken.captured_minor) == (CAPTURED, amount)
    assert taken.fee_minor == -(-amount * 14000 // 10**6)
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


@pytest.mark.parametrize("fault, error", [(DOWN, Unreachable), (LOST, Unreachable)])
def test_an_order_without_an_answer_is_given_again_and_done_once(world, fault, error):
    same, taking, giving = key(), key(), key()
    world.faults.append(fault)
    with pytest.raises(error):
        world.hold(key=same)
    made = world.hold(key=same)
    for order in (
        lambda: world.provider.capture(made.id, 700, "EUR", taking),
        lambda: world.provider.refund(made.id, "re1", 200, "EUR", giving),
    ):
        world.faults.append(fault)
        with pytest.raises(error):
            order()
        answer = order()
        assert order() == answer
    assert world.taken(made.id) == 700
    with pytest.raises(Declined):
        world.provider.refund(made.id, "re2", 501, "EUR", key())


def test_an_error_of_its_own_is_the_same_for_ever_and_nothing_is_done(world):
    made, same = world.hold(), key()
    world.faults.append(BROKEN)
    for _ in range(2):
        with pytest.raises(Unsure):
            world.provider.capture(made.id, 700, "EUR", same)
    assert world.provider.state(made.id).state == HELD
    assert world.provider.capture(made.id, 700, "EUR", key()).state == CAPTURED


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
    world.faults.append(fault)
    with pytest.raises(Unreachable):
        world.provider.state(made.id)
    assert world.provider.state(made.id) == made
