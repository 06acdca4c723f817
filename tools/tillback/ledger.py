"""The double-entry ledger: money never comes from nowhere.

An entry's postings sum to 0, in one currency; debits are positive. Accounts are those of CHART.
An entry is named by what it is of, `<kind>:<what>`, and so is booked once:

| entry | when | debit | credit |
| --- | --- | --- | --- |
| `bill:<record>` | a record is priced | receivable:<party> | revenue, vat:<rate> |
| `top_up:<ref>` | an account has paid in | bank | prepaid:<account> |
| `capture:<ref>` | the provider has taken it | provider:<name> | receivable:<party> |
| `fee:<ref>` | it says what it keeps | provider_fees | provider:<name> |
| `waive:<ref>` | what cannot be collected | waived | receivable:<party> |
| `refund:<id>` | it has given back | refunds, vat:<rate>, or receivable:<party> | provider:<name> |
| `dispute:<id>`, `dispute_won:<id>` | a bank took it back | disputed | provider:<name>; reverse |

What was paid in before is no provider's: there, prepaid:<account> stands for provider:<name>.

A bill of a record that amends another one books the difference, in the account of the first:
`record` of an entry is always the session's first record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evtill.core.errors import EvtillError
from tillback.db.tables import Entry, Posting
from tillback.db.writing import among, insert

CHART = {  # an account's name, or what it begins with: what it holds
    "receivable:": "what a party owes: an account, a token, or ad_hoc",
    "provider:": "money that a payment provider holds for us",
    "prepaid:": "what an account has paid in before, which we owe it",
    "bank": "money that has arrived",
    "revenue": "what was sold, without VAT",
    "vat:": "VAT that we owe, by its rate in percent",
    "provider_fees": "what providers keep",
    "refunds": "revenue that was given back, without VAT",
    "waived": "what nobody will pay",
    "disputed": "what a bank took back from us",
}


class LedgerError(EvtillError):
    """A booking that does not add up, or contradicts one that is there."""


@dataclass(frozen=True)
class Booking:
    """An entry to be; `amounts`: {account: minor units}, of which zeros are left out."""

    id: str
    currency: str
    amounts: dict[str, int]
    record: str | None = None
    auth_ref: str | None = None

    @property
    def kind(self) -> str:
        return self.id.partition(":")[0]


def post(session: Session, bookings: Sequence[Booking], at: str) -> int:
    """Books what is not there yet; how many that were. Raises LedgerError, before anything is
    booked, for one that does not sum to 0 or is there with other content."""
    for one in bookings:
        _check_form(one)
    session.flush()  # what they refer to comes first
    there = _stored(session, [one.id for one in bookings])
    new: dict[str, Booking] = {}
    for one in bookings:
        known = there.get(one.id) or new.get(one.id)
        if known is None:
            new[one.id] = one
        elif _content(known) != _content(one):
            raise LedgerError(f"{one.id} is booked already, with other content")
    if not new:
        return 0
    insert(session, Entry, [
        {"id": one.id, "kind": one.kind, "currency": one.currency, "record": one.record,
         "auth_ref": one.auth_ref, "booked_at": at}
        for one in new.values()
    ])  # fmt: skip
    insert(session, Posting, [
        {"entry": one.id, "account": account, "amount_minor": amount}
        for one in new.values() for account, amount in one.amounts.items() if amount
    ])  # fmt: skip
    return len(new)


def balances(session: Session) -> list[tuple[str, str, int]]:
    """(account, currency, amount) of every account that something was booked on, by name."""
    total = func.sum(Posting.amount_minor)
    rows = session.execute(
        select(Posting.account, Entry.currency, total).join(Entry, Entry.id == Posting.entry)
        .group_by(Posting.account, Entry.currency).order_by(Posting.account, Entry.currency)
    )  # fmt: skip
    return [(account, currency, int(amount)) for account, currency, amount in rows]


def of_record(
    session: Session, record: str, kinds: Iterable[str] | None = None
) -> dict[str, int]:  # fmt: skip
    """{account: amount} of all that was booked for a session, by its first record."""
    query = (
        select(Posting.account, func.sum(Posting.amount_minor))
        .join(Entry, Entry.id == Posting.entry).where(Entry.record == record)
        .group_by(Posting.account)
    )  # fmt: skip
    if kinds is not None:
        query = query.where(Entry.kind.in_(list(kinds)))
    return {account: int(amount) for account, amount in session.execute(query)}


def receivable(session: Session, record: str) -> tuple[str, int]:
    """The account that owes for a session, by its first record, and how much is open; negative is
    what we owe. Raises LedgerError for a record without a bill."""
    owed = {
        account: amount for account, amount in of_record(session, record).items()
        if account.startswith("receivable:")
    }  # fmt: skip
    if len(owed) > 1:
        raise LedgerError(f"{record} is owed by more than one: {' '.join(sorted(owed))}")
    for account, amount in owed.items():
        return account, amount
    if session.get(Entry, f"bill:{record}") is None:
        raise LedgerError(f"{record} has no bill")
    return "receivable:ad_hoc", 0  # a bill of nothing has no postings


def _check_form(one: Booking) -> None:
    wrong = [account for account in one.amounts if not _is_account(account)]
    if wrong:
        raise LedgerError(f"{one.id}: no such account: {wrong[0]}")
    if not one.kind or one.kind == one.id:
        raise LedgerError(f"{one.id}: not the name of an entry")
    if sum(one.amounts.values()):
        raise LedgerError(f"{one.id} sums to {sum(one.amounts.values())} {one.currency}, not 0")


def _is_account(name: str) -> bool:
    group, colon, of = name.partition(":")
    return group + colon in CHART and bool(of) == bool(colon)


def _content(one: Booking) -> tuple[object, ...]:
    amounts = {account: amount for account, amount in one.amounts.items() if amount}
    return one.currency, one.record, one.auth_ref, amounts


def _stored(session: Session, ids: list[str]) -> dict[str, Booking]:
    found: dict[str, Booking] = {}
    rows = session.execute(
        select(Entry.id, Entry.currency, Entry.record, Entry.auth_ref, Posting.account,
               Posting.amount_minor)
        .outerjoin(Posting, Posting.entry == Entry.id).where(among(session, Entry.id, ids))
    )  # fmt: skip
    for id_, currency, record, ref, account, amount in rows:
        one = found.setdefault(id_, Booking(id_, currency, {}, record, ref))
        if account is not None:
            one.amounts[account] = amount
    return found
