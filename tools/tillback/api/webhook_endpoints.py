"""/v1/webhook-endpoints: where news are sent to."""

import dataclasses
import secrets
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tillback import news, webhooks
from tillback.api import cursors, problems
from tillback.api.context import Data, Now
from tillback.api.cursors import CursorText, Limit, Page
from tillback.api.fields import Asked, IdInPath, Said
from tillback.api.idempotency import IdempotencyKey, answer
from tillback.api.keys import Caller
from tillback.api.problems import Problem
from tillback.api.security import needs
from tillback.db.database import stamp
from tillback.db.tables import WebhookEndpoint
from tillback.webhooks import WebhookError

router = APIRouter(tags=["webhooks"])
_NAME = "webhook-endpoints"
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_URL = f"^https://[A-Za-z0-9._-]{{1,253}}(:({_PORT}))?([/?][!\"$-\\[\\]-~]*)?$"
_KIND = "^(\\*|" + "|".join(sorted(news.KINDS)).replace(".", "\\.") + ")$"
MOST = 16  # endpoints at a time: each piece of news goes to all of them


class EndpointAsked(Asked):
    """Where to send which news; "*" is all of them."""

    url: Annotated[str, Field(max_length=500, pattern=_URL)]
    kinds: list[Annotated[str, Field(pattern=_KIND)]] = Field(
        default=["*"], min_length=1, max_length=len(news.KINDS) + 1
    )


class EndpointSaid(Said):
    """An endpoint, and how its deliveries fare. `given_up`: news that it never took."""

    id: str
    url: str
    kinds: list[str]
    created_at: str
    waiting: int
    delivered: int
    given_up: int
    last_error: str | None


class NewEndpoint(Said):
    """An endpoint that was made. `secret` signs what is sent to it, and is told this once."""

    id: str
    url: str
    kinds: list[str]
    created_at: str
    secret: str


class PingSaid(Said):
    """A piece of news of the kind `ping` is on its way under this id."""

    news: str


@router.get("/webhook-endpoints", responses=problems.answers("cursor"))
def list_webhook_endpoints(
    caller: Annotated[Caller, needs("webhooks:read")], database: Data, limit: Limit = 100,
    cursor: CursorText | None = None,
) -> Page[EndpointSaid]:  # fmt: skip
    """Endpoints, by their id."""
    after = cursors.read(caller, _NAME, {}, cursor)
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.removed_at.is_(None), WebhookEndpoint.id > (after or "")
    )
    with database.read() as session:
        rows = session.scalars(query.order_by(WebhookEndpoint.id).limit(limit + 1)).all()
        found = [(row.id, _said(session, row)) for row in rows]
    return cursors.page(caller, _NAME, {}, cursor, limit, found)


@router.post(
    "/webhook-endpoints", status_code=201, response_model=NewEndpoint,
    responses=problems.answers("media-type", "conflict", "idempotency-key"),
)  # fmt: skip
def create_webhook_endpoint(
    asked: EndpointAsked, request: Request, caller: Annotated[Caller, needs("webhooks:write")],
    database: Data, clock: Now, _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Has news of these kinds sent to a URL, from now on."""
    try:
        webhooks.check_url(asked.url)
    except WebhookError as error:
        raise problems.invalid("body/url", str(error)) from None
    with database.write() as session:
        standing = select(func.count()).where(WebhookEndpoint.removed_at.is_(None))
        if (session.scalar(standing) or 0) >= MOST:
            raise Problem("conflict", f"there are {MOST} endpoints already")
        row = WebhookEndpoint(
            id="we_" + secrets.token_hex(12), url=asked.url, secret=webhooks.new_secret(),
            kinds=" ".join(sorted(set(asked.kinds))), created_at=stamp(clock()), removed_at=None,
        )  # fmt: skip
        session.add(row)
        said = NewEndpoint(id=row.id, url=row.url, kinds=row.kinds.split(),
                           created_at=row.created_at, secret=row.secret)  # fmt: skip
        return answer(session, request, said)


@router.get("/webhook-endpoints/{id}", responses=problems.answers("not-found"))
def get_webhook_endpoint(
    id: IdInPath, caller: Annotated[Caller, needs("webhooks:read")], database: Data
) -> EndpointSaid:
    """An endpoint."""
    with database.read() as session:
        return _said(session, _endpoint(session, id))


@router.delete(
    "/webhook-endpoints/{id}", status_code=204, responses=problems.answers("not-found")
)  # fmt: skip
def delete_webhook_endpoint(
    id: IdInPath, caller: Annotated[Caller, needs("webhooks:write")], database: Data, clock: Now
) -> Response:
    """Ends an endpoint: what is still on its way to it is not sent any more."""
    with database.write() as session:
        webhooks.remove(session, _endpoint(session, id), stamp(clock()))
    return Response(status_code=204)


@router.post(
    "/webhook-endpoints/{id}/ping", status_code=202, response_model=PingSaid,
    responses=problems.answers("not-found", "in-progress"),
)  # fmt: skip
def ping_webhook_endpoint(
    id: IdInPath, request: Request, caller: Annotated[Caller, needs("webhooks:write")],
    database: Data, clock: Now, _: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Sends news of the kind `ping` to this endpoint alone, to see whether it arrives."""
    with database.write() as session:
        name = webhooks.ping(session, _endpoint(session, id), stamp(clock()))
        return answer(session, request, PingSaid(news=name), 202)


def _endpoint(session: Session, name: str) -> WebhookEndpoint:
    row = session.get(WebhookEndpoint, name)
    if row is None or row.removed_at is not None:
        raise Problem("not-found", "no such webhook endpoint")
    return row


def _said(session: Session, row: WebhookEndpoint) -> EndpointSaid:
    fares = dataclasses.asdict(webhooks.fares(session, row.id))
    return EndpointSaid(
        id=row.id, url=row.url, kinds=row.kinds.split(), created_at=row.created_at, **fares
    )
