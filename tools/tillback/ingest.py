"""Brings the chargers' messages from the broker to the store, and the acknowledgements back."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Coroutine
from urllib.parse import unquote, urlsplit

import aiomqtt

from evtill.core.errors import ConfigError
from tillback.intake import Counters, Intake
from tillback.qr import Offers
from tillback.store import Store

TOPICS = ("evtill/v1/+/usage", "evtill/v1/+/event", "evtill/v1/+/status",
          "evtill/v1/+/cmd/result")  # fmt: skip

log = logging.getLogger(__name__)


class Ingest:
    """Subscribes with QoS 1 and a persistent session, and reconnects until stop().

    broker: mqtt://user:password@host:port. `await start()` and `await stop()` from an asyncio loop,
    or `await run()` for ever. Messages are taken one at a time, in the order of their arrival."""

    def __init__(
        self, store: Store, broker: str, *, client_id: str = "tillback",
        back_off_s: tuple[float, float] = (0.2, 10.0), keepalive_s: int = 30,
        pay_url: str | None = None,
    ) -> None:  # fmt: skip
        self._broker = parse_broker(broker)
        self._client_id = client_id
        self._back_off_s = back_off_s
        self._keepalive_s = keepalive_s
        self._intake = Intake(store)
        self._offers = Offers(store, pay_url) if pay_url else None
        self._task: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._waiting: aiomqtt.client.MessagesIterator | None = None
        self._client: aiomqtt.Client | None = None
        self._taking = False
        self.acknowledged = 0

    @property
    def counters(self) -> Counters:
        """What became of the messages."""
        return self._intake.counters

    @property
    def stored(self) -> int:
        """Usage records stored since the start; a repeated one counts once."""
        return self._intake.counters.stored

    @property
    def connected(self) -> bool:
        """Whether the subscriptions stand."""
        return self._subscribed.is_set()

    @property
    def busy(self) -> bool:
        """Whether a message waits or is being taken: an acknowledgement may still come of it."""
        return self._taking or (self._waiting is not None and len(self._waiting) > 0)

    async def start(self) -> None:
        """Starts to connect; await ready() for the subscriptions."""
        if self._task is None:
            self._task = asyncio.create_task(self.run())

    async def ready(self, timeout_s: float = 15.0) -> None:
        """Returns when the subscriptions stand. Raises TimeoutError."""
        await asyncio.wait_for(self._subscribed.wait(), timeout_s)

    async def publish(self, topic: str, body: bytes) -> None:
        """Publishes with QoS 1 and returns when the broker has it. Raises MqttError."""
        if self._client is None:
            raise aiomqtt.MqttError("not connected")
        await self._client.publish(topic, body, qos=1)

    async def stop(self) -> None:
        """Ends after the message in hand; the broker keeps what comes meanwhile."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def run(self) -> None:
        """Serves until cancelled."""
        least_s, most_s = self._back_off_s
        pause_s = least_s
        while True:
            try:
                await self._serve()
            except (aiomqtt.MqttError, OSError, TimeoutError) as error:
                log.info("broker: %s", error)
            if self._subscribed.is_set():
                pause_s = least_s
                self._subscribed.clear()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, most_s)

    async def _serve(self) -> None:
        """One connection, from its start to its loss."""
        host, port, user, password = self._broker
        client = aiomqtt.Client(
            host, port, username=user, password=password, identifier=self._client_id,
            clean_session=False, keepalive=self._keepalive_s, timeout=10,
        )  # fmt: skip
        async with client:
            try:
                self._waiting = client.messages
                self._client = client
                await client.subscribe([(topic, 1) for topic in TOPICS])
                self._subscribed.set()
                async for message in client.messages:
                    await self._whole(self._take(client, message))
            finally:
                self._waiting = self._client = None

    async def _whole(self, taking: Coroutine[None, None, None]) -> None:
        """Sees a message through even when stop() comes in between."""
        task = asyncio.ensure_future(taking)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            with contextlib.suppress(aiomqtt.MqttError):
                await task
            raise

    async def _take(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        self._taking = True
        try:
            body = message.payload
            if not isinstance(body, bytes | bytearray):
                return
            try:
                ack = await asyncio.to_thread(self._intake.take, str(message.topic), bytes(body))
            except Exception:
                # A full disk, say. Not acknowledged, so the charger sends it again; the next
                # message is not to suffer from it.
                log.exception("%s: not stored", message.topic)
                self._intake.counters.failed += 1
                return
            if ack is not None:
                await client.publish(ack.topic, ack.body, qos=1)
                self.acknowledged += 1
            await self._offer(client, str(message.topic), bytes(body))
        finally:
            self._taking = False

    async def _offer(self, client: aiomqtt.Client, topic: str, body: bytes) -> None:
        """Sends a new QR code where a charger's status says that it has none."""
        if self._offers is not None and topic.endswith("/status"):
            order = await asyncio.to_thread(self._offers.answer, topic.split("/")[2], body)
            if order is not None:
                await client.publish(topic.removesuffix("status") + "cmd", order, qos=1)


def parse_broker(url: str) -> tuple[str, int, str | None, str | None]:
    """(host, port, user, password) of an mqtt:// URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port or 1883
    except ValueError as error:
        raise ConfigError(f"broker: {error}") from error
    if parts.scheme != "mqtt" or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError("broker: want mqtt://user:password@host:port")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return parts.hostname, port, user, password
