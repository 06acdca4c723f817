"""/v1/receipts: what a driver gets, as a page, as text, or as what both are made of."""

import dataclasses
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from sqlalchemy import select

from tillback import receipt
from tillback.api import problems
from tillback.api.context import Data
from tillback.api.fields import RecordInPath
from tillback.api.keys import Caller
from tillback.api.problems import Problem
from tillback.api.security import needs
from tillback.db.database import Database
from tillback.db.tables import Charger, KeyRotation, UsageRecord
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey

router = APIRouter(tags=["receipts"])
# The page loads nothing and runs nothing (tillback.receipt); no browser is to think otherwise.
PAGE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
         "X-Content-Type-Options": "nosniff"}  # fmt: skip


@router.get(
    "/receipts/{id}",
    response_model=receipt.Receipt,
    responses={
        200: {"content": {"text/html": {"schema": {"type": "string"}},
                          "text/plain": {"schema": {"type": "string"}}}},
        **problems.answers("not-found"),
    },
)  # fmt: skip
def get_receipt(
    id: RecordInPath, caller: Annotated[Caller, needs("records:read")], database: Data,
    form: Annotated[Literal["json", "html", "text"], Query(description="of the answer")] = "json",
) -> Response:  # fmt: skip
    """The receipt of a usage record. Its signatures and sums are checked each time: what fails is
    in `faults`, and stands first on the page."""
    found = checked(database, id)
    if form == "html":
        return HTMLResponse(receipt.html(found), headers=PAGE)
    if form == "text":
        return PlainTextResponse(receipt.text(found))
    return JSONResponse(dataclasses.asdict(found))


def checked(database: Database, record: str) -> receipt.Receipt:
    """The receipt of a usage record, its signatures checked. Raises Problem."""
    with database.read() as session:
        row = session.scalars(select(UsageRecord).where(UsageRecord.id == record)).one_or_none()
        if row is None:
            raise Problem("not-found", "no such usage record")
        charger = session.get_one(Charger, row.charger)
        rotations = session.scalars(
            select(KeyRotation.jws).where(KeyRotation.charger == row.charger)
            .order_by(KeyRotation.row)
        ).all()  # fmt: skip
    key = PublicKey(charger.public_key_pem)
    return receipt.model(row.jws, KeyRing([(charger.id, key)], rotations))
