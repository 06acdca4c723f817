"""Stripe's webhooks: that something has changed, never what. Whose signature holds has the
authorisation looked at again; how it stands is asked of Stripe itself, so an event that is late,
doubled or out of order does nothing wrong (docs.stripe.com/webhooks)."""

import datetime
import json
import re
from typing import Any

import stripe
from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback.db.database import stamp
from tillback.db.tables import Authorization
from tillback.payments import disputes
from tillback.payments.states import PaymentError
from tillback.payments.stripe import Dispute, Stripe

TOLERANCE_S = 300
_DISPUTE = re.compile(r"(du|dp)_[A-Za-z0-9]{1,64}")
_ASKED = ("requested", "charging", "to_capture", "to_release")  # whose `due_at` is a question


class BadEvent(PaymentError):
    """It is not Stripe's, or not of now."""


def read(body: bytes, signature: str | None, secret: str) -> dict[str, Any]:
    """The event in a body. Raises BadEvent for one that is forged, replayed later than TOLERANCE_S,
    or no event."""
    try:
        text = body.decode()
        stripe.WebhookSignature.verify_header(text, signature or "", secret, TOLERANCE_S)
        found = json.loads(text)
    except stripe.SignatureVerificationError as error:
        raise BadEvent("the signature does not hold, or is too old") from error
    except (ValueError, RecursionError) as error:
        raise BadEvent("not JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        raise BadEvent("not an event")
    return found


def hint(session: Session, event: dict[str, Any], at: datetime.datetime) -> str | None:
    """Has the authorisation that an event is of looked at now; its reference, where there is
    something to look at."""
    thing = event["data"].get("object")
    named = thing.get("metadata") if isinstance(thing, dict) else None
    ref = named.get("evtill_ref") if isinstance(named, dict) else None
    if not isinstance(ref, str):
        return None
    auth = session.scalars(
        select(Authorization).where(Authorization.ref == ref).with_for_update()
    ).one_or_none()
    if auth is None or auth.provider != Stripe.name or auth.state not in _ASKED:
        return None
    auth.due_at = stamp(at)
    return ref


def dispute_of(event: dict[str, Any]) -> str | None:
    """The id of the dispute that an event is of."""
    thing = event["data"].get("object")
    id_ = thing.get("id") if isinstance(thing, dict) else None
    return id_ if isinstance(id_, str) and _DISPUTE.fullmatch(id_) else None


def book(session: Session, found: Dispute, at: datetime.datetime) -> None:
    """Books a dispute as Stripe, asked, says it is; again is no error. One of a payment that is not
    ours is nobody's concern here. Raises PaymentError, LedgerError for what cannot be booked."""
    auth = session.scalars(
        select(Authorization)
        .where(Authorization.provider == Stripe.name, Authorization.provider_ref == found.payment)
    ).one_or_none()  # fmt: skip
    if auth is None:
        return
    if auth.currency != found.currency:
        raise PaymentError(f"{found.id} is in {found.currency}, authorisation {auth.ref} is not")
    disputes.opened(session, auth.ref, found.id, found.amount_minor, at)
    if found.is_won:
        disputes.won(session, auth.ref, found.id, at)
