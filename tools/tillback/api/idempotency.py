"""`Idempotency-Key`: a POST that is sent again gets the first one's answer, for 24 hours.

A route that makes something keeps its answer in the transaction that makes it (answer()): should
the process die, either both are there or neither is. A key that is under way for longer than
LEASE_S is of a process that died, and may be taken up again."""

import asyncio
import datetime
import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Request
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tillback.api.fields import Said
from tillback.api.keys import Caller
from tillback.api.problems import MEDIA_TYPE, Problem
from tillback.api.security import Clock
from tillback.db.database import Database, stamp
from tillback.db.tables import IdempotentAnswer

KEPT = datetime.timedelta(hours=24)
LEASE_S = 60
# Refused before anything was done, or broken: the same request may fare better later.
_NOT_KEPT = (401, 403, 408, 413, 429)
_PATTERN = r"^[!-~]{1,255}$"

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", pattern=_PATTERN,
           description="the same request sent again under it is carried out once"),
]  # fmt: skip
NeededIdempotencyKey = Annotated[
    str, Header(alias="Idempotency-Key", pattern=_PATTERN,
                description="the same request sent again under it is carried out once"),
]  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """An answer that was given before."""

    status: int
    body: bytes


def answer(session: Session, request: Request, said: Said, status: int = 201) -> Response:
    """What a route returns, kept with this transaction. Raises Problem where somebody else has
    taken the request up since: then nothing of this one is to stay."""
    response = JSONResponse(said.model_dump(mode="json"), status)
    lease: str | None = getattr(request.state, "lease", None)
    if lease is not None:
        at = IdempotentAnswer.api_key == request.state.caller.key
        mine = session.scalars(
            select(IdempotentAnswer)
            .where(at, IdempotentAnswer.key == request.headers["Idempotency-Key"])
            .with_for_update()
        ).one_or_none()
        if mine is None or mine.created_at != lease or mine.status is not None:
            raise Problem("in-progress", headers={"Retry-After": "1"})
        mine.status, mine.body = status, bytes(response.body)
    return response


class Idempotency:
    """ASGI middleware, behind Guard and Bodies."""

    def __init__(self, app: ASGIApp, database: Database, clock: Clock) -> None:
        self._app = app
        self._database = database
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        key = _key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        caller: Caller = scope["state"]["caller"]
        try:
            kept = await asyncio.to_thread(self._begin, caller.key, key, _digest(scope))
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if isinstance(kept, Kept):
            kind = "application/json" if kept.status < 400 else MEDIA_TYPE
            headers = {"Idempotent-Replayed": "true"}
            await Response(kept.body, kept.status, headers, kind)(scope, receive, send)
            return
        scope["state"]["lease"] = kept
        await self._carry_out(scope, receive, send, (caller.key, key, kept))

    async def _carry_out(
        self, scope: Scope, receive: Receive, send: Send, of: tuple[str, str, str]
    ) -> None:
        """Keeps the answer before it is sent: whoever has seen it will see it again."""
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await asyncio.to_thread(self._end, *of, start["status"], bytes(body))
                await send(start)
                await send({"type": "http.response.body", "body": bytes(body)})

        try:
            await self._app(scope, receive, collect)
        except Exception:
            await asyncio.to_thread(self._end, *of, 500, b"")
            raise

    def _begin(self, caller: str, key: str, digest: str, again: bool = True) -> Kept | str:
        """What was answered; or the lease under which to go on. Raises Problem."""
        now = self._clock()
        lease = stamp(now)
        try:
            with self._database.write() as session:
                session.execute(delete(IdempotentAnswer).where(
                    IdempotentAnswer.created_at < stamp(now - KEPT)))  # fmt: skip
                row = session.get(IdempotentAnswer, (caller, key), with_for_update=True)
                if row is None:
                    session.add(IdempotentAnswer(
                        api_key=caller, key=key, request_sha256=digest, status=None, body=None,
                        created_at=lease,
                    ))  # fmt: skip
                    return lease
                if row.request_sha256 != digest:
                    raise Problem("idempotency-key")
                if row.status is not None:
                    return Kept(row.status, row.body or b"")
                if row.created_at >= stamp(now - datetime.timedelta(seconds=LEASE_S)):
                    raise Problem("in-progress", headers={"Retry-After": "1"})
                row.created_at = lease
                return lease
        except IntegrityError:  # another process was faster
            if not again:
                raise
            return self._begin(caller, key, digest, again=False)

    def _end(self, caller: str, key: str, lease: str, status: int, body: bytes) -> None:
        """Keeps an answer that is not kept yet; of one that says nothing for good, forgets that it
        was asked for."""
        with self._database.write() as session:
            row = session.get(IdempotentAnswer, (caller, key), with_for_update=True)
            if row is None or row.status is not None or row.created_at != lease:
                return
            if status >= 500 or status in _NOT_KEPT:
                session.delete(row)
            else:
                row.status, row.body = status, body


def _key(scope: Scope) -> str | None:
    """The key of a request that it matters to; one that is malformed is refused further in."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    if "caller" not in scope.get("state", {}):
        return None  # not of the API
    given = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    text = given[0].decode("latin-1") if len(given) == 1 else ""
    return text if 0 < len(text) <= 255 and all("!" <= one <= "~" for one in text) else None


def _digest(scope: Scope) -> str:
    """What makes two requests the same."""
    said = [scope["path"].encode(), scope["query_string"], scope["state"]["body"]]
    return hashlib.sha256(b"\0".join(hashlib.sha256(one).digest() for one in said)).hexdigest()
