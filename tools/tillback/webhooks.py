"""Webhooks: where news go, and how whoever gets them knows that they are ours.

What is sent is {"id", "kind", "at", "data"}. Whoever takes it answers with a status of 200 to 299
within ten seconds, and forgets an `id` that comes twice. The header

    Evtill-Signature: t=<Unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>" under the secret, in hex>

says that it is ours, and of when: what is older than five minutes is a copy."""

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from evtill.core.errors import EvtillError
from tillback.db.tables import Delivery, News, WebhookEndpoint

PING = "ping"


class WebhookError(EvtillError):
    """A URL that nothing is sent to, or a delivery that was not taken."""


def signature(secret: str, body: bytes, unix_s: int) -> str:
    """The value of Evtill-Signature."""
    mac = hmac.digest(secret.encode(), f"{unix_s}.".encode() + body, hashlib.sha256)
    return f"t={unix_s},v1={mac.hex()}"


def new_secret() -> str:
    """A secret to sign with."""
    return "whsec_" + secrets.token_urlsafe(32)


def check_url(url: str) -> SplitResult:
    """The parts of a URL that something may be sent to, as far as it alone says. Raises
    WebhookError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WebhookError("not a URL") from None
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise WebhookError("want https://HOST/...")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WebhookError("want no user, password or fragment in it")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise WebhookError("want printable ASCII; other letters as IDNA or %XX")
    return parts


def ping(session: Session, endpoint: WebhookEndpoint, at: str) -> str:
    """Puts news of the kind PING on their way to one endpoint; their id."""
    name = uuid.uuid4().hex
    session.add(News(id=name, kind=PING, body="{}", at=at))
    session.flush()
    session.add(Delivery(news=name, endpoint=endpoint.id, attempt=0, due_at=at, tried_at=None,
                         delivered_at=None, error=""))  # fmt: skip
    return name


@dataclass(frozen=True)
class Fares:
    """How many deliveries to an endpoint wait, were taken, were given up; why the last one that
    failed did."""

    waiting: int
    delivered: int
    given_up: int
    last_error: str | None


def fares(session: Session, endpoint: str) -> Fares:
    """How an endpoint's deliveries fare."""
    of_it = Delivery.endpoint == endpoint
    open_, taken = Delivery.due_at.is_not(None), Delivery.delivered_at.is_not(None)
    waiting, delivered, given_up = (
        session.scalar(select(func.count()).select_from(Delivery).where(of_it, one)) or 0
        for one in (open_, taken, ~open_ & ~taken)
    )
    failed = select(Delivery.error).where(of_it, Delivery.error != "")
    last = session.scalars(failed.order_by(Delivery.tried_at.desc()).limit(1)).first()
    return Fares(waiting, delivered, given_up, last)


def retry(session: Session, endpoint: WebhookEndpoint, at: str) -> int:
    """Puts what an endpoint never took on its way again, for one more try each; how many."""
    given_up = Delivery.due_at.is_(None) & Delivery.delivered_at.is_(None)
    rows = session.scalars(select(Delivery).where(Delivery.endpoint == endpoint.id, given_up)).all()
    for row in rows:
        row.due_at = at
    return len(rows)


def remove(session: Session, endpoint: WebhookEndpoint, at: str) -> None:
    """Ends an endpoint; nothing more is sent there."""
    endpoint.removed_at = at
    waiting = Delivery.due_at.is_not(None)
    session.execute(
        update(Delivery).where(Delivery.endpoint == endpoint.id, waiting)
        .values(due_at=None, error="the endpoint was removed")
    )  # fmt: skip
