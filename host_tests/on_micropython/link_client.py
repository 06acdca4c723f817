"""The board's side of the link's tests: what the scripts in host_tests/net begin with."""

import asyncio
import socket
import sys
import time

from evtill.net import mqtt_link
from evtill.net.mqtt_link import MqttLink
from evtill.net.worker import Worker

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 0
TOPIC = b"evtill/v1/c1/usage"


class _Narrow:
    """`socket`, with a small send buffer."""

    SOCK_STREAM = socket.SOCK_STREAM
    getaddrinfo = socket.getaddrinfo

    @staticmethod
    def socket(*kind):
        sock = socket.socket(*kind)
        sock.setsockopt(1, 7, 4096)  # SOL_SOCKET, SO_SNDBUF of Linux
        return sock


class Client:
    """A link with short time-outs that logs what happens: downs, ups, messages, pubacks."""

    def __init__(self, port=None, worker=None, user="c1", password="pw", keepalive=60, ssl=None,
                 subscriptions=("evtill/v1/c1/cmd",), rx_bytes=2048, tx_bytes=4096,
                 window=12):  # fmt: skip
        link = MqttLink(worker or Worker(), "c1", "127.0.0.1", port or PORT, user, password,
                        keepalive, ssl, subscriptions, rx_bytes, tx_bytes, window)  # fmt: skip
        link.connect_ms = link.dead_ms = link.puback_ms = 2000
        link.backoff_ms = (1, 1)
        link.on_down = self.on_down
        link.on_up = self.on_up
        link.on_message = self.on_message
        link.on_puback = self.on_puback
        link.on_room = self.on_room
        self.link = link
        self.downs = []
        self.ups = []
        self.messages = []
        self.pubacks = []
        self.rooms = 0
        self.changed = asyncio.Event()

    def on_down(self, reason):
        self.downs.append(str(reason))
        self.changed.set()

    def on_up(self, present):
        self.ups.append(present)
        self.changed.set()

    def on_message(self, topic, payload):
        self.messages.append((topic, payload))
        self.changed.set()

    def on_puback(self, pid):
        self.pubacks.append(pid)
        self.changed.set()

    def on_room(self):
        self.rooms += 1
        self.changed.set()

    def narrow(self):
        """A small send buffer in the kernel, as a board's."""
        mqtt_link.socket = _Narrow
        return self

    def start(self):
        self.task = asyncio.create_task(self.link.run())
        return self

    async def until(self, condition, timeout_ms=20000):
        """Waits until condition() holds after something has happened."""
        end = time.ticks_add(time.ticks_ms(), timeout_ms)
        while not condition():
            self.changed.clear()
            left = time.ticks_diff(end, time.ticks_ms())
            await asyncio.wait_for_ms(self.changed.wait(), left)

    async def publish(self, payload, topic=TOPIC, **how):
        """Publishes when there is room; the packet id."""
        while True:
            pid = self.link.publish_nowait(topic, payload, **how)
            if pid is not None:
                return pid
            rooms = self.rooms
            await self.until(lambda rooms=rooms: self.rooms > rooms)

    async def stop(self):
        self.link.disconnect()
        await asyncio.wait_for(self.task, 5)


class Gaps:
    """Ticks each 10 ms and keeps the longest time between two ticks."""

    def __init__(self):
        self.worst_ms = 0
        self.task = asyncio.create_task(self._tick())

    async def _tick(self):
        last = time.ticks_ms()
        while True:
            await asyncio.sleep_ms(10)
            now = time.ticks_ms()
            self.worst_ms = max(self.worst_ms, time.ticks_diff(now, last))
            last = now
