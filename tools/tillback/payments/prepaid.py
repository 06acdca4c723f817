"""Credit that an account has paid in before: each session reserves an allotment of it first, and
takes what its record costs.

The books are all there is: what `prepaid:<account>` holds, less what authorisations reserve of it,
can be reserved, under a lock for each account. So the provider of this kind has nothing to do: what
settle books is done by being booked, once."""

import re

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tillback import ledger
from tillback.db.tables import Authorization, Entry, Posting
from tillback.ledger import Booking
from tillback.payments.provider import (
    CAPTURED,
    DONE,
    HELD,
    PREPAID,
    RELEASED,
    Payment,
    Repayment,
)
from tillback.payments.states import OPEN, PaymentError

ALLOTMENT_MINOR = 1000  # what a session reserves, and again whenever that runs out
LEAST_MINOR = 100  # less is no credit: a session could hardly begin on it
RESERVING = (*OPEN, "to_capture")  # states in which an allotment is not free yet
_MOST_MINOR = 100_000_000
_WORDS = "[ -~\u00a1-\ud7ff]{1,200}"  # printable; as the API has it for accounts


def top_up(
    session: Session, account: str, amount_minor: int, currency: str, ref: str, at: str
) -> bool:  # fmt: skip
    """Books what an account has paid in; False where that was booked before. `ref` names the
    payment, among those of all accounts. Raises PaymentError; LedgerError where it names another.
    """
    if not re.fullmatch(_WORDS, account) or not re.fullmatch(_WORDS, ref):
        raise PaymentError("account and ref: want 1 to 200 printable characters")
    if not re.fullmatch("[A-Z]{3}", currency):
        raise PaymentError("currency: want ISO 4217's three letters, such as EUR")
    if not 0 < amount_minor <= _MOST_MINOR:
        raise PaymentError(f"amount: want 1 to {_MOST_MINOR} minor units")
    amounts = {"bank": amount_minor, _name(account): -amount_minor}
    return ledger.post(session, [Booking(f"top_up:{ref}", currency, amounts)], at) == 1


def balances(session: Session, account: str) -> list[tuple[str, int, int]]:
    """(currency, what it has, what of that is reserved), in minor units, by currency."""
    query = (
        select(Entry.currency, -func.sum(Posting.amount_minor))
        .join(Posting, Posting.entry == Entry.id).where(Posting.account == _name(account))
        .group_by(Entry.currency).order_by(Entry.currency)
    )  # fmt: skip
    return [
        (currency, int(paid), int(paid) - available_minor(session, account, currency))
        for currency, paid in session.execute(query)
    ]


def available_minor(session: Session, account: str, currency: str) -> int:
    """What an account has and nothing reserves, in one look at both."""
    booked = (
        select(func.coalesce(func.sum(Posting.amount_minor), 0))
        .join(Entry, Entry.id == Posting.entry)
        .where(Posting.account == _name(account), Entry.currency == currency).scalar_subquery()
    )  # fmt: skip
    reserved = (
        select(func.coalesce(func.sum(Authorization.hold_minor), 0))
        .where(Authorization.provider == PREPAID, Authorization.account == account,
               Authorization.currency == currency, Authorization.state.in_(RESERVING))
        .scalar_subquery()
    )  # fmt: skip
    return int(session.execute(select(-booked - reserved)).scalar_one())


def _lock(session: Session, account: str) -> None:
    """Lets nobody else reserve of the account until this transaction ends. On SQLite only one
    transaction writes anyway."""
    if session.get_bind().dialect.name == "postgresql":
        number = func.hashtextextended(_name(account), 0)
        session.execute(select(func.pg_advisory_xact_lock(number)))


def allotment_minor(
    session: Session, account: str, currency: str, most_minor: int | None
) -> int:  # fmt: skip
    """What of free_minor() a session begins with: an allotment, or the rest; at most `most_minor`.
    """
    free = free_minor(session, account, currency)
    return min(ALLOTMENT_MINOR, free, free if most_minor is None else max(0, most_minor))


def free_minor(session: Session, account: str, currency: str) -> int:
    """What can be reserved now, and stays so until this transaction ends."""
    _lock(session, account)
    return max(0, available_minor(session, account, currency))


def check(session: Session, account: str | None, currency: str, amount_minor: int) -> None:
    """Makes sure that so much may be reserved in this transaction. Raises PaymentError."""
    if account is None:
        raise PaymentError("account: whose credit is it?")
    if amount_minor > free_minor(session, account, currency):
        raise PaymentError(f"hold_minor: {account} has not so much {currency} that is free")


class Prepaid:
    """The provider of this kind (payments.provider.Provider)."""

    name = PREPAID

    def hold(
        self, ref: str, amount_minor: int, currency: str, source: str | None, key: str
    ) -> Payment:  # fmt: skip
        """It was reserved when the authorisation was made."""
        return Payment(ref, HELD, amount_minor)

    def state(self, payment: str) -> Payment:
        return Payment(payment, HELD)

    def capture(self, payment: str, amount_minor: int, currency: str, key: str) -> Payment:
        return Payment(payment, CAPTURED, captured_minor=amount_minor, fee_minor=0)

    def release(self, payment: str, key: str) -> Payment:
        return Payment(payment, RELEASED)

    def refund(
        self, payment: str, refund: str, amount_minor: int, currency: str, key: str
    ) -> Repayment:  # fmt: skip
        return Repayment(refund, DONE)

    def refunded(self, payment: str, refund: str) -> Repayment | None:
        return None


def _name(account: str) -> str:
    return f"prepaid:{account}"
