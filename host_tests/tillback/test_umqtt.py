"""The charger's own MQTT client (umqtt.simple on MicroPython) against the broker and ingester."""

import asyncio
import json
import subprocess

from evtill.core import jws
from host_tests import micropython
from host_tests.fakes import records
from tillback.ingest import Ingest
from tillback.store import Store
from tillsim.broker import HOST, Broker

ACK_KEY = bytes(range(32))
PREFIX = f"evtill/v1/{records.CHARGER}"

_CHARGER = """
import sys
from umqtt.simple import MQTTClient
port, prefix = int(sys.argv[1]), sys.argv[2].encode()
published = open(sys.argv[3], "rb").read()
c = MQTTClient(b"charger-1", "127.0.0.1", port, b"charger-1", b"charger secret", keepalive=30)
c.set_last_will(prefix + b"/status", b'{"state":"offline"}', True, 1)
c.set_callback(lambda topic, body: print(topic.decode(), body.decode()))
c.connect()
c.subscribe(prefix + b"/usage/ack", 1)
c.publish(prefix + b"/status", b'{"state":"available"}', True, 1)
c.publish(prefix + b"/usage", published, False, 1)
c.wait_msg()
"""  # and ends without a DISCONNECT: the will is due


def test_umqtt_publishes_subscribes_and_leaves_a_will(tmp_path):
    signer = records.Signer()
    store = Store(f"sqlite:///{tmp_path}/ledger.sqlite")
    store.register(records.CHARGER, signer.public.pem, ACK_KEY)
    published = records.signed(signer, seq=1)
    file = tmp_path / "record.jws"  # an argument that long is too much for MicroPython
    file.write_bytes(published)
    users = {"tillback": "backend secret", "charger-1": "charger secret"}

    async def scene(broker):
        ingest = Ingest(store, broker.url("tillback"))
        await ingest.start()
        await ingest.ready()
        said = await asyncio.to_thread(
            micropython.run, _CHARGER, str(broker.port), PREFIX, str(file)
        )
        while ingest.counters.statuses < 2:
            await asyncio.sleep(0.01)
        await ingest.stop()
        return said

    with Broker(0, users, tmp_path / "broker", engine="amqtt") as broker:
        said = asyncio.run(asyncio.wait_for(scene(broker), 60))
    topic, _, ack = said.strip().partition(" ")
    assert topic == f"{PREFIX}/usage/ack"
    assert json.loads(jws.hs256_verify(ack.encode(), jws.ACK, ACK_KEY)) == {
        "charger": records.CHARGER, "id": f"{records.CHARGER}-1",
        "sha256": records.sha256(published),
    }  # fmt: skip
    states = [json.loads(row.payload)["state"] for row in store.statuses()]
    assert states == ["available", "offline"]
    store.close()


def test_the_host_is_the_loopback_only(tmp_path):
    with Broker(0, {"a": "b"}, tmp_path, engine="amqtt") as broker:
        listening = subprocess.run(
            ["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True
        ).stdout
        rows = [row.split()[1] for row in listening.splitlines()[1:] if row.split()[3] == "0A"]
    assert HOST == "127.0.0.1"
    assert [row for row in rows if int(row[-4:], 16) == broker.port] == [
        f"0100007F:{broker.port:04X}"
    ]
