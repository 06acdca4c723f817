"""Bodies are read here, whole, before anything else looks at them: bounded in size and in time."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tillback.api.problems import AGAIN_S, Problem

MOST_BYTES = 65536
WITHIN_S = 10.0  # for a body to come
AT_ONCE = 256  # requests under way; more are told to come again

_CLOSE = {"Connection": "close"}


class Bodies:
    """ASGI middleware. What it has read is `scope["state"]["body"]`; below `json_under` it has to
    be JSON by its Content-Type."""

    def __init__(
        self, app: ASGIApp, most_bytes: int = MOST_BYTES, within_s: float = WITHIN_S,
        at_once: int = AT_ONCE, json_under: str = "/v1/",
    ) -> None:  # fmt: skip
        self._app = app
        self._most_bytes = most_bytes
        self._within_s = within_s
        self._at_once = at_once
        self._json_under = json_under
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._one(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _one(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._under_way > self._at_once:
            raise Problem("unavailable", headers={"Retry-After": AGAIN_S} | _CLOSE)
        body = await self._read(scope, receive)
        if body is None:
            return  # whoever asked has gone
        if body and scope["path"].startswith(self._json_under):
            _check_type(scope)
        scope.setdefault("state", {})["body"] = body
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(not one.isdigit() or int(one[:20]) > self._most_bytes for one in lengths):
            raise Problem("too-large", headers=_CLOSE)
        body = bytearray()
        try:
            async with asyncio.timeout(self._within_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._most_bytes:
                        raise Problem("too-large", headers=_CLOSE)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Problem("timeout", headers=_CLOSE) from None


def _check_type(scope: Scope) -> None:
    """Raises Problem unless the body is said to be JSON in UTF-8."""
    given = [value for name, value in scope["headers"] if name == b"content-type"]
    kind, _, rest = (given[0] if len(given) == 1 else b"").decode("latin-1").partition(";")
    charset = rest.replace(" ", "").replace('"', "").lower()
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Problem("media-type")
