"""What must always hold between the ledger, the bills and the authorisations: looked up in the
database, not believed."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import and_, case, func, literal, or_, select
from sqlalchemy.orm import Session

from tillback.db.tables import Authorization, Bill, Entry, Posting, Refund, UsageRecord
from tillback.payments import prepaid
from tillback.payments.provider import PREPAID
from tillback.payments.states import TAKEN

_OWES = or_(Posting.account.startswith("receivable:"), Posting.account.startswith("prepaid:"))
_SOLD = or_(Posting.account == "revenue", Posting.account.startswith("vat:"))
_AT_PROVIDER = or_(Posting.account.startswith("provider:"), Posting.account.startswith("prepaid:"))
_OF_BILL = func.substr(Entry.id, len("bill:") + 1)  # the record of a bill's entry


def check(session: Session) -> list[str]:
    """What is wrong with the books, a line each; nothing: they balance."""
    return [line for law in _LAWS for line in law(session)]


def _entries_balance(session: Session) -> Iterator[str]:
    total = func.sum(Posting.amount_minor)
    for entry, amount in session.execute(
        select(Posting.entry, total).group_by(Posting.entry).having(total != 0)
    ):
        yield f"{entry} sums to {amount}, not 0"


def _currencies_balance(session: Session) -> Iterator[str]:
    total = func.sum(Posting.amount_minor)
    for currency, amount in session.execute(
        select(Entry.currency, total).join(Posting, Posting.entry == Entry.id)
        .group_by(Entry.currency).having(total != 0)
    ):  # fmt: skip
        yield f"all that is in {currency} sums to {amount}, not 0"


def _bills_are_booked(session: Session) -> Iterator[str]:
    """Each bill has its entry, and a session's entries come to what its newest record costs."""
    bill_entry = literal("bill:") + Bill.record
    for (record,) in session.execute(
        select(Bill.record).outerjoin(Entry, and_(Entry.id == bill_entry,
                                                  Entry.currency == Bill.currency))
        .where(Entry.id.is_(None))
    ):  # fmt: skip
        yield f"the bill of {record} is not booked in its currency"
    for (entry,) in session.execute(
        select(Entry.id).outerjoin(Bill, Bill.record == _OF_BILL)
        .where(Entry.kind == "bill", Bill.record.is_(None))
    ):  # fmt: skip
        yield f"{entry} is booked without a bill"
    for first, owed, sold, billed in session.execute(_sessions()):
        if not owed == billed == -sold:
            yield f"{first}: billed {billed}, booked {owed}, of it sold {-sold}"


def _sessions() -> Any:
    """(first record, booked as owed, booked as sold, billed) of each session."""
    newest = (
        select(Entry.record.label("first"), func.max(UsageRecord.seq).label("seq"))
        .join(UsageRecord, UsageRecord.id == _OF_BILL).where(Entry.kind == "bill")
        .group_by(Entry.record)
    ).subquery()  # fmt: skip
    billed = (
        select(newest.c.first, Bill.billed_minor)
        .join(Entry, and_(Entry.record == newest.c.first, Entry.kind == "bill"))
        .join(UsageRecord, and_(UsageRecord.id == _OF_BILL, UsageRecord.seq == newest.c.seq))
        .join(Bill, Bill.record == UsageRecord.id)
    ).subquery()  # fmt: skip
    booked = (
        select(Entry.record.label("first"),
               func.coalesce(func.sum(case((_OWES, Posting.amount_minor))), 0).label("owed"),
               func.coalesce(func.sum(case((_SOLD, Posting.amount_minor))), 0).label("sold"))
        .outerjoin(Posting, Posting.entry == Entry.id).where(Entry.kind == "bill")
        .group_by(Entry.record)
    ).subquery()  # fmt: skip
    return select(booked.c.first, booked.c.owed, booked.c.sold, billed.c.billed_minor).join(
        billed, billed.c.first == booked.c.first
    )


def _captures_fit(session: Session) -> Iterator[str]:
    """What authorisations say was captured, kept and refunded is what is booked; never more than
    was held or captured."""
    for column, kinds, sign in (
        (Authorization.captured_minor, ("capture",), 1),
        (Authorization.fee_minor, ("fee",), -1), (Authorization.refunded_minor, ("refund",), -1),
    ):  # fmt: skip
        booked = (
            select(Entry.auth_ref, func.sum(Posting.amount_minor).label("amount"))
            .join(Posting, Posting.entry == Entry.id)
            .where(Entry.kind.in_(kinds), _AT_PROVIDER).group_by(Entry.auth_ref)
        ).subquery()  # fmt: skip
        amount = sign * func.coalesce(booked.c.amount, 0)
        for ref, said, found in session.execute(
            select(Authorization.ref, column, amount)
            .outerjoin(booked, booked.c.auth_ref == Authorization.ref).where(column != amount)
        ):  # fmt: skip
            yield f"{ref}: {column.key} is {said}, booked {found}"
    for ref, captured, held in session.execute(
        select(Authorization.ref, Authorization.captured_minor, Authorization.hold_minor)
        .where(Authorization.captured_minor > Authorization.hold_minor)
    ):  # fmt: skip
        yield f"{ref}: captured {captured} of a hold of {held}"
    for (ref,) in session.execute(
        select(Authorization.ref)
        .where(Authorization.captured_minor > 0, Authorization.state.not_in(TAKEN))
    ):  # fmt: skip
        yield f"{ref}: captured, and yet in no state that says so"


def _captured_is_billed(session: Session) -> Iterator[str]:
    """captured = billed - waived - open, for each authorisation with a record; what was given back
    because we owed it counts as not captured."""
    def booked(account: str, *kinds: str) -> Any:
        return (
            select(func.coalesce(func.sum(Posting.amount_minor), 0))
            .join(Entry, Entry.id == Posting.entry)
            .where(Entry.record == Authorization.record, Posting.account.startswith(account),
                   *([Entry.kind.in_(kinds)] if kinds else []))
            .correlate(Authorization).scalar_subquery()
        )  # fmt: skip

    for ref, captured, billed, waived, still, back in session.execute(
        select(Authorization.ref, Authorization.captured_minor, booked("receivable:", "bill"),
               booked("waived"), booked("receivable:"), booked("receivable:", "refund"))
        .where(Authorization.record.is_not(None))
    ):  # fmt: skip
        if captured - back != billed - waived - still:
            yield (f"{ref}: captured {captured}, billed {billed}, waived {waived}, open {still}, "
                   f"given back {back}")  # fmt: skip


def _refunds_fit(session: Session) -> Iterator[str]:
    """Refunds that are done or under way come to no more than was captured."""
    total = func.sum(Refund.amount_minor)
    for ref, refunded, captured in session.execute(
        select(Authorization.ref, total, Authorization.captured_minor)
        .join(Refund, Refund.ref == Authorization.ref).where(Refund.state != "failed")
        .group_by(Authorization.ref, Authorization.captured_minor)
        .having(total > Authorization.captured_minor)
    ):  # fmt: skip
        yield f"{ref}: {refunded} refunded of {captured}"


def _prepaid_is_covered(session: Session) -> Iterator[str]:
    """No account has had, or reserves, more than it has paid in."""
    reserved = {(str(account), currency): int(minor) for account, currency, minor
                in session.execute(
        select(Authorization.account, Authorization.currency, func.sum(Authorization.hold_minor))
        .where(Authorization.provider == PREPAID, Authorization.state.in_(prepaid.RESERVING))
        .group_by(Authorization.account, Authorization.currency)
    )}  # fmt: skip
    paid = {(account.partition(":")[2], currency): -int(minor) for account, currency, minor
            in session.execute(
        select(Posting.account, Entry.currency, func.sum(Posting.amount_minor))
        .join(Entry, Entry.id == Posting.entry).where(Posting.account.startswith("prepaid:"))
        .group_by(Posting.account, Entry.currency)
    )}  # fmt: skip
    for account, currency in sorted(paid | reserved):
        has, wants = paid.get((account, currency), 0), reserved.get((account, currency), 0)
        if wants > has or has < 0:
            yield f"prepaid:{account} has {has} {currency}, of which {wants} are reserved"


_LAWS = (_entries_balance, _currencies_balance, _bills_are_booked, _captures_fit,
         _captured_is_billed, _refunds_fit, _prepaid_is_covered)  # fmt: skip
