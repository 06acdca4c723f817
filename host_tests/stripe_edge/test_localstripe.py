"""The process behind the edge."""

import httpx
import pytest
import stripe

from host_tests.stripe_edge.localstripe import LocalStripe
from host_tests.stripe_edge.server import Edge


def test_each_edge_has_an_account_of_its_own(localstripe, hold, stripe_edge):
    intent = hold()
    with Edge(localstripe) as other:
        with pytest.raises(stripe.InvalidRequestError):
            other.sdk().v1.payment_intents.retrieve(intent.id)
        assert other.sdk().v1.payment_intents.list().data == []


def test_what_localstripe_does_is_passed_on(sdk):
    customer = sdk.v1.customers.create(params={"email": "driver@example.com"})
    assert sdk.v1.customers.retrieve(customer.id).email == "driver@example.com"
    method = sdk.v1.payment_methods.create(params={"type": "card", "card": {
        "number": "4000000000000002", "exp_month": 12, "exp_year": 2039, "cvc": "123",
    }})  # fmt: skip
    with pytest.raises(stripe.CardError):
        sdk.v1.payment_intents.create(params={
            "amount": 500, "currency": "eur", "payment_method": method.id, "confirm": True,
            "payment_method_types": ["card"],
        })  # fmt: skip


def test_its_end_is_its_end():
    with LocalStripe() as server:
        assert httpx.get(f"{server.url}/v1/balance", verify=False).status_code == 401
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/v1/balance", verify=False)
