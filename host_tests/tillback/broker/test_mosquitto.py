"""Production's broker: real mosquitto with the configuration that `tillback broker-config` writes,
and clients that want more than is theirs."""

import asyncio
import contextlib
import socket
import ssl

import aiomqtt
import pytest

from host_tests import programs
from host_tests.fakes.mqtt_client import hush
from tillback.broker import passwords
from tillback.broker.rights import BACKEND, share_group
from tillback.cli import main
from tillback.mqtt import Address
from tillsim.broker import Mosquitto, free_port
from tillsim.pki import Authority

A, B, REVOKED = "DE*EVT*A", "DE*EVT*B", "DE*EVT*R"
BASE = "evtill/v1"
FENCE = "the end"  # what comes after it was not delivered, for it would have come before


class Site:
    """A CA, certificates and a broker's configuration in `folder`."""

    def __init__(self, folder):
        self.ca = Authority(folder / "pki")
        self.server = self.ca.issue("localhost")
        self.clients = {name: self.ca.issue(name) for name in (A, B, REVOKED, "tillback")}
        self.crl = self.ca.revoke(self.clients[REVOKED])
        self.port, self.backend_port = free_port(), free_port()
        self.folder = folder / "broker"
        self.url_file = self.folder / "backend.url"
        assert self.configure() == 0

    def configure(self, **changed):
        given = {
            "dir": self.folder, "ca": self.ca.certificate, "cert": self.server.certificate,
            "key": self.server.key, "crl": self.crl, "port": self.port,
            "backend-port": self.backend_port,
        } | changed  # fmt: skip
        code = main(["broker-config", *(str(w) for k, v in given.items() for w in (f"--{k}", v))])
        with open(self.folder / "mosquitto.conf", "a") as file:
            file.write("user root\n")  # the tests' folder is root's, where root runs them
        return code

    def tls(self, certified=None):
        context = ssl.create_default_context(cafile=str(self.ca.certificate))
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 says late that it was refused
        if certified:
            context.load_cert_chain(certified.certificate, certified.key)
        return context

    @property
    def password(self):
        return Address.parse(self.url_file.read_text().strip()).password

    def charger(self, name, **options):
        """A client with that charger's certificate, and no password."""
        options = {"identifier": name, "tls_context": self.tls(self.clients[name])} | options
        return aiomqtt.Client("localhost", self.port, timeout=5, **options)

    def backend(self, identifier=None, **options):
        address = Address.parse(self.url_file.read_text().strip())
        return address.client(identifier=identifier, timeout=5, **options)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    programs.program("mosquitto")
    site = Site(tmp_path_factory.mktemp("site"))
    with Mosquitto(site.folder / "mosquitto.conf", site.port, site.backend_port) as site.broker:
        yield site


async def until_fence(*clients):
    """What each heard before FENCE: [[(topic, text)]]."""
    async def one(client):
        found = []
        async for message in client.messages:
            if message.payload.decode() == FENCE:
                return found
            found.append((message.topic.value, message.payload.decode()))
        raise AssertionError("the connection ended")

    return await asyncio.wait_for(asyncio.gather(*map(one, clients)), 10)


def play(scene):
    return asyncio.run(asyncio.wait_for(scene, 30))


async def refused(client):
    with pytest.raises(aiomqtt.MqttError):
        async with client:
            pass
    hush(client)


def test_each_charger_hears_and_says_its_own(site):
    async def scene():
        async with site.backend() as backend, site.charger(A) as a:
            for name in ("usage", "event", "status", "meter", "cmd/result"):
                await backend.subscribe(f"{BASE}/+/{name}", qos=1)
            for name in ("usage/ack", "event/ack", "cmd"):
                await a.subscribe(f"{BASE}/{A}/{name}", qos=1)
            for name in ("usage", "event", "status", "meter", "cmd/result"):
                await a.publish(f"{BASE}/{A}/{name}", name, qos=1)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            for name in ("usage/ack", "event/ack", "cmd"):
                await backend.publish(f"{BASE}/{A}/{name}", name, qos=1)
            await backend.publish(f"{BASE}/{A}/cmd", FENCE, qos=1)
            return await until_fence(backend, a)

    heard, answered = play(scene())
    names = ["usage", "event", "status", "meter", "cmd/result"]
    assert heard == [(f"{BASE}/{A}/{name}", name) for name in names]
    assert answered == [(f"{BASE}/{A}/{name}", name) for name in ("usage/ack", "event/ack", "cmd")]


@pytest.mark.parametrize(
    "wanted", [f"{BASE}/{B}/cmd", f"{BASE}/{B}/usage", f"{BASE}/#", "#", f"{BASE}/+/+", "$SYS/#"]
)
def test_a_rogue_hears_nothing_of_others(site, wanted):
    async def scene():
        async with site.backend() as backend, site.charger(B) as b, site.charger(A) as a:
            with contextlib.suppress(aiomqtt.MqttError):  # to be refused is as good
                await a.subscribe(wanted, qos=1)
            await a.subscribe(f"{BASE}/{A}/cmd", qos=1)
            for name in ("cmd", "usage/ack", "event/ack"):
                await backend.publish(f"{BASE}/{B}/{name}", "secret", qos=1)
            for name in ("usage", "status"):
                await b.publish(f"{BASE}/{B}/{name}", "secret", qos=1, retain=name == "status")
            await backend.publish(f"{BASE}/{A}/cmd", FENCE, qos=1)
            heard = await until_fence(a)
            await b.publish(f"{BASE}/{B}/status", "", qos=1, retain=True)
            return heard

    assert play(scene()) == [[]]


def test_a_rogue_says_nothing_in_anothers_name(site):
    """Not by publishing, not by its last will, and no acknowledgement of its own records."""
    async def scene():
        async with site.backend() as backend, site.charger(B) as b:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            await backend.subscribe(f"{BASE}/+/status", qos=1)
            await b.subscribe(f"{BASE}/{B}/usage/ack", qos=1)
            will = aiomqtt.Will(f"{BASE}/{B}/status", "offline", 1, True)
            async with site.charger(A, will=will) as a:
                for topic in (f"{BASE}/{B}/usage", f"{BASE}/{B}/usage/ack", f"{BASE}/{B}/cmd"):
                    await a.publish(topic, "forged", qos=1)
                a._client._sock_close()  # no good-bye, so the will is published
            hush(a)
            async with site.charger(A) as a:
                await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
                await backend.publish(f"{BASE}/{B}/usage/ack", FENCE, qos=1)
                return await until_fence(backend, b)

    assert play(scene()) == [[], []]


def test_a_rogue_takes_no_session_over(site):
    """A client id of another's, or of the backend's, is not what the broker knows it by."""
    async def scene():
        async with site.charger(B) as b, site.backend("ingest-1") as backend:
            await b.subscribe(f"{BASE}/{B}/cmd", qos=1)
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            for identifier in (B, "ingest-1"):
                async with site.charger(A, identifier=identifier, clean_session=False) as a:
                    await a.publish(f"{BASE}/{A}/usage", identifier, qos=1)
            await backend.publish(f"{BASE}/{B}/cmd", FENCE, qos=1)
            await b.publish(f"{BASE}/{B}/usage", FENCE, qos=1)
            return await until_fence(b, backend)

    assert play(scene()) == [[], [(f"{BASE}/{A}/usage", B), (f"{BASE}/{A}/usage", "ingest-1")]]


def test_without_a_good_certificate_nobody_gets_in(site, tmp_path):
    stranger = Authority(tmp_path).issue(A)

    async def scene():
        await refused(site.charger(A, tls_context=site.tls()))
        await refused(site.charger(A, tls_context=site.tls(stranger)))
        await refused(site.charger(REVOKED))
        await refused(site.charger(A, tls_context=site.tls(), username=BACKEND,
                                   password=site.password))  # fmt: skip

    play(scene())


def test_the_backends_rights_come_with_its_password_alone(site):
    """A certificate in its name, or its user and password beside one, gives none of them."""
    async def hears(client):
        async with client as one, site.charger(B) as b, site.backend() as backend:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            with contextlib.suppress(aiomqtt.MqttError):
                await one.subscribe(f"{BASE}/+/usage", qos=1)
            await one.subscribe(f"{BASE}/{one.identifier}/cmd", qos=1)
            await one.publish(f"{BASE}/{B}/cmd", "forged", qos=1)
            await b.publish(f"{BASE}/{B}/usage", "record", qos=1)
            await backend.publish(f"{BASE}/{one.identifier}/cmd", FENCE, qos=1)
            return await until_fence(one)

    async def scene():
        assert await hears(site.charger("tillback")) == [[]]
        assert await hears(site.charger(A, username=BACKEND, password=site.password)) == [[]]
        await refused(site.backend(password="wrong"))
        await refused(site.backend(password=None))
        await refused(site.backend(username=None, password=None))
        await refused(site.backend(username=A, password=""))

    play(scene())


def test_the_backend_cannot_pass_for_a_charger(site):
    async def scene():
        async with site.backend() as one, site.backend() as other, site.charger(A) as a:
            await other.subscribe(f"{BASE}/+/usage", qos=1)
            await one.publish(f"{BASE}/{A}/usage", "forged", qos=1)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            return await until_fence(other)

    assert play(scene()) == [[]]


def test_ingesters_share_what_comes_each_message_once(site):
    group = share_group(site.password)

    async def scene():
        async with site.backend() as one, site.backend() as other, site.charger(A) as a:
            for ingester in (one, other):
                await ingester.subscribe(f"$share/{group}/{BASE}/+/usage", qos=1)
                await ingester.subscribe(f"{BASE}/+/event", qos=1)  # for the fence: not shared
            for n in range(40):
                await a.publish(f"{BASE}/{A}/usage", str(n), qos=1)
            await a.publish(f"{BASE}/{A}/event", FENCE, qos=1)
            return await until_fence(one, other)

    shares = [[int(text) for _, text in share] for share in play(scene())]
    assert sorted(shares[0] + shares[1]) == list(range(40))
    assert [len(share) for share in shares] == [20, 20]


def test_a_rogue_keeps_no_share_of_the_records_back(site):
    """mosquitto lets it join any group that it can name, and drops what it may not read."""
    group = share_group(site.password)

    async def scene():
        async with site.backend() as one, site.charger(B) as b, site.charger(A) as a:
            await one.subscribe(f"$share/{group}/{BASE}/+/usage", qos=1)
            await one.subscribe(f"{BASE}/+/event", qos=1)
            for guess in ("tillback", "+", group[:-1], share_group("")):
                with contextlib.suppress(aiomqtt.MqttError):
                    await a.subscribe(f"$share/{guess}/{BASE}/+/usage", qos=1)
            await a.subscribe(f"{BASE}/{A}/cmd", qos=1)
            for n in range(10):
                await b.publish(f"{BASE}/{B}/usage", str(n), qos=1)
            await b.publish(f"{BASE}/{B}/event", FENCE, qos=1)
            await one.publish(f"{BASE}/{A}/cmd", FENCE, qos=1)
            return await until_fence(one, a)

    heard, stolen = play(scene())
    assert [int(text) for _, text in heard] == list(range(10))
    assert stolen == []


def test_an_ingester_that_was_away_finds_what_came_across_a_restart_of_the_broker(site):
    def ingester():
        return site.backend("away", clean_session=False)

    async def scene():
        async with ingester() as away:
            await away.subscribe(f"{BASE}/+/usage", qos=1)
        async with site.charger(A) as a:
            for n in range(1500):  # mosquitto's own limit is 1,000
                await a.publish(f"{BASE}/{A}/usage", str(n), qos=1)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
        await asyncio.to_thread(site.broker.stop)
        await asyncio.to_thread(site.broker.start)
        async with ingester() as away:
            heard = await until_fence(away)
        async with site.backend("away"):  # forgets the session
            return heard

    assert [int(text) for _, text in play(scene())[0]] == list(range(1500))


def test_a_huge_message_ends_the_connection_and_reaches_nobody(site):
    topic = f"{BASE}/{B}/usage".encode()
    connect = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(B).to_bytes(2, "big") + B.encode()
    publish = len(topic).to_bytes(2, "big") + topic + b"x" * 300_000

    def send_huge():
        with (
            socket.create_connection(("localhost", site.port), 5) as plain,
            site.tls(site.clients[B]).wrap_socket(plain, server_hostname="localhost") as s,
        ):
            s.sendall(b"\x10" + bytes([len(connect)]) + connect)
            assert s.recv(4) == b"\x20\x02\x00\x00"
            with contextlib.suppress(OSError):
                s.sendall(b"\x30" + encode_length(len(publish)) + publish)
                assert s.recv(100) == b""

    async def scene():
        async with site.backend() as backend, site.charger(A) as a:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            await asyncio.to_thread(send_huge)
            await a.publish(f"{BASE}/{A}/usage", "x" * 200_000, qos=1)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            return await until_fence(backend)

    assert [len(text) for _, text in play(scene())[0]] == [200_000]


def encode_length(n):
    """A remaining length (MQTT 3.1.1, 2.2.3)."""
    low, high = n % 128, n // 128
    return bytes([low | 0x80]) + encode_length(high) if high else bytes([low])


def test_a_backend_on_another_machine_comes_over_tls(tmp_path):
    programs.program("mosquitto")
    site = Site(tmp_path)
    site.configure(**{"backend-host": "localhost"})
    url = site.url_file.read_text().strip()
    address = Address.parse(url, site.ca.certificate)

    async def scene():
        async with address.client(timeout=5) as backend, site.charger(A) as a:
            await backend.subscribe(f"{BASE}/+/usage", qos=1)
            await a.publish(f"{BASE}/{A}/usage", "record", qos=1)
            await a.publish(f"{BASE}/{A}/usage", FENCE, qos=1)
            assert await until_fence(backend) == [[(f"{BASE}/{A}/usage", "record")]]
        await refused(address.client(timeout=5, password="wrong"))

    with Mosquitto(site.folder / "mosquitto.conf", site.port, site.backend_port):
        play(scene())


def test_the_configuration_written_again_keeps_the_password(site, capsys):
    before, hashed = site.password, (site.folder / "passwords").read_text()
    assert site.configure() == 0
    assert f"mosquitto -c {site.folder}/mosquitto.conf" in capsys.readouterr().out
    assert site.password == before
    user, kept = (site.folder / "passwords").read_text().strip().split(":")
    assert user == BACKEND and kept not in hashed and passwords.matches(before, kept)
    readable = {path.name for path in site.folder.iterdir() if path.stat().st_mode & 0o077}
    assert readable == {"mosquitto.log"}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("ca", "missing.pem", "missing.pem: No such file or directory"),
        ("ca", "junk", "want a certificate in PEM"),
        ("cert", "junk", "want a certificate in PEM"),
        ("key", "junk", "want a private key in PEM, without a password"),
        ("key", "other.key", "is not the key of"),
        ("crl", "junk", "want a revocation list in PEM"),
        ("crl", "revoked.pem", "is of another CA than"),
        ("backend-port", "8883", "port 8883: chargers and backend want one each"),
        ("dir", "junk", "junk: "),
    ],
)
def test_bad_input_is_said_in_one_line(tmp_path, capsys, option, value, said):
    authority, foreign = Authority(tmp_path), Authority(tmp_path / "foreign")
    server, other = authority.issue("localhost"), authority.issue("other")
    foreign.revoke(other).rename(tmp_path / "revoked.pem")
    (tmp_path / "junk").write_text("-----BEGIN CERTIFICATE-----\njunk\n")
    given = {"dir": tmp_path / "broker", "ca": authority.certificate, "cert": server.certificate,
             "key": server.key}  # fmt: skip
    given[option] = value if value.isdigit() else tmp_path / value
    assert main(["broker-config", *(str(w) for k, v in given.items() for w in (f"--{k}", v))]) == 1
    told = capsys.readouterr().err
    assert told.startswith("tillback: ") and said in told and told.count("\n") == 1
    assert not (tmp_path / "broker").exists()
