"""Refunds: money goes back, never more than was taken; settle has the provider do it."""

import datetime
import secrets

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evtill.core.bill import half_up
from tillback import ledger, news
from tillback.alarms import Raised, sound
from tillback.db.database import stamp
from tillback.db.tables import Authorization, Refund
from tillback.ledger import Booking
from tillback.payments import authorizations, states
from tillback.payments.provider import money_account
from tillback.payments.states import PaymentError
from tillback.payments.units import movable_minor, unit_minor

PENDING, DONE, FAILED = "pending", "done", "failed"
_ID_BYTES = 12


def create(
    session: Session, ref: str, amount_minor: int | None, reason: str, at: datetime.datetime
) -> Refund:  # fmt: skip
    """A refund of so much, or of all that is left. Raises PaymentError for more than that, or where
    nothing was taken."""
    auth = authorizations.get(session, ref, lock=True)
    if auth.state not in ("captured", "partly_refunded"):
        raise PaymentError(f"authorisation {ref} is {auth.state}: there is nothing to refund")
    unit = unit_minor(auth.provider, auth.currency)
    if amount_minor is not None and amount_minor % unit:
        raise PaymentError(f"amount_minor: want a multiple of {unit} for {auth.currency}")
    left = left_minor(session, auth)
    amount = left if amount_minor is None else amount_minor
    if not 0 < amount <= left:
        raise PaymentError(f"amount_minor: {left} {auth.currency} minor units are left to refund")
    return _add(session, auth, amount, reason, stamp(at))


def left_minor(session: Session, auth: Authorization) -> int:
    """What of the captured amount is neither refunded nor about to be."""
    under_way = select(func.sum(Refund.amount_minor)).where(
        Refund.ref == auth.ref, Refund.state == PENDING
    )
    return auth.captured_minor - auth.refunded_minor - int(session.scalar(under_way) or 0)


def settle_difference(session: Session, auth: Authorization, at: str) -> None:
    """After a capture or an amendment: what we owe is refunded, as far as it can be moved; what is
    still owed is an alarm."""
    session.flush()
    if auth.record is None:
        return
    _, still = ledger.receivable(session, auth.record)
    under_way = auth.captured_minor - auth.refunded_minor - left_minor(session, auth)
    owed = -still - under_way
    if still > 0:
        detail = f"{auth.ref}: {still} {auth.currency} of {auth.record}"
        sound(session, [Raised(auth.charger or "", "not_collected", detail)], at)
    if owed > 0:
        amount = min(owed, left_minor(session, auth))
        if amount < owed:
            detail = f"{auth.ref}: {owed - amount} {auth.currency} of {auth.record}"
            sound(session, [Raised(auth.charger or "", "owed_and_not_held", detail)], at)
        amount = movable_minor(auth.provider, auth.currency, amount)
        if amount > 0:
            _add(session, auth, amount, "amended", at)


def finish(
    session: Session, auth: Authorization, refund: Refund, provider_ref: str, at: str
) -> None:  # fmt: skip
    """Books a refund that the provider has made; both rows are locked."""
    refund.state, refund.due_at, refund.provider_ref = DONE, None, provider_ref
    amounts = _amounts(session, auth, refund.amount_minor)
    ledger.post(session, [
        Booking(f"refund:{refund.id}", auth.currency, amounts, auth.record, auth.ref)
    ], at)  # fmt: skip
    auth.refunded_minor += refund.amount_minor
    if auth.state != "disputed":
        step = states.move(auth, after_refunds(auth), refund.reason, at, auth.due_at)
        states.write(session, [step])
    tell(session, refund, at)


def after_refunds(auth: Authorization) -> str:
    """The state of money that was taken, by how much of it went back."""
    if not auth.refunded_minor:
        return "captured"
    return "refunded" if auth.refunded_minor == auth.captured_minor else "partly_refunded"


def tell(session: Session, refund: Refund, at: str) -> None:
    """News of how a refund stands."""
    said = {"id": refund.id, "ref": refund.ref, "state": refund.state, "reason": refund.reason,
            "currency": refund.currency, "amount_minor": refund.amount_minor, "at": at}  # fmt: skip
    news.tell(session, [("refund.changed", said)], at)


def _add(session: Session, auth: Authorization, amount: int, reason: str, at: str) -> Refund:
    made = Refund(
        id=secrets.token_hex(_ID_BYTES), ref=auth.ref, currency=auth.currency, amount_minor=amount,
        reason=reason, state=PENDING, provider_ref=None, attempt=0, tries=0, due_at=at,
        created_at=at,
    )  # fmt: skip
    session.add(made)
    session.flush()
    tell(session, made, at)
    return made


def _amounts(session: Session, auth: Authorization, amount: int) -> dict[str, int]:
    """What a refund books: first what we owe since an amendment, the rest as sold and not sold,
    with its share of each rate's VAT. The shares of several add up to the VAT of all."""
    record = auth.record or ""
    owes, still = ledger.receivable(session, record)
    back = min(amount, max(0, -still))
    found = {money_account(auth): -amount, owes: back}
    billed = ledger.of_record(session, record, ["bill"])
    before = ledger.of_record(session, record, ["refund"])
    gross = sum(minor for name, minor in billed.items() if name.startswith("receivable:"))
    given = amount - back + sum(
        minor for name, minor in before.items() if name == "refunds" or name.startswith("vat:")
    )  # fmt: skip
    rest = amount - back
    for name, minor in billed.items():
        if name.startswith("vat:") and gross > 0 and rest:
            share = half_up(-minor * min(given, gross), gross) - before.get(name, 0)
            found[name] = share
    found["refunds"] = rest - sum(n for name, n in found.items() if name.startswith("vat:"))
    return found
