"""The payment API as its callers see it: requests to the application, without a network."""

import asyncio
import contextlib
import datetime
import json
import threading

import httpx

from evtill.core import record_check
from host_tests.fakes import records
from tillback.api import keys
from tillback.api.app import create_app
from tillback.api.limits import Rate
from tillback.db.database import Database, stamp
from tillback.db.tables import Charger, UsageRecord
from tillback.service import HttpServer
from tillback.store import looked_up

ENDLESS = Rate(10**6, 10**6)
NOON = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)


class Api:
    """The application on a database of its own. `now` is its clock; `key` may do everything."""

    def __init__(self, path=None, rate=ENDLESS, url=None, **options):
        self.database = Database(url or f"sqlite:///{path}/api.sqlite")
        self.now = NOON
        self.key = self.new_key(*keys.SCOPES)
        self.app = create_app(self.database, clock=lambda: self.now, rate=rate, **options)

    def new_key(self, *scopes, charger=None):
        return keys.create(self.database, "test", list(scopes), charger, self.now)

    def ask(self, method, path, *, key=None, headers=None, **options):
        """The answer. key: "" for none; json, content, params as httpx has them."""
        key = self.key if key is None else key
        headers = httpx.Headers(headers)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return asyncio.run(self._ask(method, path, headers, options))

    def together(self, *requests):
        """The answers to several (method, path, headers, options) at the same time."""

        async def run():
            return await asyncio.gather(*(
                self._ask(method, path, {"Authorization": f"Bearer {self.key}", **headers}, options)
                for method, path, headers, options in requests
            ))  # fmt: skip

        return asyncio.run(run())

    async def _ask(self, method, path, headers, options):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            return await client.request(method, path, headers=headers, **options)

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, said=None, key_of=None, **options):
        """key_of: the Idempotency-Key."""
        headers = options.pop("headers", {})
        if key_of:
            headers["Idempotency-Key"] = key_of
        if said is not None:
            options["json"] = said
        return self.ask("POST", path, headers=headers, **options)

    def add_charger(self, charger=records.CHARGER, signer=None):
        with self.database.write() as session:
            session.add(Charger(
                id=charger, public_key_pem=(signer or records.Signer()).public.pem,
                ack_key=bytes(32), mqtt_user=charger, registered_at=stamp(self.now),
            ))  # fmt: skip

    def add_records(self, *seqs, signer=None, **changes):
        """Stores records of records.CHARGER as ingest would; their JWS."""
        signer = signer or records.Signer()
        made = []
        with self.database.write() as session:
            for seq in seqs:
                body = records.payload(signer, records.facts(seq, **changes))
                jws = records.envelope(signer, body)
                found = record_check.parse(body)
                session.add(UsageRecord(
                    id=found["id"], charger=found["charger"], seq=seq, prev=found["prev"],
                    sha256=records.sha256(jws), jws=jws, payload=body,
                    received_at=stamp(self.now), **looked_up(found),
                ))  # fmt: skip
                made.append(jws)
        return made


@contextlib.contextmanager
def served(app, certificate=None, key=None):
    """The URL of a server of it, on 127.0.0.1."""
    loop, made, up = asyncio.new_event_loop(), [], threading.Event()

    async def serve():
        server = HttpServer(app, "127.0.0.1", 0, certificate, key)
        made.append((server.url, asyncio.current_task()))
        up.set()
        await server.run()

    def run():
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run)
    thread.start()
    up.wait(10)
    url, task = made[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        loop.close()


def problem(answer, status, name):
    """The details of an answer that has to be this problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = json.loads(answer.text)
    assert said["type"] == f"/problems/{name}" and said["status"] == status
    assert said["title"] and said["detail"]
    assert "Traceback" not in answer.text
    return said
