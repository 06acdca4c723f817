"""/v1/authorizations: what opens a session, however it is paid.

Chargers ask here for cards that they do not know, as firmware/evtill/net/payment_api.py does:
{"charger", "token", "currency"}, under a key that is bound to them. What they read of the answer is
`status`, `ref`, `ceiling_minor`, `currency`, `text` and `method`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback.api import problems
from tillback.api.context import Data, Now
from tillback.api.fields import (
    Amount,
    Asked,
    ChargerId,
    Currency,
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
HELD = ("card", "wallet", "terminal")  # methods whose money a provider holds first
Method = Literal["rfid", "app", "card", "wallet", "prepaid", "terminal"]
Verdict = Literal["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "PENDING"]


class AuthorizationAsked(Asked):
    """Who wants to charge.

    With a `token` and nothing but `charger` and `currency`: may it, on its account? Otherwise
    `method` says how it is paid: `app` and `rfid` on an `account`; `card`, `wallet` and `terminal`
    with `hold_minor`, which the payment provider keeps on `source` until the record is there."""

    currency: Currency
    charger: ChargerId | None = None
    token: TokenHash | None = None
    method: Method | None = None
    account: Words | None = None
    ceiling_minor: Amount | None = Field(None, description="the most that it may cost, with VAT")
    hold_minor: Amount | None = None
    source: Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,100}$")] | None = Field(
        None, description="what the provider knows the payer's card by; never its number"
    )
    life_s: Annotated[int, Field(ge=60, le=86400)] | None = Field(
        None, description="so long a session may begin; 900 unless said otherwise"
    )


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
        **problems.answers("media-type", "in-progress"),
    },
)  # fmt: skip
def create_authorization(
    asked: AuthorizationAsked, request: Request,
    caller: Annotated[Caller, needs("authorizations:write")], database: Data, clock: Now,
    _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Asks whether a token may charge, or authorises a session that is paid otherwise."""
    speaks_for(caller, asked.charger)
    only_token = asked.model_fields_set <= {"charger", "token", "currency"}
    if caller.charger is not None and not (only_token and asked.token):
        raise Problem("forbidden", "a charger's key asks for tokens, and for nothing else")
    try:
        with database.write() as session:
            if only_token:
                charger, token = _needed(asked, "charger"), _needed(asked, "token")
                found = authorizations.for_token(session, token, charger, asked.currency, clock())
                row = found.authorization
                said = _made(row) if row else _refused(found.status, asked.currency)
            else:
                wanted = _wanted(asked, request.app.state.provider)
                said = _made(authorizations.create(session, wanted, clock()))
            return answer(session, request, said, 201 if said.ref else 200)
    except PaymentError as error:
        raise problems.invalid("body", str(error)) from None


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


def _needed(asked: AuthorizationAsked, name: str) -> str:
    value: str | None = getattr(asked, name)
    if value is None:
        raise problems.invalid(f"body/{name}", "is needed here; or say the method")
    return value


def _wanted(asked: AuthorizationAsked, provider: str | None) -> authorizations.Asked:
    """What the domain is asked for. Raises Problem."""
    method = _needed(asked, "method")
    more: dict[str, Any] = {} if asked.life_s is None else {"life_s": asked.life_s}
    if method in HELD:
        if provider is None:
            raise problems.invalid("body/method", "no payment provider is set up here")
        if asked.hold_minor is None:
            raise problems.invalid("body/hold_minor", f"is needed for {method}")
        more |= {"provider": provider, "hold_minor": asked.hold_minor, "source": asked.source}
    elif method == "prepaid":
        raise problems.invalid("body/method", "a prepaid token is asked for by its hash alone")
    elif asked.account is None:
        raise problems.invalid("body/account", f"is needed for {method}: who gets the invoice?")
    elif asked.hold_minor is not None or asked.source is not None:
        raise problems.invalid("body/hold_minor", f"nothing is held for {method}")
    return authorizations.Asked(
        method, asked.currency, asked.charger, asked.token, asked.account, asked.ceiling_minor,
        **more,
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
