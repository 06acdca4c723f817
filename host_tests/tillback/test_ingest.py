"""Ingest against a real broker: what is published is stored once and acknowledged."""

import asyncio
import json

import aiomqtt
import pytest
from sqlalchemy.exc import OperationalError

from evtill.core import jws
from host_tests.fakes import records
from tillback.ingest import Ingest
from tillback.store import Store
from tillsim.broker import HOST, Broker

ACK_KEY = bytes(range(32))
PREFIX = f"evtill/v1/{records.CHARGER}"
USERS = {"tillback": "backend secret", "charger-1": "charger secret"}


@pytest.fixture(scope="module")
def signer():
    return records.Signer()


@pytest.fixture
def store(tmp_path, signer):
    store = Store(f"sqlite:///{tmp_path}/ledger.sqlite")
    store.register(records.CHARGER, signer.public.pem, ACK_KEY, "charger-1")
    yield store
    store.close()


@pytest.fixture
def broker(tmp_path):
    with Broker(0, USERS, tmp_path / "broker", engine="amqtt") as broker:
        yield broker


def charger_client(broker, **options):
    return aiomqtt.Client(HOST, broker.port, username="charger-1", password="charger secret",
                          identifier="charger-1", **options)  # fmt: skip


async def next_ack(client, kind="usage"):
    """The next acknowledgement's content, its signature checked."""
    message = await asyncio.wait_for(anext(aiter(client.messages)), 10)
    assert str(message.topic) == f"{PREFIX}/{kind}/ack"
    return json.loads(jws.hs256_verify(message.payload, jws.ACK, ACK_KEY))


async def connected(ingest):
    await ingest.start()
    await ingest.ready()


def test_a_record_is_stored_once_and_acknowledged_each_time(store, broker, signer):
    published = records.signed(signer, seq=1)

    async def scene():
        ingest = Ingest(store, broker.url("tillback"))
        await connected(ingest)
        async with charger_client(broker) as charger:
            await charger.subscribe(f"{PREFIX}/usage/ack", qos=1)
            acks = []
            for _ in range(3):
                await charger.publish(f"{PREFIX}/usage", published, qos=1)
                acks.append(await next_ack(charger))
        await ingest.stop()
        return acks, ingest

    acks, ingest = asyncio.run(scene())
    wanted = {
        "charger": records.CHARGER, "id": f"{records.CHARGER}-1",
        "sha256": records.sha256(published),
    }  # fmt: skip
    assert acks == [wanted] * 3
    assert [row.jws for row in store.records()] == [published]
    assert (ingest.stored, ingest.acknowledged, ingest.counters.duplicates) == (1, 3, 2)
    assert not ingest.busy


def test_what_is_published_while_the_backend_is_away_waits_in_its_session(store, broker, signer):
    first = records.signed(signer, seq=1)
    second = records.signed(signer, seq=2, prev=records.sha256(first))

    async def scene():
        ingest = Ingest(store, broker.url("tillback"))
        await connected(ingest)
        await ingest.stop()
        async with charger_client(broker) as charger:
            await charger.subscribe(f"{PREFIX}/usage/ack", qos=1)
            await charger.publish(f"{PREFIX}/usage", first, qos=1)
            await charger.publish(f"{PREFIX}/usage", second, qos=1)
            again = Ingest(store, broker.url("tillback"))
            await connected(again)
            acks = [await next_ack(charger), await next_ack(charger)]
            await again.stop()
        return acks

    acks = asyncio.run(scene())
    assert {ack["id"] for ack in acks} == {f"{records.CHARGER}-1", f"{records.CHARGER}-2"}
    assert [row.seq for row in store.records()] == [1, 2]


def test_the_ingester_comes_back_after_the_broker_was_away(store, broker, signer):
    published = records.signed(signer, seq=1)

    async def scene():
        ingest = Ingest(store, broker.url("tillback"), back_off_s=(0.02, 0.1))
        await connected(ingest)
        await asyncio.to_thread(broker.stop)
        while ingest.connected:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(broker.start)
        await ingest.ready()
        async with charger_client(broker) as charger:
            await charger.subscribe(f"{PREFIX}/usage/ack", qos=1)
            await charger.publish(f"{PREFIX}/usage", published, qos=1)
            ack = await next_ack(charger)
        await ingest.stop()
        return ack

    assert asyncio.run(asyncio.wait_for(scene(), 30))["sha256"] == records.sha256(published)


def test_events_are_acknowledged_and_statuses_kept(store, broker, signer):
    event = {"id": f"{records.CHARGER}-e7-1", "at": None, "name": "token_unknown", "detail": "x"}
    body = json.dumps(event).encode()

    async def scene():
        ingest = Ingest(store, broker.url("tillback"))
        await connected(ingest)
        async with charger_client(broker) as charger:
            await charger.subscribe(f"{PREFIX}/event/ack", qos=1)
            for state in ("available", "available", "charging"):
                await charger.publish(f"{PREFIX}/status", b'{"state":"%s"}' % state.encode(), 1)
            await charger.publish(f"{PREFIX}/event", body, qos=1)
            ack = await next_ack(charger, "event")
        await ingest.stop()
        return ack

    ack = asyncio.run(asyncio.wait_for(scene(), 30))
    assert ack == {"charger": records.CHARGER, "id": event["id"], "sha256": records.sha256(body)}
    assert [(row.name, row.detail) for row in store.events()] == [("token_unknown", "x")]
    states = [json.loads(row.payload)["state"] for row in store.statuses()]
    assert states == ["available", "charging"]


def test_a_database_that_is_away_costs_no_record_and_not_the_service(
    store, broker, signer, monkeypatch, caplog
):
    published = records.signed(signer, seq=1)
    write = store.database.write
    full = iter([True, True])

    def failing():
        if next(full, False):
            raise OperationalError("INSERT", {}, OSError("disk full"))
        return write()

    monkeypatch.setattr(store.database, "write", failing)

    async def scene():
        ingest = Ingest(store, broker.url("tillback"), back_off_s=(0.02, 0.1))
        await connected(ingest)
        async with charger_client(broker) as charger:
            await charger.subscribe(f"{PREFIX}/usage/ack", qos=1)
            for _ in range(3):
                await charger.publish(f"{PREFIX}/usage", published, qos=1)
                await asyncio.sleep(0.3)
            ack = await next_ack(charger)
        await ingest.stop()
        return ack, ingest.counters

    ack, counters = asyncio.run(scene())
    assert ack["sha256"] == records.sha256(published)
    assert (counters.failed >= 2, counters.stored) == (True, 1)
    assert "disk full" in caplog.text
