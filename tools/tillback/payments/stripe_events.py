"""Stripe's webhooks: that something has changed, never what. Whose signature holds has the
authorisation looked at again; how it stands is asked of Stripe itself, so an event that is late,
doubled or out of order does nothing wrong (docs.stripe.com/webhooks)."""

import datetime
import json
from typing import Any

import stripe
from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback.db.database import stamp
from tillback.db.tables import Authorization
from tillback.payments.states import PaymentError

TOLERANCE_S = 300
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
    if auth is None or auth.provider != "stripe" or auth.state not in _ASKED:
        return None
    auth.due_at = stamp(at)
    return ref
