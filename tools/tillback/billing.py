"""From a priced record to the books: who owes it, what of it is VAT, and which authorisation it
settles."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tillback import alarms, ledger, news
from tillback.alarms import Raised
from tillback.db.tables import Authorization, Entry, Token, UsageRecord
from tillback.db.writing import among
from tillback.ledger import Booking
from tillback.payments import refunds, states
from tillback.vat import split_vat
from tillctl import amounts

AD_HOC = "ad_hoc"  # a driver of whom we know nothing but what they pay with
_BILL, _AMENDED = "bill", "amended"

Priced = tuple[dict[str, Any], int]  # a usage record's payload, what of it is billed (minor units)


def book(session: Session, priced: Sequence[Priced], at: str) -> None:
    """Books bills that this transaction adds, and moves on the authorisations that they settle.

    A record that settles none although it names one raises an alarm: its bill stays open."""
    found = _Books(session, priced, at)
    for record, billed_minor in priced:
        found.add(record, billed_minor)
    found.write()


class _Books:
    """What the bills of one transaction lead to."""

    def __init__(self, session: Session, priced: Sequence[Priced], at: str) -> None:
        session.flush()
        self._session, self._at = session, at
        auths = {record["auth"]["ref"] for record, _ in priced} - {None}
        tokens = {record["auth"]["token"] for record, _ in priced} - {None}
        self._auths = self._locked(auths)
        self._accounts = self._accounts_of(tokens)
        self._amended = self._amended_already([record["id"] for record, _ in priced])
        self._bookings: list[Booking] = []
        self._alarms: list[Raised] = []
        self._news: list[news.Piece] = []
        self._steps: list[states.Step] = []
        self._changed: list[str | None] = []  # references whose bill was amended

    def add(self, record: dict[str, Any], billed_minor: int) -> None:
        """Books one record and has its authorisation go on."""
        ref = record["auth"]["ref"]
        auth = self._auths.get(ref)
        booking = self._bill(record, billed_minor, self._party(record, auth))
        self._bookings.append(booking)
        self._news.append(("usage_record.billed", {
            "record": record["id"], "charger": record["charger"], "currency": record["currency"],
            "billed_minor": billed_minor, "total_minor": record["total_cost"]["incl_minor"],
            "energy_wh": record["total_energy_wh"], "auth_ref": ref, "amends": record["amends"],
        }))  # fmt: skip
        if ref is not None and booking.record == record["id"]:
            self._settle(record, auth)

    def write(self) -> None:
        """Puts it all into the transaction."""
        ledger.post(self._session, self._bookings, self._at)
        alarms.sound(self._session, self._alarms, self._at)
        news.tell(self._session, self._news, self._at)
        states.write(self._session, self._steps)
        for ref in self._changed:
            self._settle_difference(ref)
        for one in (self._bookings, self._alarms, self._news, self._steps, self._changed):
            one.clear()

    def _settle(self, record: dict[str, Any], auth: Authorization | None) -> None:
        """Moves the authorisation on that the record names, if it may settle it."""
        if auth is not None and auth.record == record["id"]:
            return
        wrong = _why_not(record, auth)
        if wrong is not None or auth is None:
            name, detail = wrong or ("", "")
            self._alarm(record, name, detail)
            return
        auth.record = record["id"]
        if auth.provider == "invoice":
            self._move(auth, "invoiced", "the record came", None)
        elif record["currency"] == auth.currency:
            self._move(auth, "to_capture", "the record came", self._at)
        else:
            self._alarm(record, "record_in_other_currency", f"authorisation in {auth.currency}")
            if auth.state != "to_release":
                self._move(auth, "to_release", "the record is in another currency", self._at)

    def _move(self, auth: Authorization, new: str, reason: str, due_at: str | None) -> None:
        self._steps.append(states.move(auth, new, reason, self._at, due_at))

    def _bill(self, record: dict[str, Any], billed_minor: int, party: str) -> Booking:
        """The bill's entry; of an amendment, what it changes."""
        postings = _postings(record, billed_minor, party)
        first, ref = record["id"], record["auth"]["ref"]
        if first in self._amended:  # came after the record that amends it
            first, postings = self._amended[first], {}
        elif record["amends"] is not None and not may_amend(record):
            self._alarm(record, "amends_what_it_may_not", record["amends"])
        elif record["amends"] is not None:
            known = self._amends(record)
            if known is not None and known.currency == record["currency"]:
                first, ref = known.record or first, known.auth_ref
                before = ledger.of_record(self._session, first, [_BILL])
                newest = self._newest_seq(first) < record["seq"]
                self._changed.append(ref)
                postings = _change(before, postings) if newest else {}
        return Booking(f"{_BILL}:{record['id']}", record["currency"], postings, first, ref)

    def _amends(self, record: dict[str, Any]) -> Entry | None:
        """The entry of what a record amends; None, with an alarm, while it has not come."""
        self.write()  # it may be among these
        amends = record["amends"]
        for kind in (_BILL, _AMENDED):
            known = self._session.get(Entry, f"{kind}:{amends}")
            if known is not None:
                return known
        self._alarm(record, "amends_unknown_record", amends)
        self._amended[amends] = record["id"]
        self._bookings.append(
            Booking(f"{_AMENDED}:{amends}", record["currency"], {}, record["id"])
        )
        return None

    def _newest_seq(self, first: str) -> int:
        """The seq of the newest record that is booked for the session of `first`."""
        id_ = func.substr(Entry.id, len(f"{_BILL}:") + 1)
        query = select(func.max(UsageRecord.seq)).join(Entry, UsageRecord.id == id_)
        booked = query.where(Entry.record == first, Entry.kind == _BILL)
        return self._session.scalar(booked) or 0

    def _settle_difference(self, ref: str | None) -> None:
        """What an amendment leads to where the money was taken already."""
        auth = self._locked({ref}).get(ref) if ref is not None else None
        if auth is not None and auth.state in states.TAKEN:
            refunds.settle_difference(self._session, auth, self._at)

    def _party(self, record: dict[str, Any], auth: Authorization | None) -> str:
        token = record["auth"]["token"]
        mine = auth is not None and auth.charger in (None, record["charger"])
        account = auth.account if auth is not None and mine else None
        return account or self._accounts.get(token) or token or AD_HOC

    def _alarm(self, record: dict[str, Any], name: str, detail: str) -> None:
        self._alarms.append(Raised(record["charger"], name, f"{record['id']}: {detail}"))

    def _locked(self, refs: set[str]) -> dict[str, Authorization]:
        if not refs:
            return {}
        rows = self._session.scalars(
            select(Authorization).where(Authorization.ref.in_(refs))
            .order_by(Authorization.ref).with_for_update()
        )  # fmt: skip
        return {one.ref: one for one in rows}

    def _accounts_of(self, tokens: set[str]) -> dict[str, str | None]:
        if not tokens:
            return {}
        rows = self._session.execute(
            select(Token.token, Token.account).where(
                among(self._session, Token.token, tokens)
            )
        )
        return {token: account for token, account in rows}

    def _amended_already(self, ids: list[str]) -> dict[str, str]:
        """{record: the one that amends it} of those that came later than that."""
        rows = self._session.execute(
            select(Entry.id, Entry.record).where(
                among(self._session, Entry.id, [f"{_AMENDED}:{one}" for one in ids])
            )
        )
        return {id_.partition(":")[2]: record for id_, record in rows if record is not None}


def _why_not(record: dict[str, Any], auth: Authorization | None) -> tuple[str, str] | None:
    """Why the record must not settle the authorisation that it names: (alarm, detail)."""
    ref = record["auth"]["ref"]
    if auth is None:
        return "record_without_authorisation", f"{ref} is unknown"
    if auth.charger is not None and auth.charger != record["charger"]:
        return "record_of_other_charger", f"{ref} is for {auth.charger}"
    if auth.record is not None:
        return "second_record", f"{ref} is settled by {auth.record}"
    if auth.state not in states.OPEN:
        return "record_too_late", f"{ref} is {auth.state}"
    return None


def may_amend(record: dict[str, Any]) -> bool:
    """A charger may amend its own earlier records."""
    charger, _, seq = record["amends"].rpartition("-")
    earlier = seq.isascii() and seq.isdigit() and int(seq[:20]) < record["seq"]
    return charger == record["charger"] and earlier


def _postings(record: dict[str, Any], billed_minor: int, party: str) -> dict[str, int]:
    postings = {f"receivable:{party}": billed_minor, "revenue": 0}
    for rate, gross, vat in split_vat(record, billed_minor):
        postings["revenue"] -= gross - vat
        if vat:
            account = "vat:" + amounts.percent(rate or 0).removesuffix(" %")
            postings[account] = postings.get(account, 0) - vat
    return postings


def _change(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What has to be booked so that `before` becomes `after`; who owes stays who owed."""
    owes = {name: name for name in before if name.startswith("receivable:")}
    renamed = {
        (next(iter(owes), name) if name.startswith("receivable:") else name): amount
        for name, amount in after.items()
    }
    return {
        name: renamed.get(name, 0) - before.get(name, 0)
        for name in dict.fromkeys([*before, *renamed])
    }
