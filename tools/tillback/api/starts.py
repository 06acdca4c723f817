"""/v1/authorizations/{ref}/start and /stop: a session from afar, as an app begins and ends it."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy.orm import Session

from tillback import orders
from tillback.api import problems
from tillback.api.context import Data, Now
from tillback.api.fields import RefInPath, Said
from tillback.api.idempotency import IdempotencyKey, answer
from tillback.api.keys import Caller
from tillback.api.problems import Problem
from tillback.api.security import needs, speaks_for
from tillback.payments import authorizations, starting
from tillback.payments.authorizations import UnknownAuthorization
from tillback.payments.states import PaymentError

router = APIRouter(tags=["authorizations"])
_ERRORS = problems.answers("not-found", "conflict")


class Order(Said):
    """How a command to the charger stands. `detail`: why not, in words."""

    name: str
    state: str = Field(json_schema_extra={"enum": [orders.WAITING, orders.SENT, *orders.OVER]})
    detail: str
    made_at: str


class SessionOrdered(Said):
    """What the charger was told for an authorisation, the newest command first. The session itself
    is in /v1/sessions, and in the end its usage record in the authorisation."""

    ref: str
    charger: str
    state: str
    orders: list[Order]


@router.post("/authorizations/{ref}/start", response_model=SessionOrdered, responses=_ERRORS)
def start_session(
    ref: RefInPath, request: Request, caller: Annotated[Caller, needs("authorizations:write")],
    database: Data, clock: Now, _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Has the charger begin a session; a second time changes nothing. A driver has to plug in
    within the charger's own time; if none does, what is held is given back."""
    return _carry_out(starting.start, ref, request, caller, database, clock())


@router.post("/authorizations/{ref}/stop", response_model=SessionOrdered, responses=_ERRORS)
def stop_session(
    ref: RefInPath, request: Request, caller: Annotated[Caller, needs("authorizations:write")],
    database: Data, clock: Now, _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Has the charger end the session."""
    return _carry_out(starting.stop, ref, request, caller, database, clock())


def _carry_out(
    what: Callable[..., None], ref: str, request: Request, caller: Caller, database: Any, at: Any
) -> Response:
    try:
        with database.write() as session:
            speaks_for(caller, authorizations.get(session, ref, lock=True).charger)
            what(session, ref, at)
            session.flush()
            return answer(session, request, _said(session, ref), 200)
    except UnknownAuthorization:
        raise Problem("not-found", "no such authorization") from None
    except PaymentError as error:
        raise Problem("conflict", str(error)) from None


def _said(session: Session, ref: str) -> SessionOrdered:
    auth = authorizations.get(session, ref)
    found = [one for name in ("stop", "start") for one in orders.of(session, ref, name)]
    found.sort(key=lambda one: one.made_at, reverse=True)
    return SessionOrdered(
        ref=ref, charger=auth.charger or "", state=auth.state,
        orders=[Order(name=one.name, state=one.state, detail=one.detail, made_at=one.made_at)
                for one in found],
    )  # fmt: skip
