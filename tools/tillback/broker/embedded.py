"""The broker in our own process: amqtt, in a thread of its own. It needs nothing installed.

It speaks no TLS, forgets everything when it ends, and knows no shared subscriptions: for trying
evtill out, and for closed networks (docs/broker.md)."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

import amqtt.broker
from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.contexts import Action
from amqtt.errors import MQTTError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import ApplicationMessage, Session

from evtill.core.errors import EvtillError

LARGEST = 256 * 1024  # a sender of more is disconnected, as by mosquitto.conf.j2
_CONNECTIONS = 1000
_START_S = 15.0
_STOP_S = 5.0
_CONNECT_S = 10.0  # for a client to say who it is


class BrokerError(EvtillError):
    """The broker did not start, or ended; the text is one line."""


class Guard(Protocol):
    """Who gets in, and what he may do. user: as he calls himself on the broker."""

    def admits(self, session: Session) -> bool:
        """Whether its username, password, client_id and will_topic are in order; may block."""

    def may(self, session: Session, verb: str, topic: str) -> bool:
        """Whether he may `publish` to a topic or `hear` it (a topic, or a filter)."""


class Embedded:
    """start() and stop(), as often as wanted, from a synchronous program; or await run()."""

    def __init__(self, guard: Guard, host: str, port: int) -> None:
        self._guard, self.host, self.port = guard, host, port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Returns when the port accepts connections. Raises BrokerError."""
        for name in ("amqtt", "transitions"):  # says a page on each lost connection
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._started.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="amqtt", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S) or self._failure is not None:
            raise BrokerError(f"{self._where()}: {_reason(self._failure) or 'no answer'}")

    def stop(self) -> None:
        """Closes every connection and returns when the port is free again."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(2 * _STOP_S)
        self._thread = None

    async def run(self) -> None:
        """Serves until cancelled. Raises BrokerError where it ends by itself."""
        await asyncio.to_thread(self.start)
        assert self._thread is not None
        try:
            while self._thread.is_alive():
                await asyncio.sleep(1)
            raise BrokerError(f"{self._where()} ended: {_reason(self._failure)}")
        finally:
            self.stop()

    def url(self, user: str, password: str) -> str:
        """`mqtt://user:password@host:port`, as --broker takes it, for this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"mqtt://{login}@{_bracketed(host)}:{self.port}"

    def _where(self) -> str:
        return f"MQTT broker on {self.host}, port {self.port}"

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - told to whoever waits in start()
            self._failure = error
        self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        listener = {"type": "tcp", "bind": f"{_bracketed(self.host)}:{self.port}",
                    "max_connections": _CONNECTIONS}  # fmt: skip
        broker = _Broker(self._guard, {"listeners": {"default": listener}, "plugins": {}})
        await broker.start()
        self._started.set()
        await self._stopping.wait()
        with contextlib.suppress(Exception):  # its shutdown trips over clients that just left
            await asyncio.wait_for(broker.shutdown(), _STOP_S)
        broker.abort()


class _Broker(amqtt.broker.Broker):
    """amqtt's broker, less some habits of 0.12.1."""

    def __init__(self, guard: Guard, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._guard = guard
        self._writers: set[Any] = set()

    async def stream_connected(self, reader: Any, writer: Any, listener_name: str) -> None:
        """Remembers the connection: shutdown() leaves them open."""
        connection = writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writers.add(writer)
        try:
            await self._client_connected(
                listener_name, _Reader(reader), StreamWriterAdapter(writer)
            )
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _initialize_client_session(
        self, reader: Any, writer: Any, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Asks who it is before the session of that name is touched: amqtt would first delete it,
        or put the newcomer's user name into it."""
        try:
            handler, session = await asyncio.wait_for(
                BrokerProtocolHandler.init_from_connect(reader, writer, self.plugins_manager),
                _CONNECT_S,
            )
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise MQTTError(f"no CONNECT: {error!r}") from error
        if not await asyncio.to_thread(self._guard.admits, session):
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            raise MQTTError("not authorised")
        kept = self._sessions.get(session.client_id or "", (None,))[0]
        if kept is not None and (session.clean_session or kept.clean_session):
            await self._delete_session(session.client_id or "")
        elif kept is not None:
            for name in ("username", "password", "keep_alive", "will_flag", "will_message",
                         "will_topic", "will_qos", "will_retain"):  # fmt: skip
                setattr(kept, name, getattr(session, name))
            session = kept
        session.parent = int(session is kept)
        session.delivered_message_queue = _Delivery(partial(self._deliver, session, handler))
        return handler, session

    async def _authenticate(self, session: Session, _: Any) -> bool:
        """Asked already; to wait here, the session in hand, would let an older connection's end
        come in between, and end the new one's."""
        return True

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        return self._guard.may(session, "publish" if action == Action.PUBLISH else "hear", topic)

    async def _deliver(
        self, session: Session, handler: BrokerProtocolHandler, message: ApplicationMessage
    ) -> None:
        waited_for = asyncio.get_running_loop().create_future()
        waited_for.set_result(message)
        if not await self._handle_message_delivery(session, handler, waited_for):
            await handler.handle_connection_closed()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Only to those who subscribed: on each connect it offers everybody's retained messages."""
        mine = self.subscriptions.get(subscription[0], [])
        if any(one.client_id == session.client_id for one, _ in mine):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    def abort(self) -> None:
        """Drops what is still connected."""
        for writer in list(self._writers):
            if writer.transport is not None:
                writer.transport.abort()


class _Delivery(asyncio.Queue[ApplicationMessage]):
    """Passes a message on (QoS 1) before the sender is told that it is taken: amqtt would drop what
    waits when he then leaves."""

    def __init__(self, deliver: Callable[[ApplicationMessage], Awaitable[None]]) -> None:
        super().__init__()
        self._deliver = deliver

    async def put(self, item: ApplicationMessage) -> None:
        await self._deliver(item)


class _Reader(StreamReaderAdapter):
    """Reads no more at a time than LARGEST: amqtt would wait for 256 MiB of anybody."""

    async def read(self, n: int = -1) -> bytes:
        if n > LARGEST:
            raise ValueError(f"a packet of {n} bytes")
        return await super().read(n)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reason(error: BaseException | None) -> str:
    """amqtt puts its own error around what happened."""
    cause = error.__cause__ if error is not None and error.__cause__ else error
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)  # asyncio's text is longer, and no clearer
    return str(cause or "").partition("\n")[0]
