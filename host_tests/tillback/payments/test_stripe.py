"""What is Stripe's own: its amounts, its errors, and a secret that stays one."""

import datetime
import logging

import pytest

from host_tests.stripe_edge import money
from tillback.payments.provider import HELD, PENDING, Declined, Unreachable, Unsure
from tillback.payments.stripe import Stripe
from tillback.payments.units import LEAST, least_minor, unit_minor


@pytest.fixture
def provider(stripe_edge):
    return Stripe(stripe_edge.key, stripe_edge.url, 5)


@pytest.mark.parametrize("currency, minor, theirs", [
    ("EUR", 1234, 1234), ("JPY", 1234, 1234), ("ISK", 1234, 123400), ("UGX", 5, 500),
    ("MGA", 1200, 12), ("KWD", 1230, 1230),
])  # fmt: skip
def test_amounts_are_stripes_and_come_back_as_ours(
    stripe_edge, provider, currency, minor, theirs
):  # fmt: skip
    made = provider.hold("ref1", minor, currency, None, f"amount {currency}")
    stored = stripe_edge.object(made.id)
    assert (stored["amount"], stored["currency"]) == (theirs, currency.lower())
    assert stored["capture_method"] == "manual"
    assert stored["metadata"] == {"evtill_ref": "ref1"}
    assert (made.state, made.held_minor) == (PENDING, minor)


@pytest.mark.parametrize("currency, unit", [("EUR", 1), ("KWD", 10), ("MGA", 100), ("JPY", 1)])
def test_what_stripe_cannot_move_is_declined_unasked(stripe_edge, provider, currency, unit):
    assert unit_minor("stripe", currency) == unit
    if unit > 1:
        with pytest.raises(Declined, match=currency):
            provider.hold("ref1", unit + 1, currency, None, "k")
        assert stripe_edge.calls == []


def test_a_hold_says_when_it_lapses(stripe_edge, provider):
    made = provider.hold("ref1", 5000, "EUR", "pm_card_visa", "until")
    until = datetime.datetime.fromisoformat(made.until_at).timestamp()
    card = stripe_edge.object(stripe_edge.object(made.id)["latest_charge"])
    assert (made.state, until) == (
        HELD, card["payment_method_details"]["card"]["capture_before"],
    )  # fmt: skip


@pytest.mark.parametrize("currency", sorted(LEAST["stripe"]))
def test_the_least_is_what_stripe_takes(provider, currency):
    least = least_minor("stripe", currency)
    assert provider.hold("ref1", least, currency, None, currency).held_minor == least
    if currency.lower() in money.MINIMUM:
        with pytest.raises(Declined, match="amount_too_small"):
            provider.hold("ref1", least - 1, currency, None, f"{currency} less")


def test_a_fee_may_come_later(stripe_edge, provider):
    stripe_edge.account.late_fees = True
    made = provider.hold("ref1", 5000, "EUR", "pm_card_visa", "hold")
    assert provider.capture(made.id, 1000, "EUR", "capture").fee_minor is None
    stripe_edge.book_fees()
    assert provider.state(made.id).fee_minor == money.fee(1000)


def test_a_busy_stripe_is_asked_again(stripe_edge, provider):
    stripe_edge.next_fault("create", "429")
    with pytest.raises(Unreachable, match="429"):
        provider.hold("ref1", 5000, "EUR", None, "busy")
    assert provider.hold("ref1", 5000, "EUR", None, "busy").state == PENDING


def test_a_wrong_key_is_no_refusal_of_the_order(stripe_edge):
    """It will do when the key is put right."""
    with pytest.raises(Unreachable, match="401"):
        Stripe("sk_test_wrong", stripe_edge.url, 5).hold("ref1", 5000, "EUR", None, "k")


def test_nobody_there_is_unreachable():
    with pytest.raises(Unreachable):
        Stripe("sk_test_secret", "http://127.0.0.1:9", 1).state("pi_1")


@pytest.mark.parametrize("odd", [{"status": "surprised"}, {"amount": None}, {"currency": 7}])
def test_an_answer_that_cannot_be_read_is_no_answer(stripe_edge, provider, odd):
    made = provider.hold("ref1", 5000, "EUR", None, "odd")
    stripe_edge.account.note(made.id, **odd)
    with pytest.raises(Unsure, match="cannot be read"):
        provider.state(made.id)


def test_no_secret_in_logs_or_errors(stripe_edge, provider, caplog):
    caplog.set_level(logging.DEBUG)
    made = provider.hold("ref1", 5000, "EUR", None, "quiet")
    with pytest.raises(Declined) as refused:
        provider.state("pi_none")
    said = caplog.text + str(refused.value)
    assert stripe_edge.key not in said
    assert made.secret and made.secret not in said
