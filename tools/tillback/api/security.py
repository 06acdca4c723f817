"""Who asks, and what they may: every request of the API has a key, and every route a scope."""

import asyncio
import datetime
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tillback.api import limits
from tillback.api.keys import SCOPES, Caller, caller_of
from tillback.api.problems import Problem
from tillback.db.database import Database

Clock = Callable[[], datetime.datetime]

_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`tb_<id>_<secret>`")


def needs(scope: str) -> Any:
    """A route's parameter: the Caller, who has `scope`."""
    assert scope in SCOPES

    def check(request: Request, _: Annotated[Any, Security(_bearer)] = None) -> Caller:
        caller = getattr(request.state, "caller", None)
        if not isinstance(caller, Caller):
            raise Problem("unauthorized")
        if scope not in caller.scopes:
            raise Problem("forbidden", f"the key lacks the scope {scope}")
        return caller

    return Depends(check)


def speaks_for(caller: Caller, charger: str | None) -> None:
    """Raises Problem where the caller is bound to another charger."""
    if caller.charger is not None and charger != caller.charger:
        raise Problem("forbidden", "the key is bound to another charger")


class Guard:
    """ASGI middleware: below `under` nobody comes in without a key, or too often."""

    def __init__(
        self, app: ASGIApp, database: Database, rate: limits.Rate, clock: Clock, under: str = "/v1/"
    ) -> None:
        self._app = app
        self._database = database
        self._buckets = limits.Buckets(rate)
        self._clock = clock
        self._under = under

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not scope["path"].startswith(self._under):
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        caller = None
        if len(given) == 1:
            text = given[0].decode("latin-1")
            caller = await asyncio.to_thread(caller_of, self._database, text)
        if caller is None:
            refusal = Problem("unauthorized", headers={"WWW-Authenticate": "Bearer"})
            await refusal.response()(scope, receive, send)
            return
        grant = self._buckets.take(caller.key, self._clock().timestamp())
        more = limits.headers(self._buckets.rate, grant)
        if not grant.allowed:
            await Problem("rate", headers=more).response()(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        raw = [(name.lower().encode(), value.encode()) for name, value in more.items()]
        raw.append((b"cache-control", b"no-store"))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *raw]
            await send(message)

        await self._app(scope, receive, sending)
