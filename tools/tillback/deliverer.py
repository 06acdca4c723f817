"""Sends news to webhooks until they are taken; never into our own network.

Each endpoint gets its news one by one, in their order, whatever becomes of the others: one that is
away holds up nobody but itself. When it has not taken one, the rest waits with that one."""

import asyncio
import datetime
import ipaddress
import json
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from evtill.core.errors import ConfigError, EvtillError
from tillback.alarms import Raised, sound
from tillback.db.database import Database, one_line, stamp
from tillback.db.tables import Delivery, News, WebhookEndpoint
from tillback.webhooks import WebhookError, check_url, signature

ANSWER_S = 10.0
GIVEN_UP = datetime.timedelta(days=3)
_FIRST_S, _FACTOR, _MOST_S = 10, 3, 6 * 3600  # between tries
_BATCH = 5  # taken up together, which takes ANSWER_S each at most
_LEASE_S = 60  # another process leaves what is taken up alone for so long
_POLL_S = 1.0

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215

log = logging.getLogger(__name__)


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

    async def run(self) -> None:
        """Delivers what there is, and then what comes."""
        serving: dict[str, asyncio.Task[int]] = {}
        try:
            while True:
                for endpoint in await asyncio.to_thread(self._endpoints):
                    if endpoint not in serving:
                        serving[endpoint] = asyncio.create_task(self._serve(endpoint))
                await asyncio.sleep(_POLL_S)
                for endpoint in [name for name, task in serving.items() if task.done()]:
                    await serving.pop(endpoint)
        finally:
            for task in serving.values():
                task.cancel()

    async def run_due(self) -> int:
        """Delivers what is due, as far as it is taken; how many tries those were."""
        found = await asyncio.to_thread(self._endpoints)
        return sum(await asyncio.gather(*map(self._serve, found)))

    async def _serve(self, endpoint: str) -> int:
        """Sends an endpoint what is due, until it does not take one."""
        tries = 0
        while batch := await asyncio.to_thread(self._claim, endpoint):
            for n, due in enumerate(batch):
                tries += 1
                error = await self._try(due)
                await asyncio.to_thread(self._settle, due, error, batch[n + 1 :])
                if error:
                    return tries
        return tries

    def _endpoints(self) -> list[str]:
        """Those for which something is due."""
        query = select(Delivery.endpoint).where(Delivery.due_at <= stamp(self._clock()))
        with self._database.read() as session:
            return list(session.scalars(query.distinct()))

    def _claim(self, endpoint: str) -> list[_Due]:
        """What is due there, now ours for _LEASE_S: should we die over it, it is due again then."""
        now = self._clock()
        query = (
            select(Delivery, News, WebhookEndpoint)
            .join(News, News.id == Delivery.news)
            .join(WebhookEndpoint, WebhookEndpoint.id == Delivery.endpoint)
            .where(Delivery.endpoint == endpoint, Delivery.due_at <= stamp(now))
            .order_by(News.row).limit(_BATCH)
            .with_for_update(of=Delivery, skip_locked=True)
        )  # fmt: skip
        found = []
        with self._database.write() as session:
            for row, news, to in session.execute(query).all():
                row.attempt += 1
                row.tried_at = stamp(now)
                row.due_at = stamp(now + datetime.timedelta(seconds=_LEASE_S))
                said = {"id": news.id, "kind": news.kind, "at": news.at,
                        "data": json.loads(news.body)}  # fmt: skip
                found.append(_Due(news.id, to.id, to.url, to.secret, json.dumps(said).encode(),
                                  row.attempt, news.at))  # fmt: skip
        return found

    async def _try(self, due: _Due) -> str:
        """Why it was not taken; "" where it was."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._post(due)
            return ""
        except TimeoutError:
            return f"no answer within {ANSWER_S:.0f} s"
        except (httpx.HTTPError, OSError, EvtillError) as failure:
            return one_line(failure)[:200] or type(failure).__name__

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

    def _settle(self, due: _Due, error: str, rest: list[_Due]) -> None:
        """Keeps what became of a try. rest: what was taken up with it, and now waits with it."""
        now = self._clock()
        with self._database.write() as session:
            row = _row(session, due)
            if not error:
                row.due_at, row.delivered_at, row.error = None, stamp(now), ""
                return
            if row.due_at is None:
                return  # the endpoint was removed, or another process was faster, meanwhile
            row.error = error
            row.due_at = again = self._again(session, due, error, now)
            for one in rest:
                waits = _row(session, one)
                if waits.due_at is not None:
                    waits.attempt -= 1
                    waits.due_at = again or stamp(now)

    def _again(
        self, session: Session, due: _Due, error: str, now: datetime.datetime
    ) -> str | None:  # fmt: skip
        """When to try again; None: never, and loudly so."""
        if due.since >= stamp(now - GIVEN_UP):
            log.warning("webhook %s: try %d: %s", due.endpoint, due.attempt, error)
            return stamp(now + datetime.timedelta(seconds=wait_s(due.attempt)))
        detail = f"{due.endpoint}, news of {due.since[:10]}"
        sound(session, [Raised("", "webhook_given_up", detail)], stamp(now))
        log.error("webhook %s: news %s given up: %s", due.endpoint, due.news, error)
        return None


def _row(session: Session, due: _Due) -> Delivery:
    return session.get_one(Delivery, (due.news, due.endpoint), with_for_update=True)
