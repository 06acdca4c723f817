"""The connection to the broker: where it is, and messages in batches that are only taken off the
broker's hands when they are dealt with."""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import paho.mqtt.client as paho

from evtill.core.errors import ConfigError

_UNCONFIRMED_MAX = 2000
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Address:
    """A broker and who we are there; `tls` is None without encryption."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def parse(
        cls, url: str, ca: Path | None = None, certificate: Path | None = None,
        key: Path | None = None,
    ) -> "Address":  # fmt: skip
        """Of `mqtt://user:password@host:port`; `mqtts://` has TLS: `ca` is whom it trusts (default:
        the system's), `certificate` and `key` its own. Raises ConfigError."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise ConfigError(f"broker: {error}") from error
        if not port or not parts.hostname or parts.path not in ("", "/"):
            raise ConfigError("broker: want mqtt://user:password@host:port, or mqtts://")
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        tls = None
        if parts.scheme == "mqtts":
            tls = _tls(ca, certificate, key)
        elif ca or certificate or key:
            raise ConfigError("broker: certificates are for mqtts://")
        return cls(parts.hostname, port, user, password, tls)

    def client(self, **options: Any) -> aiomqtt.Client:
        """aiomqtt's client of this broker; options: aiomqtt's."""
        return aiomqtt.Client(self.host, self.port, **self.identity() | options)

    def identity(self) -> dict[str, Any]:
        """aiomqtt's options for who we are."""
        return {"username": self.user, "password": self.password, "tls_context": self.tls}


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    if (certificate is None) != (key is None):
        raise ConfigError("broker: a certificate and its key go together")
    for path in (ca, certificate, key):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: cannot be read")
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"broker: {ca or ''} {certificate or ''}: not what TLS takes") from error
    return context


@dataclass(slots=True)
class Arrived:
    """A message: PUBACK number `mid`; `at_s` is when it came, on the monotonic clock."""

    topic: str
    body: bytes
    mid: int
    qos: int
    at_s: float


class Link(aiomqtt.Client):
    """A connection whose messages come in batches; while it is not told that one is done with, the
    broker keeps it, and sends no more than its window.

    aiomqtt's own queue hands out one message at a time and confirms it at once."""

    def __init__(self, address: Address, **options: Any) -> None:
        super().__init__(address.host, address.port, **address.identity(), **options)
        self._client.manual_ack_set(True)
        self._client.max_inflight_messages_set(0)
        self._arrived: list[Arrived] = []
        self._came = asyncio.Event()
        self._unconfirmed = 0  # of what was sent
        self._error: aiomqtt.MqttError | None = None

    def __len__(self) -> int:
        """How many messages wait to be taken."""
        return len(self._arrived)

    async def take(self, most: int) -> list[Arrived]:
        """What waits, one message at least, once the broker has most of what was sent. Raises
        MqttError when the connection is lost."""
        while not self._arrived or self._unconfirmed > _UNCONFIRMED_MAX:
            if self._error is not None:
                raise self._error
            self._came.clear()
            came = asyncio.ensure_future(self._came.wait())
            try:
                await asyncio.wait(
                    (came, self._disconnected), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                came.cancel()
            if self._disconnected.done():
                lost = self._disconnected.exception()
                raise aiomqtt.MqttError("the connection was lost") from lost
        taken, self._arrived = self._arrived[:most], self._arrived[most:]
        return taken

    def lose(self, error: aiomqtt.MqttError) -> None:
        """Has take() end with an error."""
        self._error = error
        self._came.set()

    def confirm(self, taken: list[Arrived]) -> None:
        """Lets the broker forget messages."""
        for one in taken:
            self._client.ack(one.mid, one.qos)

    def send(self, topic: str, body: bytes) -> None:
        """Publishes with QoS 1, without waiting: for what is asked for again when it is lost."""
        self._client.publish(topic, body, qos=1)
        self._unconfirmed += 1

    def _on_publish(self, client: Any, userdata: Any, mid: int, *rest: Any) -> None:
        super()._on_publish(client, userdata, mid, *rest)
        self._unconfirmed = max(0, self._unconfirmed - 1)
        if self._unconfirmed == _UNCONFIRMED_MAX:
            self._came.set()

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._client.ack(message.mid, message.qos)
            return
        self._arrived.append(
            Arrived(topic, bytes(message.payload), message.mid, message.qos, time.monotonic())
        )
        self._came.set()
