"""Who asks, and what they may: API keys with scopes.

A key is `tb_<id>_<secret>`, sent as `Authorization: Bearer`. Of the secret only the SHA-256 is kept
(it has 256 random bits, so it needs no slow hash). A key of a charger is bound to it: it is the
charger's `payment_password`."""

import asyncio
import datetime
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy import select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evtill.core.errors import ConfigError
from tillback.api import limits
from tillback.api.problems import Problem
from tillback.db.database import Database, stamp
from tillback.db.tables import ApiKey, Charger

SCOPES = {
    "authorizations:read": "see authorisations",
    "authorizations:write": "ask for authorisations, create and cancel them",
    "chargers:read": "see chargers, their state and their prices",
    "records:read": "see usage records, bills and receipts",
    "refunds:read": "see refunds",
    "refunds:write": "refund",
    "sessions:read": "see sessions that go on",
    "tokens:read": "see tokens",
    "tokens:write": "add, change and remove tokens",
    "webhooks:read": "see webhook endpoints",
    "webhooks:write": "add and remove webhook endpoints",
}
OF_A_CHARGER = ("authorizations:write",)
_FORM = re.compile(r"tb_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"").hexdigest()

Clock = Callable[[], datetime.datetime]


@dataclass(frozen=True)
class Caller:
    """Whose request it is. `charger`: the only one that it may speak for, where it is bound."""

    key: str
    scopes: frozenset[str]
    charger: str | None = None
    secret: bytes = field(default=b"", repr=False)  # known to nobody else: what is signed for it

    def speaks_for(self, charger: str | None) -> None:
        """Raises Problem where the key is bound to another charger."""
        if self.charger is not None and charger != self.charger:
            raise Problem("forbidden", "the key is bound to another charger")


# ---- keys ----


def create(
    database: Database, name: str, scopes: list[str], charger: str | None, now: datetime.datetime
) -> str:
    """A new key, told this once. Raises ConfigError."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise ConfigError(f"unknown scope {unknown[0]}; there are {', '.join(SCOPES)}")
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise ConfigError("name: want 1 to 64 printable characters")
    if not scopes:
        raise ConfigError("want a scope at least")
    key, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with database.write() as session:
        if charger is not None and session.get(Charger, charger) is None:
            raise ConfigError(f"{charger} is not registered")
        session.add(ApiKey(
            id=key, name=name, secret_sha256=_sha256(secret), scopes=" ".join(sorted(set(scopes))),
            charger=charger, created_at=stamp(now), revoked_at=None,
        ))  # fmt: skip
    return f"tb_{key}_{secret}"


def revoke(database: Database, key: str, now: datetime.datetime) -> None:
    """Ends a key, by its id. Raises ConfigError."""
    with database.write() as session:
        found = session.get(ApiKey, key)
        if found is None:
            raise ConfigError(f"no key {key[:64]!a}")
        found.revoked_at = found.revoked_at or stamp(now)


def keys(database: Database) -> list[ApiKey]:
    """Every key, the oldest first."""
    with database.read() as session:
        return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)))


def caller_of(database: Database, authorization: str) -> Caller | None:
    """Who sends this Authorization header; None: nobody that is known."""
    kind, _, given = authorization.partition(" ")
    form = _FORM.fullmatch(given.strip())
    if kind.lower() != "bearer" or form is None:
        return None
    with database.read() as session:
        row = session.get(ApiKey, form[1])
    known = row.secret_sha256 if row else _NOBODY
    same = hmac.compare_digest(_sha256(form[2]), known)
    if row is None or not same or row.revoked_at is not None:
        return None
    return Caller(row.id, frozenset(row.scopes.split()), row.charger, bytes.fromhex(known))


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


# ---- requests ----

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
