"""The way to the broker: its address, TLS with certificates on both sides, and batches."""

import asyncio
import json

import aiomqtt
import pytest

from evtill.core import jws
from evtill.core.errors import ConfigError
from host_tests import programs
from host_tests.fakes import records
from tillback import tariffs
from tillback.ingest import Ingest
from tillback.mqtt import Address, Link
from tillback.store import Store
from tillsim.broker import Broker, Tls
from tillsim.pki import Authority

SIGNER = records.Signer()
PREFIX = f"evtill/v1/{records.CHARGER}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def broker(tmp_path, authority):
    programs.program("mosquitto")
    server = authority.issue("localhost")
    served = Tls(server.certificate, server.key, authority.certificate)
    users = {"tillback": "t", "charger": "c"}
    with Broker(0, users, tmp_path / "b", engine="mosquitto", tls=served) as broker:
        yield broker


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mqtt://h", ("h", 1883, None, None)),
        ("mqtt://u:p%40%3A@h:7/", ("h", 7, "u", "p@:")),
        ("mqtt://u@[::1]:7", ("::1", 7, "u", None)),
        ("mqtts://h", ("h", 8883, None, None)),
    ],
)
def test_addresses(url, wanted):
    found = Address.parse(url)
    assert (found.host, found.port, found.user, found.password) == wanted
    assert (found.tls is not None) == url.startswith("mqtts")


@pytest.mark.parametrize("url", ["", "h", "http://h", "mqtt://", "mqtt://h:x", "mqtt://h:99999",
                                 "mqtt://h/topic", "mqtt://[::1"])  # fmt: skip
def test_what_is_no_address_is_said_in_one_line(url):
    with pytest.raises(ConfigError, match=r"^broker: [^\n]*$"):
        Address.parse(url)


def test_certificates_are_checked_before_anything_is_sent(tmp_path, authority):
    one = authority.issue("one")
    missing, garbage = tmp_path / "none.pem", tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN nothing")
    for url, ca, certificate, key, said in (
        ("mqtts://h", missing, None, None, "cannot be read"),
        ("mqtts://h", garbage, None, None, "not what TLS takes"),
        ("mqtts://h", None, one.certificate, None, "go together"),
        ("mqtts://h", None, one.certificate, garbage, "not what TLS takes"),
        ("mqtt://h", authority.certificate, None, None, "for mqtts"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            Address.parse(url, ca, certificate, key)
        assert "\n" not in str(error.value)


def test_ingest_over_tls_with_its_own_certificate(tmp_path, broker, authority):
    store = Store(f"sqlite:///{tmp_path}/t.sqlite")
    store.register(records.CHARGER, SIGNER.public.pem, bytes(32))
    tariffs.add_tariff(store.database, records.TARIFF)
    mine = authority.issue("tillback")
    url = f"mqtts://localhost:{broker.tls_port}"
    trusted = Address.parse(url, authority.certificate, mine.certificate, mine.key)
    body = records.signed(SIGNER, 1)

    async def scene():
        for wrong in (Address.parse(url), Address.parse(url, authority.certificate)):
            with pytest.raises(aiomqtt.MqttError):  # a server unknown to us; a client to it
                async with wrong.client(timeout=1) as client:
                    await client.subscribe("x")
        ingest = Ingest(store, trusted, client_id="one", shared=True)
        await ingest.start()
        await ingest.ready()
        async with Address.parse(broker.url("charger")).client(timeout=10) as charger:
            await charger.subscribe(f"{PREFIX}/usage/ack", qos=1)
            await charger.publish(f"{PREFIX}/meter", b'{"power_w":11000}', qos=0)
            await charger.publish(f"{PREFIX}/usage", body, qos=1)
            ack = await asyncio.wait_for(anext(aiter(charger.messages)), 10)
        await ingest.stop()
        return json.loads(jws.hs256_verify(ack.payload, jws.ACK, bytes(32)))

    assert asyncio.run(scene())["sha256"] == records.sha256(body)
    assert [row.jws for row in store.records()] == [body]
    store.close()


def test_what_is_not_confirmed_comes_again(broker):
    """Over the next connection; what is confirmed does not."""
    address = Address.parse(broker.url("tillback"))

    def link():
        return Link(address, identifier="l", clean_session=False)

    async def scene():
        async with link() as one:
            await one.subscribe("t/+", 1)
        async with address.client() as other:
            for number in range(6):
                await other.publish(f"t/{number}", b"%d" % number, qos=1)
        async with link() as one:
            first = []
            while len(first) < 6:
                first += await one.take(4)
            one.confirm(first[:4])
            await asyncio.sleep(0.1)
        async with link() as one:
            second = []
            while len(second) < 2:
                second += await one.take(500)
            one.confirm(second)
        return [a.body for a in first], [a.body for a in second]

    first, second = asyncio.run(scene())
    assert first == [b"%d" % number for number in range(6)]
    assert second == first[4:]


def test_a_connection_that_is_lost_ends_the_wait(broker):
    address = Address.parse(broker.url("tillback"))

    async def scene():
        async with Link(address, identifier="l") as link:
            taking = asyncio.create_task(link.take(10))
            await asyncio.sleep(0)
            await asyncio.to_thread(broker.kill)
            with pytest.raises(aiomqtt.MqttError):
                await asyncio.wait_for(taking, 10)

    asyncio.run(scene())
