"""The broker in the backend's own process: who gets in, and what he may do there."""

import asyncio
import contextlib
import socket

import aiomqtt
import pytest

from host_tests.fakes.mqtt_client import hush
from tillback.broker.embedded import BrokerError, Embedded
from tillback.broker.passwords import hashed
from tillback.broker.registered import Registered
from tillback.broker.rights import BACKEND
from tillsim.broker import HOST, free_port

A, B = "DE*EVT*A", "DE*EVT*B"
BASE = "evtill/v1"
FENCE = "the end"  # what comes after it was not delivered, for it would have come before
KNOWN = {(A, A): hashed("a's"), (B, "user of b"): hashed("b's"), ("DE*EVT*N", "n"): None}


class Site:
    def __init__(self):
        self.guard = Registered(lambda charger, user: KNOWN.get((charger, user)))
        self.port = free_port()
        self.broker = Embedded(self.guard, HOST, self.port)

    def client(self, user, password, identifier=None, **options):
        return aiomqtt.Client(HOST, self.port, username=user, password=password, timeout=5,
                              identifier=identifier, **options)  # fmt: skip

    def a(self, **options):
        return self.client(**{"user": A, "password": "a's", "identifier": A} | options)

    def b(self, **options):
        return self.client(**{"user": "user of b", "password": "b's", "identifier": B} | options)

    def backend(self, identifier=None, **options):
        return self.client(BACKEND, self.guard.password, identifier, **options)


@pytest.fixture(scope="module")
def site():
    site = Site()
    site.broker.start()
    yield site
    site.broker.stop()


def play(scene):
    return asyncio.run(asyncio.wait_for(scene, 30))


async def until_fence(client):
    found = []
    async for message in client.messages:
        if message.payload.decode() == FENCE:
            return found
        found.append((message.topic.value, message.payload.decode()))
    raise AssertionError("the connection ended")


async def refused(client):
    with pytest.raises(aiomqtt.MqttError):
        async with client:
            pass
    hush(client)


def test_each_charger_hears_and_says_its_own(site):
    async def scene():
        async with site.backend() as backend, site.b() as b:
            for name in ("usage", "event", "status", "meter", "cmd/result"):
                await backend.subscribe(f"{BASE}/+/{name}", qos=1)
            for name in ("usage/ack", "event/ack", "cmd"):
                await b.subscribe(f"{BASE}/{B}/{name}", qos=1)
            for name in ("usage", "event", "status", "meter", "cmd/result"):
                await b.publish(f"{BASE}/{B}/{name}", name, qos=1)
            await b.publish(f"{BASE}/{B}/usage", FENCE, qos=1)
            for name in ("usage/ack", "event/ack", "cmd"):
                await backend.publish(f"{BASE}/{B}/{name}", name, qos=1)
            await backend.publish(f"{BASE}/{B}/cmd", FENCE, qos=1)
            return await asyncio.gather(until_fence(backend), until_fence(b))

    heard, answered = play(scene())
    names = ["usage", "event", "status", "meter", "cmd/result"]
    assert heard == [(f"{BASE}/{B}/{name}", name) for name in names]
    assert answered == [(f"{BASE}/{B}/{name}", name) for name in ("usage/ack", "event/ack", "cmd")]


def test_a_rogue_hears_nothing_of_others(site):
    filters = (f"{BASE}/{B}/cmd", f"{BASE}/{B}/usage", f"{BASE}/#", "#", f"{BASE}/+/+", "$SYS/#",
               "$share/tillback/evtill/v1/+/usage")  # fmt: skip

    async def scene():
        async with site.backend() as backend, site.b() as b, site.a() as a:
            await b.publish(f"{BASE}/{B}/status", "kept", qos=1, retain=True)
            for wanted in filters:
                assert [code.value for code in await a.subscribe(wanted, qos=1)] == [0x80], wanted
            await a.subscribe(f"{BASE}/{A}/cmd", qos=1)
            await backend.publish(f"{BASE}/{B}/cmd", "secret", qos=1)
            await b.publish(f"{BASE}/{B}/usage", "secret", qos=1)
            await backend.publish(f"{BASE}/{A}/cmd", FENCE, qos=1)
            return await until_fence(a)

    assert play(scene()) == []


def test_a_rogue_says_nothing_in_anothers_name(site):
    async def scene():
        async with site.backend() as backend, site.b() as b:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            await backend.subscribe(f"{BASE}/+/status", qos=1)
            await b.subscribe(f"{BASE}/{B}/usage/ack", qos=1)
            for will in (f"{BASE}/{B}/status", f"{BASE}/{A}/cmd", "#"):
                await refused(site.a(will=aiomqtt.Will(will, "offline", 1, True)))
            async with site.a(will=aiomqtt.Will(f"{BASE}/{A}/status", "", 1, True)) as a:
                for topic in (f"{BASE}/{B}/usage", f"{BASE}/{B}/usage/ack", f"{BASE}/{B}/cmd"):
                    await a.publish(topic, "forged", qos=1)
                await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            await backend.publish(f"{BASE}/{B}/usage/ack", FENCE, qos=1)
            await backend.publish(f"{BASE}/{B}/usage", "forged", qos=1)
            return [one for one in await until_fence(backend) if one[1] != "kept"], (
                await until_fence(b)
            )

    assert play(scene()) == ([], [])


def test_who_is_unknown_gets_in_nowhere(site):
    async def scene():
        for wrong in (
            {"password": "b's"}, {"password": None}, {"password": ""}, {"user": None},
            {"user": BACKEND}, {"user": "user of b"}, {"identifier": B}, {"identifier": ""},
            {"user": None, "password": None}, {"user": "n", "identifier": "DE*EVT*N"},
        ):  # fmt: skip
            await refused(site.a(**wrong))
        async with site.a(), site.b():
            pass

    play(scene())


def test_a_stranger_disturbs_no_session(site):
    """amqtt itself would delete it, or put the stranger's user name into it, before it asks."""
    async def scene():
        async with site.backend("ingest", clean_session=False) as backend, site.b() as b:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            for clean in (True, False):
                for user in ("stranger", BACKEND):
                    await refused(site.client(user, "wrong", "ingest", clean_session=clean))
                    await refused(site.client(user, "wrong", B, clean_session=clean))
            await refused(site.a(identifier="ingest"))
            await b.publish(f"{BASE}/{B}/usage", "still heard", qos=1)
            await b.publish(f"{BASE}/{B}/usage", FENCE, qos=1)
            return await until_fence(backend)

    assert play(scene()) == [(f"{BASE}/{B}/usage", "still heard")]


def test_a_charger_that_was_away_finds_what_came_and_only_its_own(site):
    async def scene():
        async with site.a(clean_session=False) as a:
            await a.subscribe(f"{BASE}/{A}/cmd", qos=1)
        async with site.backend() as backend:
            await backend.publish(f"{BASE}/{B}/cmd", "b's", qos=1)
            await backend.publish(f"{BASE}/{A}/cmd", "a's", qos=1)
            async with site.a(clean_session=False) as a:
                await backend.publish(f"{BASE}/{A}/cmd", FENCE, qos=1)
                return await until_fence(a)

    assert play(scene()) == [(f"{BASE}/{A}/cmd", "a's")]


def test_what_was_confirmed_is_passed_on_though_the_sender_leaves(site):
    """amqtt itself would drop what still waits when it hears the good-bye."""
    async def scene():
        async with site.backend() as backend, site.a() as a:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            confirmed = await asyncio.to_thread(leave_at_once, site.port, f"{BASE}/{B}/usage", 60)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            return confirmed, [int(text) for _, text in await until_fence(backend)]

    confirmed, heard = play(scene())
    assert confirmed and set(heard) >= confirmed


def leave_at_once(port, topic, count):
    """Publishes by B and its good-bye, all in one; what was confirmed of them."""
    with connected(port) as s:
        publishes = b""
        for n in range(count):
            body = text(topic.encode()) + (n + 1).to_bytes(2, "big") + b"%d" % n
            publishes += b"\x32" + bytes([len(body)]) + body
        s.sendall(publishes + b"\xe0\x00")
        said = b""
        with contextlib.suppress(ConnectionError):
            while more := s.recv(1000):
                said += more
    assert len(said) % 4 == 0
    pubacks = [said[at : at + 4] for at in range(0, len(said), 4)]
    assert all(one[:2] == b"\x40\x02" for one in pubacks)
    return {int.from_bytes(one[2:], "big") - 1 for one in pubacks}


@pytest.mark.parametrize(
    "first", [b"\x10\xff\xff\xff\x7f", b"\x32\x80\x80\x80\x01", b"\x10\x0c\x00\x04MQTT", b"GET /"]
)
def test_what_is_no_connect_ends_the_connection(site, first):
    with socket.create_connection((HOST, site.port), 5) as s, contextlib.suppress(ConnectionError):
        s.sendall(first)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(100) == b""


def test_a_huge_message_ends_the_connection_and_reaches_nobody(site):
    async def scene():
        async with site.backend() as backend, site.a() as a:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            await asyncio.to_thread(send, site.port, f"{BASE}/{B}/usage", 10_000_000)
            await a.publish(f"{BASE}/{A}/usage", "x" * 200_000, qos=1)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            return await until_fence(backend)

    assert [len(text) for _, text in play(scene())] == [200_000]


def send(port, topic, size):
    """A publish of that size by B, in bytes; returns when the broker has hung up."""
    with connected(port) as s:
        length = size + 2 + len(topic)
        digits = bytes((length >> 7 * n) & 0x7F | (0x80 if n < 3 else 0) for n in range(4))
        with contextlib.suppress(ConnectionError):
            s.sendall(b"\x30" + digits + text(topic.encode()) + bytes(size))
            assert s.recv(100) == b""


@contextlib.contextmanager
def connected(port):
    """A socket on which the broker has let B in."""
    fields = [field.encode() for field in (B, "user of b", "b's")]
    connect = b"\x00\x04MQTT\x04\xc2\x00\x3c" + b"".join(map(text, fields))
    with socket.create_connection((HOST, port), 5) as s:
        s.sendall(b"\x10" + bytes([len(connect)]) + connect)
        assert s.recv(4) == b"\x20\x02\x00\x00"
        yield s


def text(field):
    return len(field).to_bytes(2, "big") + field


def test_it_runs_until_cancelled_and_says_why_it_cannot(site):
    async def scene():
        with pytest.raises(BrokerError, match=f"{site.port}: Address already in use"):
            await Embedded(site.guard, HOST, site.port).run()
        other = Embedded(site.guard, HOST, free_port())
        task = asyncio.create_task(other.run())
        url = other.url(BACKEND, site.guard.password)
        assert url == f"mqtt://%2Ftillback:{site.guard.password}@{HOST}:{other.port}"
        for _ in range(200):
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(HOST, other.port, username=BACKEND,
                                          password=site.guard.password):  # fmt: skip
                    break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("it does not serve")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(OSError):
            socket.create_connection((HOST, other.port), 1)

    play(scene())
