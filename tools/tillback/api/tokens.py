"""/v1/tokens: cards and accounts, by the keyed hash that stands in records."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import select

from tillback.api import cursors, problems
from tillback.api.context import Data, Now
from tillback.api.cursors import CursorText, Limit, Page
from tillback.api.fields import Amount, Asked, Moment, Said, TokenInPath, Words
from tillback.api.keys import Caller
from tillback.api.problems import Problem
from tillback.api.security import needs
from tillback.db.database import stamp
from tillback.db.tables import Token
from tillctl.token_list import FLAGS, GROUP_MAX

router = APIRouter(tags=["tokens"])
_NAME = "tokens"
_FLAG = f"^({'|'.join(FLAGS)})$"


class TokenAsked(Asked):
    """What is to be known of a token; what is left out is not known."""

    uid: Annotated[str, Field(pattern="^[0-9A-F]{8,20}$")] | None = None
    account: Words | None = Field(None, description="who pays its bills")
    group: Annotated[str, Field(pattern=f"^[!-~]{{1,{GROUP_MAX}}}$")] | None = Field(
        None, description="cards of one group stop each other's sessions"
    )
    flags: list[Annotated[str, Field(pattern=_FLAG)]] = Field(
        default=[], max_length=len(FLAGS), json_schema_extra={"uniqueItems": True}
    )
    expires_at: Moment | None = None
    ceiling_minor: Amount | None = Field(None, description="the most that a session may cost")


class TokenSaid(Said):
    """A token as it is known."""

    token: str
    uid: str | None
    account: str | None
    group: str | None
    flags: list[str]
    expires_at: str | None
    ceiling_minor: int | None
    added_at: str


@router.get("/tokens", responses=problems.answers("cursor"))
def list_tokens(
    caller: Annotated[Caller, needs("tokens:read")], database: Data,
    account: Annotated[Words | None, Query()] = None, limit: Limit = 100,
    cursor: CursorText | None = None,
) -> Page[TokenSaid]:  # fmt: skip
    """Tokens, by their hash."""
    filters = {"account": account}
    after = cursors.read(caller, _NAME, filters, cursor)
    query = select(Token).where(Token.token > (after or "")).order_by(Token.token)
    if account is not None:
        query = query.where(Token.account == account)
    with database.read() as session:
        found = [(row.token, _said(row)) for row in session.scalars(query.limit(limit + 1))]
    return cursors.page(caller, _NAME, filters, cursor, limit, found)


@router.get("/tokens/{token}", responses=problems.answers("not-found"))
def get_token(
    token: TokenInPath, caller: Annotated[Caller, needs("tokens:read")], database: Data
) -> TokenSaid:
    """A token."""
    with database.read() as session:
        row = session.get(Token, token)
    if row is None:
        raise Problem("not-found", "no such token")
    return _said(row)


@router.put("/tokens/{token}", responses=problems.answers("media-type"))
def put_token(
    token: TokenInPath, asked: TokenAsked, caller: Annotated[Caller, needs("tokens:write")],
    database: Data, clock: Now,
) -> TokenSaid:  # fmt: skip
    """Makes a token known, or puts what is known of it in order."""
    if len(set(asked.flags)) != len(asked.flags):
        raise problems.invalid("body/flags", "one stands there twice")
    with database.write() as session:
        row = session.get(Token, token)
        if row is None:
            row = Token(token=token, added_at=stamp(clock()))
            session.add(row)
        row.uid, row.account, row.group = asked.uid, asked.account, asked.group
        row.flags = " ".join(name for name in FLAGS if name in asked.flags)
        row.expires_at = stamp(asked.expires_at) if asked.expires_at else None
        row.ceiling_minor = asked.ceiling_minor
    return _said(row)


@router.delete("/tokens/{token}", status_code=204, responses=problems.answers("not-found"))
def delete_token(
    token: TokenInPath, caller: Annotated[Caller, needs("tokens:write")], database: Data
) -> Response:
    """Forgets a token: it may not charge any more. What it has charged stays."""
    with database.write() as session:
        row = session.get(Token, token)
        if row is None:
            raise Problem("not-found", "no such token")
        session.delete(row)
    return Response(status_code=204)


def _said(row: Token) -> TokenSaid:
    return TokenSaid(
        token=row.token, uid=row.uid, account=row.account, group=row.group,
        flags=row.flags.split(), expires_at=row.expires_at, ceiling_minor=row.ceiling_minor,
        added_at=row.added_at,
    )  # fmt: skip
