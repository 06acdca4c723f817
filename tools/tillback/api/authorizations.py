"""/v1/authorizations: what opens a session, however it is paid.

Chargers ask here for cards that they do not know, as firmware/evtill/net/payment_api.py does:
{"charger", "token", "currency"}, under a key that is bound to them. What they read of the answer is
`status`, `ref`, `ceiling_minor`, `currency`, `text` and `method`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Discriminator, Field, Tag
from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback.api import problems
from tillback.api.context import Data, Now
from tillback.api.fields import (
    Amount,
    Asked,
    ChargerId,
    Currency,
    LifeS,
    RefInPath,
    Said,
    TokenHash,
    Words,
)
from tillback.api.idempotency import IdempotencyKey, answer
from tillback.api.keys import Caller
from tillback.api.problems import Problem
from tillback.api.security import needs, speaks_for
from tillback.db.tables import Authorization, AuthorizationChange
from tillback.payments import authorizations, states
from tillback.payments.authorizations import UnknownAuthorization
from tillback.payments.states import PaymentError

router = APIRouter(tags=["authorizations"])
Verdict = Literal["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "PENDING"]


class ForToken(Asked):
    """May this token charge, on its account? What a charger asks."""

    charger: ChargerId
    token: TokenHash
    currency: Currency


class _More(Asked):
    currency: Currency
    charger: ChargerId | None = None
    token: TokenHash | None = Field(None, description="whose session it is to be")
    ceiling_minor: Amount | None = Field(None, description="the most that it may cost, with VAT")
    life_s: LifeS = Field(authorizations.LIFE_S, description="so long a session may begin")


class OnAccount(_More):
    """A session on an account, which gets an invoice."""

    method: Literal["app", "rfid"]
    account: Words


class WithHold(_More):
    """A session on money that the payment provider holds until the usage record is there."""

    method: Literal["card", "wallet", "terminal"]
    hold_minor: Amount
    source: Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,100}$")] | None = Field(
        None, description="what the provider knows the payer's card by; never its number"
    )


def _kind(said: Any) -> str:
    """Which of them is meant: by its method."""
    method = said.get("method") if isinstance(said, dict) else getattr(said, "method", None)
    if isinstance(said, dict) and "method" not in said:
        return "ForToken"
    return "OnAccount" if method in ("app", "rfid") else "WithHold"


AuthorizationAsked = Annotated[
    Annotated[ForToken, Tag("ForToken")] | Annotated[OnAccount, Tag("OnAccount")]
    | Annotated[WithHold, Tag("WithHold")],
    Discriminator(_kind),
]  # fmt: skip


class AuthorizationAnswer(Said):
    """Whether it may charge: `status` is OCPI 2.2.1's AllowedType; PENDING: the payment provider
    has yet to hold the money. `ref` names the authorisation, where there is one."""

    status: Verdict
    ref: str | None
    ceiling_minor: int | None
    currency: str
    text: str | None = Field(description="for the display; null: its own words will do")
    method: str | None = Field(description="prepaid: not to be remembered for another session")
    state: str | None
    expires_at: str | None


class Change(Said):
    """A step from state to state."""

    old: str | None
    new: str
    reason: str
    at: str


class AuthorizationSaid(Said):
    """An authorisation, and how its money stands. `changes`: the first one first."""

    ref: str
    charger: str | None
    method: str
    token: str | None
    account: str | None
    currency: str
    ceiling_minor: int | None
    state: str = Field(json_schema_extra={"enum": list(states.TRANSITIONS)})
    reason: str
    provider: str
    hold_minor: int
    captured_minor: int
    fee_minor: int
    refunded_minor: int
    record: str | None = Field(description="the usage record that settles it")
    created_at: str
    expires_at: str
    changes: list[Change]


@router.post(
    "/authorizations", status_code=201, response_model=AuthorizationAnswer,
    responses={
        200: {"model": AuthorizationAnswer, "description": "It may not charge"},
        **problems.answers("media-type", "conflict"),
    },
)  # fmt: skip
def create_authorization(
    asked: AuthorizationAsked, request: Request,
    caller: Annotated[Caller, needs("authorizations:write")], database: Data, clock: Now,
    _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Asks whether a token may charge, or authorises a session that is paid by `method`."""
    speaks_for(caller, asked.charger)
    if caller.charger is not None and not isinstance(asked, ForToken):
        raise Problem("forbidden", "a charger's key asks for tokens, and for nothing else")
    try:
        with database.write() as session:
            if isinstance(asked, ForToken):
                found = authorizations.for_token(
                    session, asked.token, asked.charger, asked.currency, clock()
                )
                row = found.authorization
                said = _made(row) if row else _refused(found.status, asked.currency)
            else:
                wanted = _wanted(asked, request.app.state.provider)
                said = _made(authorizations.create(session, wanted, clock()))
            return answer(session, request, said, 201 if said.ref else 200)
    except PaymentError as error:
        raise Problem("conflict", str(error)) from None


@router.get("/authorizations/{ref}", responses=problems.answers("not-found"))
def get_authorization(
    ref: RefInPath, caller: Annotated[Caller, needs("authorizations:read")], database: Data
) -> AuthorizationSaid:
    """An authorisation."""
    with database.read() as session:
        return _said(session, _found(session, ref, caller))


@router.post(
    "/authorizations/{ref}/cancel", response_model=AuthorizationSaid,
    responses=problems.answers("not-found", "conflict"),
)  # fmt: skip
def cancel_authorization(
    ref: RefInPath, request: Request, caller: Annotated[Caller, needs("authorizations:write")],
    database: Data, clock: Now, _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Gives up an authorisation that no session has begun on: what is held is given back."""
    try:
        with database.write() as session:
            _found(session, ref, caller)
            row = authorizations.cancel(session, ref, "cancelled over the API", clock())
            session.flush()
            return answer(session, request, _said(session, row), 200)
    except PaymentError as error:
        raise Problem("conflict", str(error)) from None


def _wanted(asked: OnAccount | WithHold, provider: str | None) -> authorizations.Asked:
    """What the domain is asked for. Raises Problem."""
    more: dict[str, Any] = {}
    if isinstance(asked, WithHold):
        if provider is None:
            raise Problem("conflict", "no payment provider is set up here")
        more = {"provider": provider, "hold_minor": asked.hold_minor, "source": asked.source}
    account = asked.account if isinstance(asked, OnAccount) else None
    return authorizations.Asked(
        asked.method, asked.currency, asked.charger, asked.token, account, asked.ceiling_minor,
        life_s=asked.life_s, **more,
    )  # fmt: skip


def _refused(verdict: str, currency: str) -> AuthorizationAnswer:
    return AuthorizationAnswer.model_validate({
        "status": verdict, "ref": None, "ceiling_minor": None, "currency": currency, "text": None,
        "method": None, "state": None, "expires_at": None,
    })  # fmt: skip


def _made(row: Authorization) -> AuthorizationAnswer:
    return AuthorizationAnswer(
        status="PENDING" if row.state == "requested" else "ALLOWED", ref=row.ref,
        ceiling_minor=row.ceiling_minor, currency=row.currency, text=None, method=row.method,
        state=row.state, expires_at=row.expires_at,
    )  # fmt: skip


def _found(session: Session, ref: str, caller: Caller) -> Authorization:
    """Raises Problem."""
    try:
        row = authorizations.get(session, ref)
    except UnknownAuthorization:
        raise Problem("not-found", "no such authorization") from None
    speaks_for(caller, row.charger)
    return row


def _said(session: Session, row: Authorization) -> AuthorizationSaid:
    steps = session.scalars(
        select(AuthorizationChange).where(AuthorizationChange.ref == row.ref)
        .order_by(AuthorizationChange.row)
    )  # fmt: skip
    changes = [Change(old=one.old, new=one.new, reason=one.reason, at=one.at) for one in steps]
    own = {name: getattr(row, name) for name in AuthorizationSaid.model_fields if name != "changes"}
    return AuthorizationSaid(**own, changes=changes)
