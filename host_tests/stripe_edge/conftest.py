from collections.abc import Callable
from typing import Any

import pytest
import stripe

from host_tests.stripe_edge.server import Edge


@pytest.fixture
def sdk(stripe_edge: Edge) -> stripe.StripeClient:
    return stripe_edge.sdk()


@pytest.fixture
def hold(sdk: stripe.StripeClient) -> Callable[..., stripe.PaymentIntent]:
    """Makes a hold of EUR 50.00 on a Visa card, or other."""

    def make(**other: Any) -> stripe.PaymentIntent:
        params: Any = {"amount": 5000, "currency": "eur", "payment_method": "pm_card_visa",
                       "payment_method_types": ["card"], "capture_method": "manual",
                       "confirm": True}  # fmt: skip
        return sdk.v1.payment_intents.create(params={**params, **other})

    return make
