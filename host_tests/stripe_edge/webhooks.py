"""Events on their way to whoever has asked for them (docs.stripe.com/webhooks)."""

import hashlib
import hmac
import json
import queue
import secrets
import threading
import time
from typing import Any

import httpx

_TIMEOUT_S = 10


def signature(payload: bytes, secret: str, at_s: int) -> str:
    """The Stripe-Signature header."""
    mac = hmac.new(secret.encode(), b"%d." % at_s + payload, hashlib.sha256)
    return f"t={at_s},v1={mac.hexdigest()}"


class Webhooks:
    """Each event goes out at once, in order, on a thread of its own; one that is not taken (no 2xx)
    waits for retry(). After hold() a test says which go, in which order and how often: deliver().

    A delivery is signed with the time of day and not with the edge's clock: what verifies it,
    Stripe's SDK, knows no other."""

    def __init__(self) -> None:
        self.endpoints: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        self._held = False
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._http = httpx.Client(timeout=_TIMEOUT_S, verify=False)  # as no CA is loaded
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def register(self, url: str, events: list[str] | None = None) -> dict[str, Any]:
        """An endpoint for events of these types (all); with its `secret`."""
        endpoint = {"url": url, "enabled_events": events or ["*"], "status": "enabled",
                    "secret": "whsec_" + secrets.token_hex(16)}  # fmt: skip
        self.endpoints.append(endpoint)
        return endpoint

    def send(self, event: dict[str, Any]) -> None:
        if self._held:
            self.waiting.append(event)
        else:
            self._queue.put(event)

    def hold(self) -> None:
        """From now on every event waits."""
        self._held = True

    def resume(self) -> None:
        """What waits goes out, and what comes does so at once again."""
        self._held = False
        self.retry()

    def retry(self) -> None:
        """Sends what waits once more, unless it is held."""
        if not self._held:
            waiting, self.waiting = self.waiting, []
            for event in waiting:
                self._queue.put(event)

    def settle(self) -> None:
        """Returns when each event sent so far was taken, or waits."""
        self._queue.join()

    def deliver(
        self, *events: dict[str, Any], at_s: float | None = None, secret: str | None = None
    ) -> list[int]:
        """Sends these now, in this order, sent before or not; the HTTP statuses, 0 for no answer.
        at_s, secret: signed at another time, or with something else than the endpoint's secret."""
        statuses = []
        for event in events:
            if event in self.waiting:
                self.waiting.remove(event)
            statuses += self._deliver(event, at_s, secret)
        return statuses

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(_TIMEOUT_S)
        self._http.close()

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            statuses = self._deliver(event, None, None)
            if not all(200 <= status < 300 for status in statuses):
                self.waiting.append(event)
            self._queue.task_done()
        self._queue.task_done()

    def _deliver(
        self, event: dict[str, Any], at_s: float | None, secret: str | None
    ) -> list[int]:
        payload = json.dumps(event, indent=2).encode()
        statuses = []
        for endpoint in list(self.endpoints):
            if not {"*", event["type"]} & set(endpoint["enabled_events"]):
                continue
            signed = signature(payload, secret or endpoint["secret"], int(at_s or time.time()))
            headers = {"Content-Type": "application/json; charset=utf-8",
                       "Stripe-Signature": signed}  # fmt: skip
            try:
                answer = self._http.post(endpoint["url"], content=payload, headers=headers)
                statuses.append(answer.status_code)
            except httpx.HTTPError:
                statuses.append(0)
        return statuses
