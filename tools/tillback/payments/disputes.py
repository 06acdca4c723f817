"""Disputes: the payer's bank takes money back, and may return it."""

import datetime

from sqlalchemy.orm import Session

from tillback import ledger
from tillback.alarms import Raised, sound
from tillback.db.database import stamp
from tillback.db.tables import Authorization, Posting
from tillback.ledger import Booking
from tillback.payments import authorizations, refunds, states
from tillback.payments.states import PaymentError


def opened(
    session: Session, ref: str, dispute: str, amount_minor: int, at: datetime.datetime
) -> Authorization:  # fmt: skip
    """The provider says that a bank took back so much; `dispute` is its name of that. A second time
    is no error. Raises PaymentError where nothing was taken, LedgerError for another amount than
    the first time."""
    auth = authorizations.get(session, ref, lock=True)
    if auth.state not in states.TAKEN or amount_minor <= 0:
        raise PaymentError(f"authorisation {ref} is {auth.state}: nothing can be disputed")
    now, account = stamp(at), f"provider:{auth.provider}"
    amounts = {"disputed": amount_minor, account: -amount_minor}
    booking = Booking(f"dispute:{dispute}", auth.currency, amounts, auth.record, auth.ref)
    if ledger.post(session, [booking], now):
        if auth.state != "disputed":
            states.write(session, [states.move(auth, "disputed", dispute, now, auth.due_at)])
        detail = f"{ref}: {amount_minor} {auth.currency} by {dispute}"
        sound(session, [Raised(auth.charger or "", "disputed", detail)], now)
    return auth


def won(session: Session, ref: str, dispute: str, at: datetime.datetime) -> Authorization:
    """The bank has returned what it took. A second time is no error. Raises PaymentError for a
    dispute that is not known."""
    auth = authorizations.get(session, ref, lock=True)
    taken = session.get(Posting, (f"dispute:{dispute}", "disputed"))
    if taken is None:
        raise PaymentError(f"no dispute {dispute[:64]!r} of authorisation {ref}")
    now, account = stamp(at), f"provider:{auth.provider}"
    amounts = {"disputed": -taken.amount_minor, account: taken.amount_minor}
    booking = Booking(f"dispute_won:{dispute}", auth.currency, amounts, auth.record, auth.ref)
    if ledger.post(session, [booking], now) and not _lost_minor(session, auth):
        step = states.move(auth, refunds.after_refunds(auth), f"{dispute} won", now, auth.due_at)
        states.write(session, [step])
    return auth


def _lost_minor(session: Session, auth: Authorization) -> int:
    """What banks still keep of it."""
    booked = ledger.of_record(session, auth.record or "", ["dispute", "dispute_won"])
    return booked.get("disputed", 0)
