"""The edge: Stripe's API and its pages over HTTP, and what a test says to it."""

import base64
import binascii
import json
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import stripe

from host_tests.stripe_edge import checkout, disputes, forms, intents, objects, refunds, terminal
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import StripeError, declined, invalid, other
from host_tests.stripe_edge.idempotency import Answer, Keys
from host_tests.stripe_edge.localstripe import HOST, LocalStripe
from host_tests.stripe_edge.routes import NAMES, Route, find

FAULTS = {
    "drop": "the connection ends before anything is done",
    "429": "too many requests; nothing is done, nor kept under the key",
    "500": "an error of the server; nothing is done, the answer is kept under the key",
    "500_acted": "the same, after it was done",
    "declined": "the card's bank refuses, finally: 402, kept under the key",
    "lost_answer": "it is done, and the connection ends without an answer",
    "stall": "nothing is done nor said, until go_on(); it is done then",
}
_STALL_S = 30
_PAGES = {  # folder: (what is there, what takes its form)
    "/c/pay": (checkout.show, checkout.pay),
    "/authenticate": (checkout.challenge, checkout.authenticate),
}
_LONGEST = 1 << 20


class Call(NamedTuple):
    """A request that came: what it is called in routes.py, its path and key, what was answered
    (None: nothing), and whether that was a repeated answer."""

    name: str
    path: str
    key: str | None
    status: int | None
    replayed: bool


class _Stall(NamedTuple):
    """A call that waits until it is `over`, and then is `done`."""

    over: threading.Event
    done: threading.Event


class _NoAnswer(Exception):
    """The connection is to end."""


class Edge:
    """Stripe at `url`, for the holder of `key`, from the constructor to close(); a context manager.

    Whatever localstripe had before is gone. now_s: its clock; advance() goes ahead of it. calls:
    what came, in order. account.webhooks: where events go, when and how."""

    def __init__(self, localstripe: LocalStripe, now_s: Callable[[], float] = time.time) -> None:
        localstripe.clear()
        self.key = "sk_test_" + secrets.token_hex(12)
        self.calls: list[Call] = []
        self._now_s, self._ahead_s = now_s, 0.0
        self._keys = Keys()
        self._faults: dict[str, deque[str]] = {}
        self._stalls: list[_Stall] = []
        self._stalled = threading.Semaphore(0)
        self._server = _Server((HOST, 0), _Handler)
        self._server.edge = self
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self.account = Account(localstripe.url, self.url, self.now_s)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def sdk(self, timeout_s: float = 10, retries: int = 0) -> stripe.StripeClient:
        """Stripe's SDK, turned to this edge."""
        return stripe.StripeClient(
            self.key, base_addresses={"api": self.url}, max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=timeout_s),
        )  # fmt: skip

    def now_s(self) -> float:
        return self._now_s() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Lets time pass: what is due happens, and events that were not taken go out again."""
        self._ahead_s += seconds
        self.tick()

    def tick(self) -> None:
        """Does what is due by the clock, and sends events again that were not taken."""
        with self.account.lock:
            self._lapse()
        self.account.webhooks.retry()

    def next_fault(self, name: str, fault: str, times: int = 1) -> None:
        """What goes wrong with the next calls of this name (see routes.py): one of FAULTS."""
        if name not in NAMES or fault not in FAULTS:
            raise ValueError(f"there is no {name}, or no {fault}")
        self._faults.setdefault(name, deque()).extend([fault] * times)

    def wait_stalled(self) -> None:
        """Returns when a call has come that stalls."""
        if not self._stalled.acquire(timeout=_STALL_S):
            raise TimeoutError("no call came that stalls")

    def go_on(self) -> None:
        """Returns when the calls that stall are done, whether or not anybody waits for them."""
        while self._stalls:
            stall = self._stalls.pop()
            stall.over.set()
            stall.done.wait(_STALL_S)

    def object(self, id: str) -> Object:
        """An object as it is, without a call: a hold, a charge, a refund, an event..."""
        with self.account.lock:
            return objects.get(self.account, id, id[: id.index("_") + 1])

    def events(self, type: str | None = None) -> list[Object]:
        """The events so far, the oldest first."""
        with self.account.lock:
            found = objects.every(self.account, "evt_")[::-1]
        return [one for one in found if type in (None, one["type"])]

    def open_dispute(self, intent: str, reason: str = "fraudulent") -> str:
        """The payer's bank takes back what was captured; the dispute's id."""
        with self.account.lock:
            return str(disputes.open(self.account, intent, reason)["id"])

    def close_dispute(self, id: str, status: str) -> None:
        """status: "won" or "lost"."""
        with self.account.lock:
            disputes.close(self.account, id, status)

    def settle_refund(self, id: str, status: str) -> None:
        """status: "succeeded", of one that was pending, or "failed"."""
        with self.account.lock:
            refunds.settle(self.account, id, status)

    def book_fees(self) -> None:
        """With account.late_fees: what was captured is booked now."""
        with self.account.lock:
            intents.book_fees(self.account)

    def reader_fails(self, id: str, code: str, message: str) -> None:
        """What a card reader waits for does not come, such as "customer_canceled"."""
        with self.account.lock:
            terminal.fail(self.account, id, code, message)

    def reader_status(self, id: str, status: str) -> None:
        """status: "online" or "offline"."""
        with self.account.lock:
            self.account.own[id]["status"] = status

    def close(self) -> None:
        self.go_on()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.account.close()

    def __enter__(self) -> "Edge":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def api(self, method: str, url: str, body: str, headers: Any) -> tuple[Answer, bool]:
        """(the answer, whether it was given before) to a call. Raises _NoAnswer."""
        path, query = urlsplit(url).path, urlsplit(url).query
        key = headers["Idempotency-Key"] if method == "POST" else None
        answer: Answer | None = None
        name, replayed = "unknown", False
        try:
            _authorise(headers["Authorization"], self.key)
            route, id = find(method, path)
            name = route.name
            fault = self._fault(name)
            if fault == "drop":
                raise _NoAnswer
            if fault == "429":
                raise other(429, "invalid_request_error", "Too many requests.", "rate_limit")
            text = body if method == "POST" else query
            said = self._keys.begin(key, path, text, self.now_s()) if key else None
            replayed = said is not None
            said = said or self._act(route, id, text, key, fault)
            if fault == "lost_answer":
                raise _NoAnswer
            answer = said
        except StripeError as e:
            answer = _error(e)
        finally:
            status = answer.status if answer else None
            self.calls.append(Call(name, path, key, status, replayed))
        return answer, replayed

    def page(self, method: str, path: str, body: str) -> checkout.Page:
        """What a payer's browser gets."""
        folder, _, id = path.rpartition("/")
        if folder not in _PAGES or method not in ("GET", "POST"):
            return checkout.Page(404, "Not found")
        show, take = _PAGES[folder]
        try:
            form = forms.parse(body)
            with self.account.lock:
                self._lapse()
                return take(self.account, id, form) if method == "POST" else show(self.account, id)
        except StripeError as e:
            return checkout.Page(e.status, str(e))

    def _lapse(self) -> None:
        intents.lapse(self.account)
        checkout.lapse(self.account)

    def _fault(self, name: str) -> str | None:
        waiting = self._faults.get(name)
        return waiting.popleft() if waiting else None

    def _act(self, route: Route, id: str, text: str, key: str | None, fault: str | None) -> Answer:
        """Does it, and keeps the answer under the key."""
        kept: Answer | None = None
        stall = _Stall(threading.Event(), threading.Event())
        try:
            if fault == "stall":
                self._stalls.append(stall)
                self._stalled.release()
                stall.over.wait(_STALL_S)
            kept = _failure() if fault == "500" else self._do(route, id, text, fault)
            if fault == "500_acted":
                kept = _failure()
            return kept
        except StripeError as e:
            kept = _error(e) if e.began else None
            raise
        finally:
            if key:
                self._keys.end(key, kept)
            stall.done.set()

    def _do(self, route: Route, id: str, text: str, fault: str | None) -> Answer:
        form = forms.parse(text)
        paths = form.pop("expand", [])
        if route.form is not None:
            form = forms.read(route.form, form)
        if fault == "declined":
            raise declined("Your card was declined.", "card_declined", "generic_decline")
        with self.account.lock:
            self._lapse()
            done = route.do(self.account, id, form)
            return _answer(200, objects.expand(self.account, done, paths))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    edge: Edge


class _Handler(BaseHTTPRequestHandler):
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_GET

    def _serve(self) -> None:
        edge, length = self.server.edge, int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, _LONGEST)).decode(errors="replace")
        if not self.path.startswith("/v1/"):
            page = edge.page(self.command, urlsplit(self.path).path, body)
            where = {"Location": page.location} if page.location else {}
            self._send(page.status, page.html.encode(), "text/html; charset=utf-8", where)
            return
        try:
            answer, again = edge.api(self.command, self.path, body, self.headers)
        except _NoAnswer:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        more = {"Request-Id": "req_" + secrets.token_hex(7)}
        if again:
            more["Idempotent-Replayed"] = "true"
        if answer.status >= 500:
            more["Stripe-Should-Retry"] = "false"  # under its key it would come again
        self._send(answer.status, answer.body, "application/json", more)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)),
                                "Cache-Control": "no-store", **headers}.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # nobody waits for it any more
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def _authorise(header: str | None, key: str) -> None:
    kind, _, said = (header or "").partition(" ")
    if kind == "Basic":
        try:
            said = base64.b64decode(said, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            said = ""
    if said != key:
        raise invalid("Invalid API Key provided", status=401)


def _answer(status: int, said: Object) -> Answer:
    return Answer(status, json.dumps(said, indent=2).encode())


def _error(e: StripeError) -> Answer:
    return _answer(e.status, {"error": e.error})


def _failure() -> Answer:
    return _error(other(500, "api_error", "An error occurred on the server."))
