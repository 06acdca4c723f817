"""News on their way to others: signed, sent over HTTPS, tried again until they are taken.

What is sent is {"id", "kind", "at", "data"}. Whoever takes it answers with a status of 200 to 299
within ANSWER_S, and forgets an `id` that comes twice; the order is not kept. The header

    Evtill-Signature: t=<Unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>" under the secret, in hex>

says that it is ours, and of when: what is older than five minutes is a copy."""

import asyncio
import datetime
import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
import socket
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from evtill.core.errors import ConfigError, EvtillError
from tillback.alarms import Raised, sound
from tillback.db.database import Database, one_line, stamp
from tillback.db.tables import Delivery, News, WebhookEndpoint

PING = "ping"
ANSWER_S = 10.0
GIVEN_UP = datetime.timedelta(days=3)
_FIRST_S, _FACTOR, _MOST_S = 10, 3, 6 * 3600  # between tries
_LEASE_S = 60  # another process leaves what is being tried alone for so long
_AT_ONCE = 8
_BATCH = 100
_POLL_S = 1.0

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215

log = logging.getLogger(__name__)


class WebhookError(EvtillError):
    """A URL that nothing is sent to, or a delivery that was not taken."""


# ---- what the API does ----


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


# ---- sending ----


def signature(secret: str, body: bytes, unix_s: int) -> str:
    """The value of Evtill-Signature."""
    mac = hmac.digest(secret.encode(), f"{unix_s}.".encode() + body, hashlib.sha256)
    return f"t={unix_s},v1={mac.hex()}"


def wait_s(attempt: int) -> int:
    """How long to wait after so many tries."""
    return min(_MOST_S, _FIRST_S * _FACTOR ** min(attempt - 1, 20))


def is_public(address: str) -> bool:
    """Whether an address is anybody's on the internet, and not of our own network by whatever
    form."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        within = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            within.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if not all(is_public(str(one)) for one in within if one is not None):
            return False
        if found in _LOCAL_NAT64:
            return False
    return found.is_global and not found.is_multicast


@dataclass(frozen=True)
class _Due:
    """A delivery that is being tried."""

    news: str
    endpoint: str
    url: str
    secret: str
    body: bytes
    attempt: int
    since: str


class Deliverer:
    """run() until cancelled; or run_due() for what is due. Several processes may.

    allow_private: endpoints in one's own network are meant. ca_file: whose certificates are
    trusted, in the place of the usual ones. Raises ConfigError."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime.datetime], *,
        allow_private: bool = False, ca_file: Path | None = None,
    ) -> None:  # fmt: skip
        self._database = database
        self._clock = clock
        self._allow_private = allow_private
        try:
            self._trust = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError(f"{ca_file}: no certificates: {one_line(error)}") from error
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Delivers what there is, and then what comes."""
        while True:
            if await self.run_due() < _BATCH:
                await asyncio.sleep(_POLL_S)

    async def run_due(self) -> int:
        """Tries what is due, once each; how many those were."""
        found = await asyncio.to_thread(self._claim)
        await asyncio.gather(*map(self._try, found))
        return len(found)

    def _claim(self) -> list[_Due]:
        """What is due, now ours for _LEASE_S: should we die over it, it is due again then."""
        now = self._clock()
        query = (
            select(Delivery, News, WebhookEndpoint)
            .join(News, News.id == Delivery.news)
            .join(WebhookEndpoint, WebhookEndpoint.id == Delivery.endpoint)
            .where(Delivery.due_at <= stamp(now)).order_by(Delivery.due_at).limit(_BATCH)
            .with_for_update(of=Delivery, skip_locked=True)
        )  # fmt: skip
        found = []
        with self._database.write() as session:
            for row, news, endpoint in session.execute(query).all():
                row.attempt += 1
                row.tried_at = stamp(now)
                row.due_at = stamp(now + datetime.timedelta(seconds=_LEASE_S))
                said = {"id": news.id, "kind": news.kind, "at": news.at,
                        "data": json.loads(news.body)}  # fmt: skip
                found.append(_Due(news.id, endpoint.id, endpoint.url, endpoint.secret,
                                  json.dumps(said).encode(), row.attempt, news.at))  # fmt: skip
        return found

    async def _try(self, due: _Due) -> None:
        async with self._room:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._post(due)
                error = ""
            except TimeoutError:
                error = f"no answer within {ANSWER_S:.0f} s"
            except (httpx.HTTPError, OSError, EvtillError) as failure:
                error = one_line(failure)[:200] or type(failure).__name__
        await asyncio.to_thread(self._settle, due, error)

    async def _post(self, due: _Due) -> None:
        """Raises WebhookError, OSError, httpx.HTTPError unless it was taken."""
        parts = check_url(due.url)
        host, port = str(parts.hostname), parts.port or 443
        address = await self._address(host, port)
        # To the very address that was looked at: a name may lead elsewhere a moment later. No
        # connection is kept, since it would be found by its address, whoever's name it was for.
        shown = f"[{address}]" if ":" in address else address
        url = httpx.URL(f"https://{shown}:{port}{parts.path or '/'}"
                        + (f"?{parts.query}" if parts.query else ""))  # fmt: skip
        headers = {
            "Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "tillback",
            "Evtill-Signature": signature(
                due.secret, due.body, int(self._clock().timestamp())
            ),
        }  # fmt: skip
        async with httpx.AsyncClient(verify=self._trust, trust_env=False) as client:
            request = client.build_request(
                "POST", url, content=due.body, headers=headers, extensions={"sni_hostname": host}
            )
            answer = await client.send(request, stream=True, follow_redirects=False)
            await answer.aclose()
        if not 200 <= answer.status_code < 300:
            raise WebhookError(f"status {answer.status_code}")

    async def _address(self, host: str, port: int) -> str:
        """Where a host is. Raises WebhookError where that is within our own network."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        if not self._allow_private and not all(map(is_public, addresses)):
            raise WebhookError(f"{host} is not on the public internet")
        return addresses[0]

    def _settle(self, due: _Due, error: str) -> None:
        now = self._clock()
        with self._database.write() as session:
            row = session.get_one(Delivery, (due.news, due.endpoint))
            row.error = error
            if not error:
                row.due_at, row.delivered_at = None, stamp(now)
            elif row.due_at is None:
                return  # the endpoint was removed meanwhile
            elif due.since < stamp(now - GIVEN_UP):
                row.due_at = None
                day = due.since[:10]
                sound(session, [Raised("", "webhook_given_up", f"{due.endpoint}, news of {day}")],
                      stamp(now))  # fmt: skip
                log.error("webhook %s: news %s given up: %s", due.endpoint, due.news, error)
            else:
                after = datetime.timedelta(seconds=wait_s(due.attempt))
                row.due_at = stamp(now + after)
                log.warning("webhook %s: try %d: %s", due.endpoint, due.attempt, error)
