"""Stripe's test cards (docs.stripe.com/testing), and how long a hold on one lasts
(docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""

from dataclasses import dataclass

_DAY_S = 24 * 3600
_VISA_WINDOW_S = 4 * _DAY_S + 18 * 3600
HOLD_S = {  # (kind of payment, brand): seconds
    ("customer", "visa"): 7 * _DAY_S,
    ("customer", "mastercard"): 7 * _DAY_S,
    ("merchant", "visa"): _VISA_WINDOW_S,  # off_session: the card's owner is not there
    ("merchant", "mastercard"): 7 * _DAY_S,
    ("terminal", "visa"): _VISA_WINDOW_S,
    ("terminal", "mastercard"): 2 * _DAY_S,
}


@dataclass(frozen=True)
class Card:
    """decline: (code, decline_code, message) of its bank; secure: 3-D Secure comes first; refund:
    what state a refund to it has at first."""

    brand: str = "visa"
    decline: tuple[str, str | None, str] | None = None
    secure: bool = False
    refund: str = "succeeded"


def _declined(reason: str, secure: bool = False) -> Card:
    return Card("visa", ("card_declined", reason, "Your card was declined."), secure)


VISA = "4242424242424242"
CARDS = {
    VISA: Card(),
    "5555555555554444": Card("mastercard"),
    "4000000000000002": _declined("generic_decline"),
    "4000000000009995": _declined("insufficient_funds"),
    "4000000000009987": _declined("lost_card"),
    "4000000000000341": _declined("generic_decline"),
    "4000000000000069": Card("visa", ("expired_card", None, "Your card has expired.")),
    "4000000000000127": Card("visa", ("incorrect_cvc", None, "The security code is incorrect.")),
    "4000000000000119": Card("visa", ("processing_error", None, "Your card was not processed.")),
    "4000002500003155": Card(secure=True),
    "4000002760003184": Card(secure=True),
    "4000008400001629": _declined("generic_decline", secure=True),
    "4000000000007726": Card(refund="pending"),
}
UNKNOWN = _declined("test_mode_live_card")  # any other number
TOKENS = {  # payment methods that are always there: the card behind it
    "pm_card_visa": VISA,
    "pm_card_mastercard": "5555555555554444",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_pendingRefund": "4000000000007726",
}


def card(number: str) -> Card:
    return CARDS.get(number, UNKNOWN)
