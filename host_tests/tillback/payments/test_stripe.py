"""What is Stripe's own: its amounts, its errors, and a secret that stays one."""

import logging

import pytest

from host_tests.fakes import stripe_api
from host_tests.fakes.stripe_api import StripeApi
from tillback.payments.provider import HELD, PENDING, Declined, Unreachable, Unsure
from tillback.payments.stripe import Stripe
from tillback.payments.units import unit_minor


@pytest.fixture(scope="module")
def api():
    with StripeApi() as found:
        yield found


@pytest.fixture
def provider(api):
    return Stripe("sk_test_secret", api.url, 5)


@pytest.mark.parametrize("currency, minor, theirs", [
    ("EUR", 1234, 1234), ("JPY", 1234, 1234), ("ISK", 1234, 123400), ("UGX", 5, 500),
    ("MGA", 1200, 12), ("KWD", 1230, 1230),
])  # fmt: skip
def test_amounts_are_stripes_and_come_back_as_ours(api, provider, currency, minor, theirs):
    made = provider.hold("ref1", minor, currency, None, f"amount {currency}")
    stored = stripe_api.resources.store[f"payment_intent:{made.id}"]
    assert (stored.amount, stored.currency) == (theirs, currency.lower())
    assert stored.capture_method == "manual"
    assert stored.metadata == {"evtill_ref": "ref1"}
    assert (made.state, made.held_minor) == (PENDING, minor)


@pytest.mark.parametrize("currency, unit", [("EUR", 1), ("KWD", 10), ("MGA", 100), ("JPY", 1)])
def test_what_stripe_cannot_move_is_declined_before_it_is_asked(api, provider, currency, unit):
    assert unit_minor("stripe", currency) == unit
    if unit > 1:
        asked = len(api.seen)
        with pytest.raises(Declined, match=currency):
            provider.hold("ref1", unit + 1, currency, None, "k")
        assert len(api.seen) == asked


def test_a_hold_says_when_it_lapses(api, provider):
    card = provider._client.payment_methods.create({"type": "card", "card": {
        "number": stripe_api.GOOD_CARD, "exp_month": 12, "exp_year": 2040, "cvc": "123",
    }}).id  # fmt: skip
    made = provider.hold("ref1", 5000, "EUR", card, "until")
    assert (made.state, made.until_at) == (HELD, "2026-03-03T08:00:00.000Z")


def test_a_busy_stripe_is_asked_again(api, provider):
    api.busy = True
    with pytest.raises(Unreachable, match="429"):
        provider.hold("ref1", 5000, "EUR", None, "busy")
    api.busy = False
    assert provider.hold("ref1", 5000, "EUR", None, "busy").state == PENDING


def test_a_wrong_key_is_no_refusal_of_the_order(api):
    """It will do when the key is put right."""
    with pytest.raises(Unreachable, match="401"):
        Stripe("wrong", api.url, 5).hold("ref1", 5000, "EUR", None, "k")


def test_nobody_there_is_unreachable():
    with pytest.raises(Unreachable):
        Stripe("sk_test_secret", "http://127.0.0.1:9", 1).state("pi_1")


def test_an_answer_that_cannot_be_read_is_no_answer(api, provider, monkeypatch):
    made = provider.hold("ref1", 5000, "EUR", None, "odd")
    monkeypatch.setattr(stripe_api, "_completed", lambda said: said | {"status": "surprised"})
    with pytest.raises(Unsure, match="cannot be read"):
        provider.state(made.id)
    monkeypatch.setattr(stripe_api, "_completed", lambda said: {"object": "payment_intent"})
    with pytest.raises(Unsure, match="cannot be read"):
        provider.state(made.id)


def test_no_secret_in_logs_or_errors(api, provider, caplog):
    caplog.set_level(logging.DEBUG)
    made = provider.hold("ref1", 5000, "EUR", None, "quiet")
    with pytest.raises(Declined) as refused:
        provider.state("pi_none")
    said = caplog.text + str(refused.value)
    assert "sk_test_secret" not in said
    assert made.secret and made.secret not in said
