"""One Stripe account: what `localstripe` holds of it, and what it does not."""

import copy
import itertools
import secrets
import string
import threading
from collections.abc import Callable
from typing import Any

import httpx

from host_tests.stripe_edge import forms
from host_tests.stripe_edge.errors import invalid, missing
from host_tests.stripe_edge.webhooks import Webhooks

Object = dict[str, Any]
_LETTERS = string.ascii_letters + string.digits


class Account:
    """own: objects of the edge's own, by id. more: what the edge knows of any object besides, by
    id; it overrides what localstripe says, and names that begin with `_` are never shown.

    Whoever reads or changes it holds `lock`. now_s: the clock, seconds since 1970. url: where
    payers find the edge's pages."""

    def __init__(self, localstripe: str, url: str, now_s: Callable[[], float]) -> None:
        self.url = url
        self.now_s = now_s
        self.own: dict[str, Object] = {}
        self.more: dict[str, Object] = {}
        self.webhooks = Webhooks()
        self.lock = threading.RLock()
        self.hold_s: int | None = None  # how long the next holds last; None: as cards.HOLD_S says
        self.late_fees = False  # a capture's balance transaction comes later, by book_fees()
        self._http = httpx.Client(
            base_url=localstripe, headers={"Authorization": "Bearer sk_test_edge"}, timeout=30,
            verify=False,  # no TLS: nothing to load for it
        )  # fmt: skip
        self._numbers = itertools.count()

    def now(self) -> int:
        return int(self.now_s())

    def note(self, id: str, **facts: Any) -> None:
        """Facts of an object, overriding earlier ones. The first note of it is its creation."""
        if id not in self.more:
            self.more[id] = {"created": self.now(), "_number": next(self._numbers)}
        self.more[id].update(facts)

    def known(self, id: str, fact: str, otherwise: Any = None) -> Any:
        return self.more.get(id, {}).get(fact, otherwise)

    def new(self, object: str, prefix: str, **facts: Any) -> Object:
        """An object of the edge's own."""
        id = prefix + "".join(secrets.choice(_LETTERS) for _ in range(24))
        self.note(id)
        self.own[id] = {
            "id": id, "object": object, "created": self.now(), "livemode": False, **facts,
        }  # fmt: skip
        return self.own[id]

    def ask(self, method: str, path: str, form: Object | None = None) -> Object:
        """localstripe's answer. Raises StripeError where it refuses."""
        text = forms.write(form or {})
        if method == "GET":
            answer = self._http.get(f"{path}?{text}" if text else path)
        else:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._http.request(method, path, content=text, headers=kind)
        if answer.status_code == 404:
            raise missing(*path.split("/")[2:4])
        if answer.status_code >= 400:
            raise invalid(f"localstripe: {answer.text}", status=answer.status_code)
        said: Object = answer.json()
        return said

    def emit(self, type: str, thing: Object) -> None:
        """An event, stored and on its way to whoever has asked for it."""
        event = self.new(
            "event", "evt_", type=type, api_version="2026-10-28.endive",
            data={"object": copy.deepcopy(thing)}, pending_webhooks=0, request={"id": None},
        )  # fmt: skip
        self.webhooks.send(event)

    def close(self) -> None:
        self.webhooks.close()
        self._http.close()
