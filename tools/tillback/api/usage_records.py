"""/v1/usage-records: what chargers have signed, and what it is billed at."""

import datetime
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import ColumnElement, select

from tillback.api import cursors, problems
from tillback.api.context import Data
from tillback.api.cursors import CursorText, Limit, Page
from tillback.api.fields import ChargerId, Moment, RecordInPath, Ref, Said
from tillback.api.keys import Caller
from tillback.api.problems import Problem, invalid
from tillback.api.security import needs
from tillback.db import settled
from tillback.db.tables import Bill, UsageRecord

router = APIRouter(tags=["usage records"])
_NAME = "usage-records"
_OF_END = "of its end, RFC 3339"


class BillSaid(Said):
    """What a record is billed at: the lower of what the charger has signed and what its tariff
    says. `finding`: why the two differ, or empty."""

    total_minor: int
    recomputed_minor: int | None
    billed_minor: int
    finding: str
    billed_at: str


class RecordSaid(Said):
    """A session that has ended. `total_minor` is as signed, VAT included. `bill` is null until the
    tariff is known."""

    id: str
    charger: str
    seq: int
    started_at: str
    ended_at: str
    received_at: str
    energy_wh: int
    currency: str
    total_minor: int
    method: str
    token: str | None = Field(description="the keyed hash of the card's UID, 16 hex")
    auth_ref: str | None
    tariff_sha256: str
    sha256: str = Field(description="of `jws`")
    bill: BillSaid | None


class WholeRecord(RecordSaid):
    """The same with what was signed: `jws` as it was published, `payload` what it holds."""

    jws: str
    payload: dict[str, Any]


@router.get("/usage-records", responses=problems.answers("cursor"))
def list_usage_records(
    caller: Annotated[Caller, needs("records:read")], database: Data,
    charger: Annotated[ChargerId | None, Query()] = None,
    auth_ref: Annotated[Ref | None, Query()] = None,
    from_: Annotated[Moment | None, Query(alias="from", description=_OF_END)] = None,
    to: Annotated[Moment | None, Query(description=_OF_END)] = None,
    limit: Limit = 100, cursor: CursorText | None = None,
) -> Page[RecordSaid]:  # fmt: skip
    """Usage records in the order of their arrival. `from` is inclusive, `to` is not."""
    filters = {"charger": charger, "auth_ref": auth_ref, "from": _seconds("from", from_),
               "to": _seconds("to", to)}  # fmt: skip
    after = cursors.read(caller, _NAME, filters, cursor)
    query = select(UsageRecord, Bill).outerjoin(Bill, Bill.record == UsageRecord.id)
    query = query.where(UsageRecord.row > (after or 0), *_conditions(filters))
    with database.read() as session:
        try:
            query = query.where(UsageRecord.row <= settled.last_row(session, UsageRecord))
        except settled.Unsettled:
            raise Problem("unavailable", headers={"Retry-After": problems.AGAIN_S}) from None
        rows = session.execute(query.order_by(UsageRecord.row).limit(limit + 1))
        found = [(row.row, RecordSaid(**_said(row, bill))) for row, bill in rows]
    return cursors.page(caller, _NAME, filters, cursor, limit, found)


@router.get("/usage-records/{id}", responses=problems.answers("not-found"))
def get_usage_record(
    id: RecordInPath, caller: Annotated[Caller, needs("records:read")], database: Data
) -> WholeRecord:
    """A usage record, with the charger's own bytes."""
    query = select(UsageRecord, Bill).outerjoin(Bill, Bill.record == UsageRecord.id)
    with database.read() as session:
        found = session.execute(query.where(UsageRecord.id == id)).one_or_none()
    if found is None:
        raise Problem("not-found", "no such usage record")
    row, bill = found
    return WholeRecord(
        **_said(row, bill), jws=row.jws.decode(), payload=json.loads(row.payload)
    )  # fmt: skip


def _said(row: UsageRecord, bill: Bill | None) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in RecordSaid.model_fields if name != "bill"}
    billed = None
    if bill is not None:
        billed = BillSaid(**{name: getattr(bill, name) for name in BillSaid.model_fields})
    return fields | {"bill": billed}


def _conditions(filters: cursors.Filters) -> list[ColumnElement[bool]]:
    found = []
    for column, name in ((UsageRecord.charger, "charger"), (UsageRecord.auth_ref, "auth_ref")):
        if filters[name] is not None:
            found.append(column == filters[name])
    if filters["from"] is not None:
        found.append(UsageRecord.ended_at >= filters["from"])
    if filters["to"] is not None:
        found.append(UsageRecord.ended_at < filters["to"])
    return found


def _seconds(name: str, at: datetime.datetime | None) -> str | None:
    """A time in the form of records' own, whole seconds: what is between two counts as the later,
    so that < and >= mean the same with it."""
    if at is None:
        return None
    try:
        whole = at + datetime.timedelta(microseconds=999_999)
    except OverflowError:
        raise invalid(f"query/{name}", "out of range") from None
    return whole.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
