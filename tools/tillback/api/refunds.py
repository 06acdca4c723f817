"""/v1/refunds: money that goes back to whoever paid."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy import select, tuple_

from tillback.api import cursors, problems
from tillback.api.context import Data, Now
from tillback.api.cursors import CursorText, Limit, Page
from tillback.api.fields import Amount, Asked, IdInPath, Ref, Said, Words
from tillback.api.idempotency import NeededIdempotencyKey, answer
from tillback.api.keys import Caller
from tillback.api.problems import Problem
from tillback.api.security import needs
from tillback.db.tables import Refund
from tillback.payments import refunds
from tillback.payments.authorizations import UnknownAuthorization
from tillback.payments.states import PaymentError

router = APIRouter(tags=["refunds"])
_NAME = "refunds"


class RefundAsked(Asked):
    """Whose money goes back: of which authorisation, how much of it (null: all that is left), and
    why."""

    ref: Ref
    amount_minor: Amount | None = None
    reason: Words


class RefundSaid(Said):
    """A refund; `state` becomes `done` or `failed` once the payment provider has said so."""

    id: str
    ref: str
    currency: str
    amount_minor: int
    reason: str
    state: str = Field(json_schema_extra={"enum": [refunds.PENDING, refunds.DONE, refunds.FAILED]})
    created_at: str


@router.post(
    "/refunds", status_code=201, response_model=RefundSaid,
    responses=problems.answers("media-type", "not-found", "conflict"),
)  # fmt: skip
def create_refund(
    asked: RefundAsked, request: Request, caller: Annotated[Caller, needs("refunds:write")],
    database: Data, clock: Now, _: NeededIdempotencyKey,
) -> Response:  # fmt: skip
    """Refunds what was captured, or a part of it; never more than is left."""
    try:
        with database.write() as session:
            row = refunds.create(session, asked.ref, asked.amount_minor, asked.reason, clock())
            return answer(session, request, _said(row))
    except UnknownAuthorization:
        raise Problem("not-found", "no such authorization") from None
    except PaymentError as error:
        raise Problem("conflict", str(error)) from None


@router.get("/refunds", responses=problems.answers("cursor"))
def list_refunds(
    caller: Annotated[Caller, needs("refunds:read")], database: Data,
    ref: Annotated[Ref | None, Query(description="of this authorisation alone")] = None,
    limit: Limit = 100, cursor: CursorText | None = None,
) -> Page[RefundSaid]:  # fmt: skip
    """Refunds in the order in which they were asked for."""
    filters = {"ref": ref}
    after = cursors.read(caller, _NAME, filters, cursor)
    query = select(Refund).order_by(Refund.created_at, Refund.id)
    if ref is not None:
        query = query.where(Refund.ref == ref)
    if after is not None:
        at, _, name = str(after).partition(" ")
        query = query.where(tuple_(Refund.created_at, Refund.id) > (at, name))
    with database.read() as session:
        rows = session.scalars(query.limit(limit + 1)).all()
    found = [(f"{row.created_at} {row.id}", _said(row)) for row in rows]
    return cursors.page(caller, _NAME, filters, cursor, limit, found)


@router.get("/refunds/{id}", responses=problems.answers("not-found"))
def get_refund(
    id: IdInPath, caller: Annotated[Caller, needs("refunds:read")], database: Data
) -> RefundSaid:
    """A refund."""
    with database.read() as session:
        row = session.get(Refund, id)
    if row is None:
        raise Problem("not-found", "no such refund")
    return _said(row)


def _said(row: Refund) -> RefundSaid:
    return RefundSaid(**{name: getattr(row, name) for name in RefundSaid.model_fields})
