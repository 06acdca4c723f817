"""A Stripe API on 127.0.0.1: localstripe behind a thin edge that adds what it lacks, and refuses
what Stripe refuses. Added: Idempotency-Key (same key, same answer, 500s too; another body is an
error), amount_capturable, amount_received, capture_before, fees, captures of what is held only,
refunds of what was captured only."""

import asyncio
import copy
import json
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its handlers are no coroutines
    from localstripe import resources, server

DOWN, LOST, BROKEN = "down", "lost", "broken"  # as tillback.payments.simulated
FEE_PPM = 14000
CAPTURE_BEFORE = 1772524800  # 2026-03-03T08:00:00Z
GOOD_CARD, CARD_WITHOUT_COVER = "4242424242424242", "4000000000000341"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StripeApi:
    """A context manager; `url` to talk to. `faults`: what befalls the next requests, one each."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.busy = False  # answers every order with 429
        self.seen: list[tuple[str, str, str | None]] = []  # method, path, Idempotency-Key
        self._answers: dict[str, tuple[tuple[str, bytes], int, bytes]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""

    def __enter__(self) -> "StripeApi":
        resources.store.clear()
        resources.Store.dump_to_disk = lambda _: None  # it would, after each request, to /tmp
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def forget_keys(self) -> None:
        """As Stripe does after 24 hours."""
        self._answers.clear()

    def received_minor(self, intent: str) -> int:
        """What was really taken."""
        found = resources.store[f"payment_intent:{intent}"]
        return _amounts(found)[1]

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._edge, *server.app.middlewares])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for route in server.app.router.routes():
                if route.method != "HEAD":
                    app.router.add_route(route.method, route.resource.canonical, route.handler)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _end(self) -> None:
        await self._runner.cleanup()
        late = asyncio.all_tasks() - {asyncio.current_task()}  # webhooks, a second after
        for one in late:
            one.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    @web.middleware
    async def _edge(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        key, body = request.headers.get("Idempotency-Key"), await request.read()
        self.seen.append((request.method, request.path, key))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == DOWN:
            return _hang_up(request)
        if self.busy:
            return _error(429, "rate_limit", "too many requests")
        known = self._answers.get(key) if key is not None else None
        if known is not None and known[0] != (request.path, body):
            return _error(400, None, "key used for another request", "idempotency_error")
        if known is not None:
            status, text = known[1:]
        elif fault == BROKEN:
            status, text = 500, b'{"error": {"type": "api_error", "message": "broken"}}'
        else:
            status, text = await self._answer(request, handler)
        if key is not None:
            self._answers[key] = ((request.path, body), status, text)
        if fault == LOST:
            return _hang_up(request)
        return web.Response(status=status, body=text, content_type="application/json")

    async def _answer(self, request: web.Request, handler: _Handler) -> tuple[int, bytes]:
        wrong = _refusal(request, await request.post())
        answer = wrong or await handler(request)
        assert isinstance(answer, web.Response)
        body = answer.body
        text = body if isinstance(body, bytes) else b"{}"
        if answer.status == 200:
            text = json.dumps(_completed(json.loads(text))).encode()
        return answer.status, text


def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _error(
    status: int, code: str | None, message: str, kind: str = "invalid_request_error"
) -> web.Response:  # fmt: skip
    return web.json_response({"error": {"type": kind, "code": code, "message": message}},
                             status=status)  # fmt: skip


def _refusal(request: web.Request, data: Any) -> web.Response | None:
    """What Stripe refuses and localstripe does not."""
    parts = request.path.split("/")
    if parts[2:3] == ["payment_intents"] and parts[4:] == ["capture"]:
        intent = resources.store.get(f"payment_intent:{parts[3]}")
        if intent is not None and intent.status != "requires_capture":
            return _error(400, "payment_intent_unexpected_state", intent.status)
    if parts[2:] == ["refunds"] and request.method == "POST":
        intent = resources.store.get(f"payment_intent:{data['payment_intent']}")
        if intent is not None:
            left = _amounts(intent)[1] - _repaid(intent)
            if int(data["amount"]) > left:
                return _error(400, "charge_already_refunded", f"{left} left")
    return None


def _completed(said: dict[str, Any]) -> dict[str, Any]:
    """An answer with what localstripe leaves out."""
    if said.get("object") != "payment_intent":
        return said
    intent = resources.store[f"payment_intent:{said['id']}"]
    said["amount_capturable"], said["amount_received"] = _amounts(intent)
    charge = said.get("latest_charge")
    if charge:
        charge["payment_method_details"] = {"card": {"capture_before": CAPTURE_BEFORE}}
        booked = charge["balance_transaction"]
        if isinstance(booked, dict):
            booked["fee"] = -(-said["amount_received"] * FEE_PPM // 10**6)
    return said


def _amounts(intent: Any) -> tuple[int, int]:
    """(capturable, received) of a PaymentIntent."""
    if intent.status == "requires_capture":
        return intent.amount, 0
    if intent.status != "succeeded":
        return 0, 0
    # what a capture leaves is a refund to localstripe, without metadata
    left = sum(one.amount for one in _refunds(intent) if not one.metadata)
    return 0, intent.amount - left


def _repaid(intent: Any) -> int:
    return sum(one.amount for one in _refunds(intent) if one.metadata)


def _refunds(intent: Any) -> Iterator[Any]:
    for name, one in copy.copy(resources.store).items():
        if name.startswith("refund:") and one.charge == intent.latest_charge.id:
            yield one
