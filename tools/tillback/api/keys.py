"""API keys: `tb_<id>_<secret>`, sent as `Authorization: Bearer`.

Of the secret only the SHA-256 is kept (it has 256 random bits, so it needs no slow hash). A key of
a charger is bound to it: it is the charger's `payment_password`."""

import datetime
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from sqlalchemy import select

from evtill.core.errors import ConfigError
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

@dataclass(frozen=True)
class Caller:
    """Whose request it is. `charger`: the only one that it may speak for, where it is bound."""

    key: str
    scopes: frozenset[str]
    charger: str | None = None
    secret: bytes = field(default=b"", repr=False)  # known to nobody else: what is signed for it


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
