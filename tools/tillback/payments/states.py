"""The states of an authorisation's money, and which follows which.

Every change is a row of its own (AuthorizationChange), and news for webhooks, in the transaction
that makes it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from evtill.core.errors import EvtillError
from tillback import news
from tillback.db.tables import Authorization, AuthorizationChange

TRANSITIONS: dict[str, set[str]] = {
    # the provider is to hold the money
    "requested": {"authorised", "failed", "to_release"},
    # a session may begin
    "authorised": {"charging", "expired", "to_capture", "invoiced", "to_release", "released"},
    # it has begun, or may have: only its record, or the charger's word that it has not, ends this
    "charging": {"expired", "to_capture", "invoiced", "to_release", "released"},
    # too late to begin, or the hold has lapsed; a session's record may come all the same
    "expired": {"to_capture", "invoiced", "to_release", "released"},
    # the record is there: what it costs is to be taken from the hold
    "to_capture": {"captured", "released", "failed"},
    # the hold is to be given back
    "to_release": {"released", "to_capture"},
    # taken; from here on money only goes back
    "captured": {"partly_refunded", "refunded", "disputed"},
    "partly_refunded": {"partly_refunded", "refunded", "disputed"},
    "refunded": {"disputed"},
    # the payer's bank took it back; it may return it
    "disputed": {"captured", "partly_refunded", "refunded"},
    # nothing was held: an account gets an invoice
    "invoiced": set(),
    # nothing is held any more, and nothing was taken
    "released": set(),
    # no hold was to be had, or the capture was refused for good
    "failed": set(),
}
OPEN = ("authorised", "charging", "expired", "to_release")  # those that a record may still settle
TAKEN = ("captured", "partly_refunded", "refunded", "disputed")


class PaymentError(EvtillError):
    """Something that cannot be done with an authorisation as it stands."""


# One step from state to state (`old` None: from nothing), as news tell it.
Step = dict[str, Any]


def move(
    auth: Authorization, new: str, reason: str, at: str, due_at: str | None = None
) -> Step:  # fmt: skip
    """Has `auth` go on to `new`, where something is to be done at `due_at`; what to write() with
    it. Raises PaymentError where no such step is in TRANSITIONS."""
    if new not in TRANSITIONS[auth.state]:
        raise PaymentError(f"authorisation {auth.ref} is {auth.state}, and cannot be {new}")
    old, auth.state, auth.reason = auth.state, new, reason
    auth.tries, auth.due_at = 0, due_at
    return step(auth, old, at)


def step(auth: Authorization, old: str | None, at: str) -> Step:
    """That `auth` has come from `old` to where it is."""
    return {
        "ref": auth.ref, "old": old, "new": auth.state, "reason": auth.reason, "at": at,
        "record": auth.record, "currency": auth.currency, "hold_minor": auth.hold_minor,
        "captured_minor": auth.captured_minor, "refunded_minor": auth.refunded_minor,
    }  # fmt: skip


def write(session: Session, steps: Sequence[Step]) -> None:
    """Writes steps down, in the transaction that makes them, and tells news of them."""
    if not steps:
        return
    session.execute(insert(AuthorizationChange), [
        {key: one[key] for key in ("ref", "old", "new", "reason", "at")} for one in steps
    ])  # fmt: skip
    news.tell(session, [("authorization.changed", one) for one in steps], steps[0]["at"])
