"""The embedded broker: users, sessions, restarts; mosquitto, and amqtt."""

import asyncio
import contextlib
import socket

import aiomqtt
import pytest

from host_tests import programs
from host_tests.fakes.mqtt_client import hush
from tillsim.broker import HOST, Broker, BrokerError, free_port

USERS = {"alice": "pass word:1", "bob": "b"}


@pytest.fixture(params=["amqtt", "mosquitto"])
def broker(request, tmp_path):
    if request.param == "mosquitto":
        programs.program("mosquitto")
    with Broker(0, USERS, tmp_path / "broker", engine=request.param) as broker:
        yield broker


def client(broker, user="alice", **options):
    options = {"password": USERS.get(user), "identifier": f"{user}-1"} | options
    return aiomqtt.Client(HOST, broker.port, username=user, **options)


def listening(port):
    with socket.socket() as s:
        return s.connect_ex((HOST, port)) == 0


async def collect(messages, count):
    found = []

    async def read():
        async for message in messages:
            found.append((str(message.topic), message.payload))
            if len(found) == count:
                return

    await asyncio.wait_for(read(), 10)
    return found


def test_only_users_with_their_password_connect(broker):
    async def refused(**options):
        one = client(broker, **options)
        with pytest.raises(aiomqtt.MqttError):
            async with one:
                pass
        hush(one)

    async def scene():
        async with client(broker):
            pass
        await refused(password="wrong")
        await refused(password=None)
        await refused(user="mallory", password="b")
        await refused(user=None, password=None, identifier="nobody")

    asyncio.run(scene())


def test_a_persistent_session_keeps_what_came_meanwhile(broker):
    async def scene():
        async with client(broker, "bob", clean_session=False) as bob:
            await bob.subscribe("t/+", qos=1)
        async with client(broker) as alice:
            for n in range(3):
                await alice.publish("t/a", b"%d" % n, qos=1)
        async with client(broker, "bob", clean_session=False) as bob:
            return await collect(bob.messages, 3)

    assert asyncio.run(scene()) == [("t/a", b"0"), ("t/a", b"1"), ("t/a", b"2")]


def test_retained_messages_go_only_to_those_who_asked(broker):
    async def scene():
        async with client(broker) as alice, client(broker, "bob") as bob:
            await bob.subscribe("s/+", qos=1)
            await alice.publish("s/a", b"state", qos=1, retain=True)
            assert await collect(bob.messages, 1) == [("s/a", b"state")]
            third = client(broker, identifier="alice-2")
            async with third:
                await third.subscribe("mine", qos=1)
                await alice.publish("mine", b"hello", qos=1)
                return await collect(third.messages, 1)

    assert asyncio.run(scene()) == [("mine", b"hello")]


def test_stop_drops_clients_and_start_serves_again_on_the_same_port(broker):
    async def scene():
        async with client(broker) as alice:
            await asyncio.to_thread(broker.stop)
            assert not listening(broker.port)
            with pytest.raises(aiomqtt.MqttError):
                await asyncio.wait_for(anext(aiter(alice.messages)), 10)

    for _ in range(2):
        with contextlib.suppress(aiomqtt.MqttError):  # on leaving a connection that is gone
            asyncio.run(scene())
        broker.start()
        broker.start()  # twice is once
    assert listening(broker.port)
    broker.stop()
    broker.stop()
    assert not listening(broker.port)


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as s:
        s.bind((HOST, 0))
        s.listen()
        broker = Broker(s.getsockname()[1], USERS, tmp_path, engine="amqtt")
        with pytest.raises(BrokerError, match=r"port .*: Address already in use"):
            broker.start()
        broker.stop()


def test_the_url_is_what_tillback_takes(tmp_path):
    broker = Broker(free_port(), {"a": "b@:/"}, tmp_path)
    assert broker.url("a") == f"mqtt://a:b%40%3A%2F@127.0.0.1:{broker.port}"
