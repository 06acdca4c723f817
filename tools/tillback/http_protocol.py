"""HTTP/1.1 as uvicorn speaks it, with what it lacks against slow and greedy clients.

A request's head has PATIENCE_S to come, counted from the connection or from the answer before. Of
an answer, LEAST_BYTES have to be taken in such a time. A request that is refused before its body
was read in full is answered, and what still comes is thrown away for LINGER_S: a connection that is
closed with bytes unread would take the answer along."""

import asyncio
import json
import socket
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_S = 10.0
LEAST_BYTES = 10000
LINGER_S = 1.0
CONNECTIONS = 500  # at once; more are closed as they come

_UNREADABLE = json.dumps({
    "type": "/problems/bad-request", "title": "The request cannot be read", "status": 400,
    "detail": "this is not HTTP/1.1, or its head is larger than 16 kB",
}).encode()  # fmt: skip


class HttpProtocol(H11Protocol):
    """For uvicorn.Config(http=HttpProtocol)."""

    _timer: asyncio.TimerHandle | None = None
    _left: int | None = None  # of the answer, in bytes, when we last looked

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        if (peer := transport.get_extra_info("socket")) is not None:
            # Head and body are written apart; asyncio sees to this only where it made the socket
            # that listens, and without it an answer takes 40 ms.
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire = _Wire(transport, self)
        super().connection_made(cast(asyncio.Transport, self._wire))
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self._wire.is_closing():
            super().data_received(data)

    def on_response_complete(self) -> None:
        """uvicorn's: the next request may come."""
        super().on_response_complete()
        self._wait()

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the peer takes nothing."""
        super().pause_writing()
        self._wait()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's: what is no HTTP is told so, as a problem."""
        headers = [("Content-Type", "application/problem+json"), ("Connection", "close"),
                   ("Content-Length", str(len(_UNREADABLE)))]  # fmt: skip
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(_UNREADABLE),
                          h11.EndOfMessage()):  # fmt: skip
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def body_is_unread(self) -> bool:
        """Whether there is more of the request than was taken."""
        return self.cycle is not None and self.cycle.more_body

    def _wait(self, left: int | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._left = left
        self._timer = self.loop.call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left:
            if self._left is not None and left > self._left - LEAST_BYTES:
                self.transport.abort()
            else:
                self._wait(left)
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Wire:
    """A transport that is closed a little later where that saves the answer."""

    def __init__(self, transport: asyncio.Transport, protocol: HttpProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._ends = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return self._ends or self._transport.is_closing()

    def close(self) -> None:
        """See asyncio.Transport."""
        if self._ends:
            return
        self._ends = True
        if not self._protocol.body_is_unread():
            self._transport.close()
            if self._protocol.scheme == "https":  # which waits for the peer's farewell, else
                self._protocol.loop.call_later(LINGER_S, self._transport.abort)
            return
        self._transport.resume_reading()
        self._protocol.loop.call_later(LINGER_S, self._transport.abort)
