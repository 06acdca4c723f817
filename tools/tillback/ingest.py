"""Brings the chargers' messages from the broker to the store, and the acknowledgements back."""

import asyncio
import contextlib
import datetime
import gc
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiomqtt
from sqlalchemy.exc import SQLAlchemyError

from tillback import chain, orders
from tillback.broker.rights import ROOT, UP, share_group
from tillback.db.database import StoreError, one_line, utc_now
from tillback.intake import Ack, Counters, Intake
from tillback.metrics import Metrics
from tillback.mqtt import Address, Arrived, Link
from tillback.qr import Offers
from tillback.store import Store

BATCH = 500  # messages of one transaction, at most
SWEEP_S = 20
ORDERS_S = 0.25  # between looks at what waits to be sent

log = logging.getLogger(__name__)

T = TypeVar("T")


class Ingest:
    """Subscribes with QoS 1 and a persistent session, and reconnects until stop().

    broker: Address, or mqtt://user:password@host:port. shared: several ingesters, each with a
    client_id of its own, share what comes (mosquitto; amqtt cannot). `await start()` and
    `await stop()` from an asyncio loop, or `await run()` for ever. What waits is taken together,
    stored, acknowledged, and only then taken off the broker's hands."""

    def __init__(
        self, store: Store, broker: str | Address, *, client_id: str = "tillback",
        shared: bool = False, back_off_s: tuple[float, float] = (0.2, 10.0), keepalive_s: int = 30,
        pay_url: str | None = None, hole_after_s: float = chain.HOLE_AFTER_S,
        metrics: Metrics | None = None, clock: Callable[[], datetime.datetime] = utc_now,
    ) -> None:  # fmt: skip
        self._broker = Address.parse(broker) if isinstance(broker, str) else broker
        self._client_id = client_id
        share = f"$share/{share_group(self._broker.password or '')}/" if shared else ""
        self._topics = [(f"{share}{ROOT}/+/{name}", 0 if name == "meter" else 1) for name in UP]
        self._back_off_s = back_off_s
        self._keepalive_s = keepalive_s
        self._store = store
        self._hole_after_s = hole_after_s
        self._metrics = metrics
        self._clock = clock
        self._intake = Intake(store)
        self._offers = Offers(store, pay_url) if pay_url else None
        self._task: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._link: Link | None = None
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
        return self._taking or (self._link is not None and len(self._link) > 0)

    async def start(self) -> None:
        """Starts to connect; await ready() for the subscriptions."""
        if self._task is None:
            self._task = asyncio.create_task(self.run())

    async def ready(self, timeout_s: float = 15.0) -> None:
        """Returns when the subscriptions stand. Raises TimeoutError."""
        await asyncio.wait_for(self._subscribed.wait(), timeout_s)

    async def publish(self, topic: str, body: bytes) -> None:
        """Publishes with QoS 1 and returns when the broker has it. Raises MqttError."""
        if self._link is None:
            raise aiomqtt.MqttError("not connected")
        await self._link.publish(topic, body, qos=1)

    async def stop(self) -> None:
        """Ends after the messages in hand; the broker keeps what comes meanwhile."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def run(self) -> None:
        """Serves until cancelled."""
        gc.freeze()  # what is loaded by now stays; looking it through would cost a tenth of the CPU
        gc.set_threshold(20_000, 5, 5)
        sweeping = asyncio.create_task(self._sweep())
        least_s, most_s = self._back_off_s
        pause_s = least_s
        try:
            while True:
                try:
                    await self._serve()
                except StoreError as error:
                    log.error("%s: what has come waits at the broker", error)
                except (aiomqtt.MqttError, OSError, TimeoutError) as error:
                    log.info("broker: %s", error)
                    if self._subscribed.is_set():
                        pause_s = least_s
                self._subscribed.clear()
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, most_s)
        finally:
            sweeping.cancel()

    async def _serve(self) -> None:
        """One connection, from its start to its loss."""
        link = Link(
            self._broker, identifier=self._client_id, clean_session=False,
            keepalive=self._keepalive_s, timeout=10,
        )  # fmt: skip
        async with link:
            subscribing = asyncio.create_task(self._subscribe(link))
            ordering = asyncio.create_task(self._send_orders(link))
            try:
                self._link = link
                while True:  # amqtt answers when what has waited is confirmed
                    arrived = await link.take(BATCH)
                    await self._whole(self._take(link, arrived))
            finally:
                self._link = None
                subscribing.cancel()
                ordering.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ordering  # it uses the database

    async def _subscribe(self, link: Link) -> None:
        try:
            await link.subscribe(self._topics)
            self._subscribed.set()
        except aiomqtt.MqttError as error:
            link.lose(error)

    async def _whole(self, taking: Coroutine[None, None, None]) -> None:
        """Sees messages through even when stop() comes in between."""
        task = asyncio.ensure_future(taking)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            with contextlib.suppress(aiomqtt.MqttError):
                await task
            raise

    async def _take(self, link: Link, arrived: list[Arrived]) -> None:
        self._taking = True
        try:
            answers = await asyncio.to_thread(
                self._intake.take_all, [(one.topic, one.body) for one in arrived]
            )
            for one, ack in zip(arrived, answers, strict=True):
                if ack is not None:
                    self._acknowledge(link, one, ack)
            link.confirm(arrived)
            await self._offer(link, arrived)
        except StoreError:  # not confirmed: the broker sends them again, to whoever connects
            self._intake.counters.failed += len(arrived)
            raise
        finally:
            self._taking = False

    def _acknowledge(self, link: Link, one: Arrived, ack: Ack) -> None:
        link.send(ack.topic, ack.body)
        self.acknowledged += 1
        if self._metrics is not None:
            self._metrics.acknowledgement_s.observe(time.monotonic() - one.at_s)

    async def _offer(self, link: Link, arrived: list[Arrived]) -> None:
        """Sends a new QR code where a charger's status says that it has none."""
        if self._offers is None:
            return
        for topic, body in {one.topic: one.body for one in arrived}.items():
            if topic.endswith("/status"):
                order = await asyncio.to_thread(self._offers.answer, topic.split("/")[2], body)
                if order is not None:
                    link.send(topic.removesuffix("status") + "cmd", order)

    async def _send_orders(self, link: Link) -> None:
        """Publishes the commands that wait, while this connection lasts."""
        await self._subscribed.wait()  # else an answer could be missed
        while True:
            try:
                now = self._clock()
                taking = asyncio.to_thread(orders.take, self._store.database, now)
                for one in await _finished(taking):
                    link.send(one.topic, one.body)
            except SQLAlchemyError as error:
                log.error("database: %s: commands wait", one_line(error))
            await asyncio.sleep(ORDERS_S)

    async def _sweep(self) -> None:
        """Looks for holes that have lasted, every now and then."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await asyncio.to_thread(
                    chain.sweep, self._store.database, self._clock(),
                    self._hole_after_s,
                )  # fmt: skip
            except SQLAlchemyError as error:
                log.error("holes not looked for: %s", one_line(error))


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; where we are cancelled meanwhile, it is seen through first."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
