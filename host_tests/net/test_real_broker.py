"""The link, the worker and the proxy with a real broker."""

import contextlib
import os
import socket
import threading
import time

import paho.mqtt.client
import paho.mqtt.enums
import pytest

from host_tests import programs
from host_tests.net.board import board
from tillsim.bench_link import GOAL_LOOPBACK, GOAL_ROUND_TRIP, compare
from tillsim.broker import Broker
from tillsim.proxy import Proxy

USERS = {"c1": "pw", "reader": "pw", "bench": "bench"}
SOAK = bool(os.environ.get("EVTILL_SOAK"))


@pytest.fixture(params=["amqtt", "mosquitto"])
def broker(request, tmp_path):
    if request.param == "mosquitto":
        programs.program("mosquitto")
    with Broker(0, USERS, tmp_path, request.param) as one:
        yield one


def test_a_kept_session_brings_what_came_while_away(broker):
    said = board(
        """
        c = Client().start()
        await c.until(lambda: c.ups)
        await c.stop()
        other = Client(user="reader", subscriptions=())
        other.link.client_id = "other"
        other.start()
        await other.until(lambda: other.ups)
        await other.publish(b"while away", "evtill/v1/c1/cmd")
        await other.until(lambda: other.pubacks)
        c.start()
        await c.until(lambda: c.messages and len(c.ups) == 2)  # it may come before SUBACK
        print(c.ups, c.messages, c.downs)
        await c.stop()
        c.start()
        await c.until(lambda: len(c.ups) == 3)
        await asyncio.sleep_ms(200)
        print(len(c.messages))
        await c.stop()
        await other.stop()
        """,
        broker.port,
    )
    assert said == ["[False, True] [(b'evtill/v1/c1/cmd', b'while away')] []", "1"]


def test_the_last_will_is_published_when_the_link_dies_and_not_after_a_good_bye(broker):
    with Proxy(broker.port) as proxy:
        said = board(
            f"""
            watcher = Client(user="reader", subscriptions=("evtill/v1/c1/status",))
            watcher.link.client_id = "watcher"
            watcher.link.port = {broker.port}
            watcher.start()
            await watcher.until(lambda: watcher.ups)
            c = Client(subscriptions=())
            c.link.set_last_will("evtill/v1/c1/status", b"gone", False, 1)
            c.start()
            await c.until(lambda: c.ups)
            await c.stop()
            await asyncio.sleep_ms(200)
            print(watcher.messages)
            c.start()
            await c.until(lambda: len(c.ups) == 2)
            c.task.cancel()  # closes without a good-bye
            await watcher.until(lambda: watcher.messages)
            print(watcher.messages)
            await watcher.stop()
            """,
            proxy.port,
        )
    assert said == ["[]", "[(b'evtill/v1/c1/status', b'gone')]"]


def test_a_wrong_password_is_refused_with_its_code(broker):
    said = board(
        """
        c = Client(password="wrong").start()
        await c.until(lambda: len(c.downs) == 2)
        print(c.downs, c.ups)
        c.task.cancel()
        """,
        broker.port,
    )
    assert said[0].startswith("['refused by the broker: code ") and said[0].endswith(" []")


OUTBOX = """
gc.threshold(8192)
flying = {{}}
again = []
fresh = 0
downs = 0
c = Client(subscriptions=("evtill/v1/c1/echo",))
c.link.connect_ms = c.link.dead_ms = c.link.puback_ms = {patience_ms}
c.link.on_message = lambda topic, payload: None

def fill(*_):
    nonlocal fresh
    while c.link.up and (again or fresh < {n}):
        number = again[-1] if again else fresh
        try:
            pid = c.link.publish_nowait("evtill/v1/c1/echo", "%d" % number + "." * {size})
        except LinkError:
            return
        if pid is None:
            return
        flying[pid] = number
        if again:
            again.pop()
        else:
            fresh += 1

def puback(pid):
    flying.pop(pid)
    c.changed.set()

def down(reason):
    nonlocal downs
    downs += 1
    again.extend(flying.values())
    flying.clear()

c.link.on_up = c.link.on_room = fill
c.link.on_puback = puback
c.link.on_down = down
c.start()
await c.until(lambda: fresh == {n} and not flying and not again, 50000)
print(downs)
await c.stop()
"""


class Listener:
    """What a stranger's client (paho) hears on the echo topic, over a link without faults."""

    def __init__(self, port):
        self.heard = []
        self._ready = threading.Event()
        self._client = paho.mqtt.client.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2)
        self._client.username_pw_set("reader", USERS["reader"])
        self._client.on_connect = lambda client, *_: client.subscribe("evtill/v1/c1/echo", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda client, _, message: self.heard.append(message.payload)
        self._port = port

    def __enter__(self):
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._client.disconnect()
        self._client.loop_stop()

    def numbers(self, count, size, timeout_s=5):
        """Waits for `count` different numbers; checks that each message is whole."""
        end = time.monotonic() + timeout_s
        while len(set(self.heard)) < count and time.monotonic() < end:
            time.sleep(0.01)
        return {int(one[: len(one) - size]) for one in self.heard if one.endswith(b"." * size)}


@contextlib.contextmanager
def cutting(proxy, attribute, cuts):
    """Sets the proxy's cut to each of `cuts` in turn, the next when the last has happened."""
    done = threading.Event()

    def drive():
        for n in cuts:
            setattr(proxy, attribute, n)
            while getattr(proxy, attribute) is not None and not done.is_set():
                done.wait(0.002)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("way", ["cut_up_after", "cut_down_after"])
def test_connections_cut_after_every_byte_lose_nothing(broker, way):
    # Greeting and a few publishes take about 260 bytes up and 90 down, echoes not counted.
    cuts = range(1, 300 if way == "cut_up_after" else 160, 1 if SOAK else 9)
    count = 8 * len(cuts)  # enough to go on until the last cut
    with (
        Listener(broker.port) as listener,
        Proxy(broker.port) as proxy,
        cutting(proxy, way, cuts),
    ):
        said = board(OUTBOX.format(n=count, size=20, patience_ms=2000), proxy.port)
        assert listener.numbers(count, 20) == set(range(count))
        assert all(len(one) <= 24 for one in listener.heard)
    assert proxy.cuts == len(cuts)
    assert int(said[-1]) >= proxy.cuts


def test_lost_and_doubled_pubacks_end_in_every_message_delivered(broker):
    with Listener(broker.port) as listener, Proxy(broker.port) as proxy:
        proxy.drop_pubacks = 2
        proxy.duplicate_pubacks = 5
        board(OUTBOX.format(n=30, size=200, patience_ms=300), proxy.port)
        assert proxy.drop_pubacks == proxy.duplicate_pubacks == 0
        assert listener.numbers(30, 200) == set(range(30))


def test_a_half_open_connection_is_given_up_and_replaced(broker):
    with Proxy(broker.port) as proxy:
        threading.Timer(1.5, setattr, (proxy, "half_open", False)).start()
        proxy.half_open = True
        said = board(
            """
            c = Client()
            c.link.connect_ms = 500
            c.start()
            await c.until(lambda: c.ups)
            print(set(c.downs), len(c.downs) >= 2)
            await c.stop()
            """,
            proxy.port,
        )
    assert said == ["{'no answer to CONNECT'} True"]


def test_a_broker_that_comes_back_is_found_again(tmp_path):
    broker = Broker(0, USERS, tmp_path)
    with broker:
        def restart():
            broker.stop()
            broker.start()

        timer = threading.Timer(1.0, restart)
        timer.start()
        said = board(
            """
            c = Client(keepalive=2)
            c.link.backoff_ms = (20, 200)
            c.start()
            await c.until(lambda: len(c.ups) == 2)
            await c.publish(b"still there")
            await c.until(lambda: c.pubacks)
            print(len(c.downs) >= 1, c.downs[0])
            await c.stop()
            """,
            broker.port,
        )
        timer.join()
    assert said[0].startswith("True ")


def test_the_proxy_delays_without_serialising():
    with socket.create_server(("127.0.0.1", 0)) as server:
        def echo():
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(100):
                    peer.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        with Proxy(server.getsockname()[1]) as proxy:
            proxy.delay_ms = 100
            with socket.create_connection(("127.0.0.1", proxy.port)) as s:
                start = time.monotonic()
                for _ in range(10):
                    s.sendall(b"\xd0\x00")
                    time.sleep(0.005)
                got = b""
                while len(got) < 20:
                    got += s.recv(20)
                took = time.monotonic() - start
    assert 0.2 <= took < 0.6


def test_many_times_faster_than_umqtt_simple(broker):
    plain, ours, _ = compare(broker.port, 20, 600)
    assert ours >= GOAL_LOOPBACK * plain, (plain, ours)
    with Proxy(broker.port) as proxy:
        proxy.delay_ms = 25
        plain, ours, _ = compare(proxy.port, 8, 120)
    assert ours >= GOAL_ROUND_TRIP * plain, (plain, ours)
