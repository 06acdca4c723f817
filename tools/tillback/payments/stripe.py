"""Stripe as a payment provider: a PaymentIntent with manual capture is a payment, by Stripe's own
SDK. Where the payer is to name a card on Stripe's page, it is a Checkout Session until that is done
(docs.stripe.com/api/checkout/sessions): the intent comes with the card.
Amounts: docs.stripe.com/currencies (zero-decimal, special cases, three-decimal)."""

import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import stripe

from tillback.db.database import stamp
from tillback.payments.provider import (
    CAPTURED,
    DONE,
    FAILED,
    HELD,
    PENDING,
    RELEASED,
    Declined,
    Payment,
    ProviderError,
    Repayment,
    Unreachable,
    Unsure,
)
from tillback.payments.units import unit_minor

_TIMEOUT_S = 20
_STATES = {
    "requires_payment_method": PENDING, "requires_confirmation": PENDING,
    "requires_action": PENDING, "processing": PENDING, "requires_capture": HELD,
    "canceled": RELEASED, "succeeded": CAPTURED,
}  # fmt: skip
_REPAID = {"pending": DONE, "requires_action": DONE, "succeeded": DONE, "failed": FAILED,
           "canceled": FAILED}  # fmt: skip
# Where Stripe's amounts are not ISO 4217's minor units: {currency: (times, divided by)}.
_SCALES = {"ISK": (100, 1), "UGX": (100, 1), "MGA": (1, 100)}
_EXPAND = ["latest_charge.balance_transaction"]
_SESSION, _SESSION_EXPAND = "cs_", ["payment_intent.latest_charge.balance_transaction"]

# A dispute's status: whether the bank has given the money back. In those that are not here it took
# none (docs.stripe.com/api/disputes/object).
_WON = {"needs_response": False, "under_review": False, "lost": False, "won": True}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Dispute:
    """What the payer's bank took back of a payment, and whether it has returned it."""

    id: str
    payment: str
    amount_minor: int
    currency: str
    is_won: bool


class Stripe:
    """`key`: a secret or restricted key: PaymentIntents, Checkout Sessions and refunds to write,
    disputes to read. `url`: another API than
    Stripe's own, for tests."""

    name = "stripe"

    def __init__(self, key: str, url: str | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        logging.getLogger("stripe").setLevel(logging.INFO)  # at DEBUG it tells clients' secrets
        self._client = stripe.StripeClient(
            key, base_addresses={"api": url} if url else None, max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout_s),
        ).v1  # fmt: skip

    def hold(
        self, ref: str, amount_minor: int, currency: str, source: str | None, key: str
    ) -> Payment:  # fmt: skip
        if source is not None and "://" in source:
            return self._checkout(ref, amount_minor, currency, source, key)
        asked: dict[str, Any] = {
            "amount": _theirs(amount_minor, currency), "currency": currency.lower(),
            "capture_method": "manual", "payment_method_types": ["card"],
            "metadata": {"evtill_ref": ref}, "expand": _EXPAND,
        }  # fmt: skip
        if source is not None:
            asked |= {"payment_method": source, "confirm": True}
        return _ask(_payment, self._client.payment_intents.create, asked, {"idempotency_key": key})

    def _checkout(
        self, ref: str, amount_minor: int, currency: str, back: str, key: str
    ) -> Payment:  # fmt: skip
        named = {"metadata": {"evtill_ref": ref}}
        asked: dict[str, Any] = {
            "mode": "payment", "payment_method_types": ["card"], "client_reference_id": ref,
            "line_items": [{"quantity": 1, "price_data": {
                "currency": currency.lower(), "unit_amount": _theirs(amount_minor, currency),
                "product_data": {"name": "EV charging"},
            }}],
            "payment_intent_data": {"capture_method": "manual", **named},
            "success_url": back, "cancel_url": back, "expand": _SESSION_EXPAND, **named,
        }  # fmt: skip
        return _ask(_session, self._client.checkout.sessions.create, asked,
                    {"idempotency_key": key})  # fmt: skip

    def state(self, payment: str) -> Payment:
        if payment.startswith(_SESSION):
            return _ask(_session, self._client.checkout.sessions.retrieve, payment,
                        {"expand": _SESSION_EXPAND})  # fmt: skip
        return _ask(_payment, self._client.payment_intents.retrieve, payment, {"expand": _EXPAND})

    def capture(self, payment: str, amount_minor: int, currency: str, key: str) -> Payment:
        asked = {"amount_to_capture": _theirs(amount_minor, currency), "expand": _EXPAND}
        return _ask(_payment, self._client.payment_intents.capture, payment, asked,
                    {"idempotency_key": key})  # fmt: skip

    def release(self, payment: str, key: str) -> Payment:
        if payment.startswith(_SESSION):
            options = {"idempotency_key": f"{key}:page"}
            return _ask(_session, self._client.checkout.sessions.expire, payment,
                        {"expand": _SESSION_EXPAND}, options)  # fmt: skip
        return _ask(_payment, self._client.payment_intents.cancel, payment, {"expand": _EXPAND},
                    {"idempotency_key": key})  # fmt: skip

    def refund(
        self, payment: str, refund: str, amount_minor: int, currency: str, key: str
    ) -> Repayment:  # fmt: skip
        asked = {"payment_intent": payment, "amount": _theirs(amount_minor, currency),
                 "metadata": {"evtill_refund": refund}}  # fmt: skip
        return _ask(_repayment, self._client.refunds.create, asked, {"idempotency_key": key})

    def refunded(self, payment: str, refund: str) -> Repayment | None:
        after: dict[str, Any] = {}
        while True:
            asked = {"payment_intent": payment, "limit": 100, **after}
            found, after = _ask(_page, self._client.refunds.list, asked)
            for one in found:
                if (one.get("metadata") or {}).get("evtill_refund") == refund:
                    return _repayment(one)
            if not after:
                return None

    def dispute(self, id_: str) -> Dispute | None:
        """The dispute of that id; None for one that has moved no money. Raises ProviderError."""
        return _ask(_dispute, self._client.disputes.retrieve, id_)


def _ask(read: Callable[[Any], _T], order: Callable[..., Any], *given: Any) -> _T:
    """What Stripe says to `order(*given)`, or the ProviderError that its refusal means."""
    try:
        said = order(*given)
        return read(said.to_dict() if isinstance(said, stripe.StripeObject) else said)
    except stripe.StripeError as error:
        raise _meant(error) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unsure(f"Stripe: an answer that cannot be read ({error!r})") from error


def _meant(error: stripe.StripeError) -> ProviderError:
    status = error.http_status or 0
    said = f"Stripe: {error.code or type(error).__name__} ({status})"
    if isinstance(error, stripe.CardError):
        return Declined(said)
    if isinstance(error, stripe.APIConnectionError) or status in (401, 403, 409, 429):
        return Unreachable(said)  # nothing done, or done under this key right now
    if isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError):
        return Declined(said)
    return Unsure(said)


def _payment(intent: dict[str, Any]) -> Payment:
    currency, state = intent["currency"].upper(), _STATES[intent["status"]]
    charge = intent.get("latest_charge") or {}
    held = intent["amount_capturable"] if state == HELD else intent["amount"]
    captured = _ours(intent["amount_received"], currency) if state == CAPTURED else 0
    return Payment(
        intent["id"], state, _ours(held, currency), captured,
        _fee_minor(charge, currency) if state == CAPTURED else None,
        _until(charge) if state == HELD else None,
        intent["client_secret"] if state == PENDING else None,
    )  # fmt: skip


def _session(session: dict[str, Any]) -> Payment:
    """Its payment, once the payer has paid."""
    if session["status"] == "complete":
        return _payment(session["payment_intent"])
    held = _ours(session["amount_total"], session["currency"].upper())
    if session["status"] == "expired":
        return Payment(session["id"], RELEASED, held)
    return Payment(session["id"], PENDING, held, secret=session["url"])


def _page(found: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A list's items, and what to ask for more of them."""
    items = found["data"]
    return items, {"starting_after": items[-1]["id"]} if found["has_more"] else {}


def _dispute(found: dict[str, Any]) -> Dispute | None:
    if found["status"] not in _WON:
        return None
    currency = found["currency"].upper()
    amount = _ours(found["amount"], currency)
    return Dispute(found["id"], found["payment_intent"], amount, currency, _WON[found["status"]])


def _repayment(refund: dict[str, Any]) -> Repayment:
    return Repayment(refund["id"], _REPAID[refund["status"]])


def _fee_minor(charge: dict[str, Any], currency: str) -> int | None:
    """What Stripe keeps, where it settles in the same currency."""
    booked = charge.get("balance_transaction")
    if not isinstance(booked, dict) or booked["currency"].upper() != currency:
        return None
    return _ours(booked["fee"], currency)


def _until(charge: dict[str, Any]) -> str | None:
    """When the hold lapses: the charge's capture_before."""
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    if card.get("capture_before") is None:
        return None
    return stamp(datetime.datetime.fromtimestamp(card["capture_before"], datetime.UTC))


def _theirs(minor: int, currency: str) -> int:
    times, divided = _SCALES.get(currency, (1, 1))
    unit = unit_minor(Stripe.name, currency)
    if minor % unit:
        raise Declined(f"Stripe moves multiples of {unit} {currency} minor units only")
    return minor * times // divided


def _ours(amount: int, currency: str) -> int:
    times, divided = _SCALES.get(currency, (1, 1))
    return amount * divided // times
