"""News reach those who asked for them: signed, once at least, however often it takes; and nobody
has us knock on doors of our own network."""

import asyncio
import datetime
import hashlib
import hmac
import json
import logging
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from host_tests.tillback.api.client import NOON
from tillback import deliverer, news, webhooks
from tillback.cli import main
from tillback.db.database import Database, stamp, utc_now
from tillback.db.tables import Alarm, Delivery, News, WebhookEndpoint
from tillback.deliverer import Deliverer, is_public
from tillsim.pki import Authority

SECRET = "whsec_test"


class Receiver:
    """An HTTPS server that keeps what it gets and answers with the statuses given, then 200."""

    def __init__(self, issued, *statuses):
        self.heard = []
        self.statuses = list(statuses)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append((self.path, dict(self.headers), body))
                status = outer.statuses.pop(0) if outer.statuses else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"https://localhost:{outer.port}/elsewhere")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Backend:
    """A database with endpoints, a clock, and what delivers."""

    def __init__(self, tmp_path):
        self.database = Database(f"sqlite:///{tmp_path}/x.sqlite")
        self.now = NOON
        self.authority = Authority(tmp_path / "pki")

    def add(self, url, kinds="*", name="we_1"):
        with self.database.write() as session:
            session.add(WebhookEndpoint(id=name, url=url, secret=SECRET, kinds=kinds,
                                        created_at=stamp(self.now), removed_at=None))  # fmt: skip

    def tell(self, *told):
        with self.database.write() as session:
            news.tell(session, [(kind, {"n": n}) for n, kind in enumerate(told)], stamp(self.now))

    def run_due(self, **options):
        options = {"allow_private": True, "ca_file": self.authority.certificate} | options

        async def run():
            return await Deliverer(self.database, lambda: self.now, **options).run_due()

        return asyncio.run(run())

    def deliveries(self):
        with self.database.read() as session:
            return session.query(Delivery).order_by(Delivery.news).all()


@pytest.fixture
def backend(tmp_path):
    made = Backend(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def receiver(backend):
    made = Receiver(backend.authority.issue("localhost"))
    yield made
    made.close()


def url(receiver, path="/hook?a=1"):
    return f"https://localhost:{receiver.port}{path}"


def test_news_arrive_signed_and_once(backend, receiver):
    backend.add(url(receiver))
    backend.tell("refund.changed")
    assert (backend.run_due(), backend.run_due()) == (1, 0)
    [(path, headers, body)] = receiver.heard
    said = json.loads(body)
    assert path == "/hook?a=1" and headers["Host"] == f"localhost:{receiver.port}"
    assert headers["Content-Type"] == "application/json"
    assert (said["kind"], said["at"], said["data"]) == ("refund.changed", stamp(NOON), {"n": 0})
    t = int(NOON.timestamp())
    mac = hmac.new(SECRET.encode(), b"%d.%s" % (t, body), hashlib.sha256).hexdigest()
    assert headers["Evtill-Signature"] == f"t={t},v1={mac}"
    [row] = backend.deliveries()
    assert (row.news, row.attempt, row.due_at) == (said["id"], 1, None)
    assert row.delivered_at == stamp(NOON) and row.error == ""


def test_each_endpoint_gets_the_kinds_that_it_asked_for(backend, receiver):
    backend.add(url(receiver, "/all"), name="we_1")
    backend.add(url(receiver, "/some"), "refund.changed usage_record.billed", "we_2")
    backend.tell("refund.changed", "authorization.changed")
    assert backend.run_due() == 3
    got = sorted((path, json.loads(body)["kind"]) for path, _, body in receiver.heard)
    assert got == [("/all", "authorization.changed"), ("/all", "refund.changed"),
                   ("/some", "refund.changed")]  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_what_is_not_taken_is_tried_again_later(backend, receiver, status):
    """A redirect is not followed: it is not taken."""
    receiver.statuses = [status]
    backend.add(url(receiver))
    backend.tell("refund.changed")
    assert backend.run_due() == 1
    [row] = backend.deliveries()
    assert row.error == f"status {status}" and row.delivered_at is None
    assert row.due_at == stamp(NOON + datetime.timedelta(seconds=10))
    backend.now += datetime.timedelta(seconds=9)
    assert backend.run_due() == 0
    backend.now += datetime.timedelta(seconds=1)
    assert backend.run_due() == 1
    assert backend.deliveries()[0].delivered_at == stamp(backend.now)
    first, second = receiver.heard
    assert first[2] == second[2]  # the same id: whoever has it forgets the copy
    assert first[1]["Evtill-Signature"] != second[1]["Evtill-Signature"]
    assert "/elsewhere" not in {path for path, _, _ in receiver.heard}


def test_it_waits_longer_each_time_and_gives_up_loudly(backend, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # nobody listens there afterwards
    backend.add(f"https://localhost:{port}/")
    backend.tell("refund.changed")
    waits, tries = [], 0
    caplog.set_level(logging.WARNING)
    while (due := backend.deliveries()[0].due_at) is not None:
        due_at = datetime.datetime.fromisoformat(due)
        waits.append(round((due_at - backend.now).total_seconds()))
        backend.now = due_at
        tries += backend.run_due()
        assert tries < 50
    assert waits[:6] == [0, 10, 30, 90, 270, 810] and max(waits) == 6 * 3600
    assert datetime.timedelta(days=3) < backend.now - NOON < datetime.timedelta(days=3, hours=7)
    [row] = backend.deliveries()
    assert row.delivered_at is None and row.error and row.attempt == tries
    with backend.database.read() as session:
        [alarm] = session.query(Alarm).all()
    assert alarm.name == "webhook_given_up" and alarm.detail == "we_1, news of 2026-03-02"
    assert "given up" in caplog.text and SECRET not in caplog.text


def test_a_server_that_never_answers_is_left(backend, monkeypatch):
    monkeypatch.setattr(deliverer, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend.add(f"https://localhost:{silent.getsockname()[1]}/")
        backend.tell("refund.changed")
        assert backend.run_due() == 1
    assert backend.deliveries()[0].error == "no answer within 0 s"


def test_what_is_being_tried_is_nobody_elses_until_that_one_died(backend, receiver):
    backend.add(url(receiver))
    backend.tell("refund.changed")
    assert len(Deliverer(backend.database, lambda: backend.now)._claim("we_1")) == 1  # and dies
    assert backend.run_due() == 0
    backend.now += datetime.timedelta(seconds=60)
    assert backend.run_due() == 1 and len(receiver.heard) == 1


def test_a_certificate_of_another_name_or_authority_is_not_trusted(backend, receiver, tmp_path):
    backend.add(f"https://127.0.0.1:{receiver.port}/")
    backend.tell("refund.changed")
    assert backend.run_due() == 1
    assert "certificate" in backend.deliveries()[0].error.lower()
    backend.now += datetime.timedelta(minutes=1)
    other = Authority(tmp_path / "other").certificate
    assert backend.run_due(ca_file=other) == 1 and receiver.heard == []


def test_nothing_is_sent_into_our_own_network(backend, receiver):
    for n, host in enumerate(("localhost", "127.0.0.1", "[::1]", "127.1", "0x7f.1", "2130706433")):
        backend.add(f"https://{host}:{receiver.port}/", name=f"we_{n}")
    backend.tell("refund.changed")
    assert backend.run_due(allow_private=False) == 6
    assert receiver.heard == []
    assert {row.error.split(" ", 1)[1] for row in backend.deliveries()} == {
        "is not on the public internet"}  # fmt: skip


def test_a_name_that_leads_elsewhere_the_second_time_is_of_no_use(backend, receiver, monkeypatch):
    """It is looked up once, and what was looked at is what is connected to."""
    asked = []

    async def resolve(self, host, port, **_):
        asked.append(host)
        address = "127.0.0.1" if len(asked) > 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    backend.add(url(receiver))
    backend.tell("refund.changed")
    assert backend.run_due() == 1
    assert asked == ["localhost"] and receiver.heard == []


PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.1.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1%eth0",
    "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "2002:7f00:1::", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8",
                                     "64:ff9b::808:808"])  # fmt: skip
def test_a_public_address(address):
    assert is_public(address)


def test_an_endpoint_that_was_removed_gets_nothing_more(backend, receiver):
    backend.add(url(receiver))
    backend.tell("refund.changed")
    with backend.database.write() as session:
        webhooks.remove(session, session.get(WebhookEndpoint, "we_1"), stamp(backend.now))
    backend.tell("refund.changed")
    assert backend.run_due() == 0 and len(backend.deliveries()) == 1
    with backend.database.read() as session:
        assert session.query(News).count() == 2


def test_the_commands_list_retry_and_deliver(backend, receiver, capsys):
    receiver.statuses = [500]
    backend.now = utc_now()  # as the commands have it
    backend.add(url(receiver))
    backend.tell("refund.changed")
    place = ("--db", backend.database.engine.url.render_as_string(False))

    def run(*arguments):
        code = main(["webhook", *arguments, *place])
        said = capsys.readouterr()
        return code, said.err if code else said.out

    trusting = ("deliver", "--allow-private", "--ca", str(backend.authority.certificate))
    assert run(*trusting) == (0, "1 tried\n")
    assert "waiting 1, delivered 0, given up 0; status 500" in run("list")[1]
    with backend.database.write() as session:
        session.query(Delivery).one().due_at = None  # as when it is given up
    assert "given up 1" in run("list")[1]
    assert run("retry", "we_1") == (0, "1 to be sent again\n")
    assert run(*trusting) == (0, "1 tried\n")
    assert "waiting 0, delivered 1, given up 0\n" in run("list")[1]
    assert SECRET not in run("list")[1]
    assert run("retry", "we_2") == (1, "tillback: no webhook endpoint 'we_2'\n")
    code, said = run("deliver", "--ca", "/nowhere.pem")
    assert code == 1 and said.startswith("tillback: /nowhere.pem:") and said.count("\n") == 1


def test_one_that_is_away_holds_up_nobody_else(backend, receiver, monkeypatch):
    """The others get theirs in order; it is tried once, and what waits for it comes after that."""
    monkeypatch.setattr(deliverer, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend.add(f"https://localhost:{silent.getsockname()[1]}/", name="we_1")
        backend.add(url(receiver), name="we_2")
        backend.tell(*["refund.changed"] * 12)
        assert backend.run_due() == 13
    assert [json.loads(body)["data"]["n"] for _, _, body in receiver.heard] == [*range(12)]
    waiting = [row for row in backend.deliveries() if row.endpoint == "we_1"]
    assert sorted(row.attempt for row in waiting) == [0] * 11 + [1]
    with backend.database.write() as session:
        session.get(WebhookEndpoint, "we_1").url = url(receiver, "/back")
    backend.now += datetime.timedelta(seconds=10)
    assert backend.run_due() == 12
    back = [json.loads(body)["data"]["n"] for path, _, body in receiver.heard if path == "/back"]
    assert back == [*range(12)]


def test_it_goes_on_with_what_comes_until_it_is_told_to_end(backend, receiver, monkeypatch):
    monkeypatch.setattr(deliverer, "_POLL_S", 0.02)
    backend.add(url(receiver))
    backend.tell("refund.changed")

    async def play():
        running = asyncio.create_task(Deliverer(
            backend.database, lambda: backend.now, allow_private=True,
            ca_file=backend.authority.certificate).run())  # fmt: skip
        async with asyncio.timeout(20):
            for count in (1, 2):
                while len(receiver.heard) < count:
                    await asyncio.sleep(0.01)
                backend.tell("refund.changed")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(play())
    assert {row.attempt for row in backend.deliveries()} <= {0, 1}
