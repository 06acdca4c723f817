"""`tillback serve` without any configuration: SQLite, and a broker of its own."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import aiomqtt
import pytest

from evtill.core import jws
from host_tests.fakes import records
from host_tests.fakes.mqtt_client import hush
from tillback.cli import main
from tillsim.broker import HOST, Broker, free_port

SIGNER = records.Signer()
ACK_KEY, CHARGER = bytes(range(32)), records.CHARGER
PREFIX = f"evtill/v1/{CHARGER}"


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """The folder in which a charger was registered; as is `tillback`'s default database."""
    monkeypatch.chdir(tmp_path)
    register("m" * 32)
    return tmp_path


def register(password):
    left = {"charger": CHARGER, "public_key": SIGNER.public.pem, "ack_key": ACK_KEY.hex(),
            "command_key": bytes(32).hex(), "token_key": bytes(32).hex(),
            "mqtt_password": password}  # fmt: skip
    with open("charger.json", "w") as file:
        json.dump(left, file)
    assert main(["register", "charger.json"]) == 0


class Program:
    """`tillback COMMAND ...` as a program, in the working directory."""

    def __init__(self, *words):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tillback", *words], stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self.said = self._process.communicate(timeout=30)[1]
        self.code = self._process.returncode

    def until(self, done):
        """What done() gives, once it gives something."""
        deadline = time.monotonic() + 30
        while not (found := done()):
            assert self._process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        return found

    def healthy(self, base):
        """What /healthz says when all is well."""

        def look():
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                status, body = get(base + "/healthz")
                return json.loads(body) if status == 200 else None

        return self.until(look)


class Serving(Program):
    """`tillback serve`; on its own broker's port, and HTTP's, which are free."""

    def __init__(self, *options):
        self.port = free_port()
        http = () if "--listen" in options else ("--listen", f"{HOST}:{free_port()}")
        super().__init__("serve", "--mqtt-listen", f"{HOST}:{self.port}", *http, *options)

    def __enter__(self):
        def listens():
            with socket.socket() as s:
                return s.connect_ex((HOST, self.port)) == 0

        self.until(listens)
        return self

    def charger(self, password):
        return aiomqtt.Client(HOST, self.port, username=CHARGER, password=password,
                              identifier=CHARGER, timeout=5)  # fmt: skip


async def refused(serving, password):
    client = serving.charger(password)
    with pytest.raises(aiomqtt.MqttError):
        async with client:
            pass
    hush(client)


def test_a_registered_charger_is_acknowledged(registered, capsys):
    record = records.signed(SIGNER, 1)

    async def scene():
        await refused(serving, "wrong")
        async with serving.charger("m" * 32) as charger:
            await charger.publish(f"{PREFIX}/status", b'{"state":"offline"}', qos=1, retain=True)
            await charger.subscribe(f"{PREFIX}/usage/ack", qos=1)
            async with asyncio.timeout(20):
                for _ in range(20):  # until the backend has subscribed
                    await charger.publish(f"{PREFIX}/usage", record, qos=1)
                    try:
                        async with asyncio.timeout(1):
                            return await anext(aiter(charger.messages))
                    except TimeoutError:
                        continue

    with Serving() as serving:
        ack = asyncio.run(scene()).payload
        assert json.loads(jws.hs256_verify(ack, jws.ACK, ACK_KEY))["id"].endswith("-1")
        assert main(["command", CHARGER, "stop"]) == 1
        assert capsys.readouterr().err == f"tillback: {CHARGER} is offline\n"
        register("n" * 32)
        asyncio.run(refused(serving, "m" * 32))
    assert serving.code == 0
    assert "m" * 32 not in serving.said and "unknown, or a wrong password" in serving.said
    assert main(["records"]) == 0
    assert f"{CHARGER}-1 " in capsys.readouterr().out
    assert main(["command", CHARGER, "stop"]) == 1
    assert "no `tillback serve` with a broker of its own runs here" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_in_one_line(registered, capsys):
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--mqtt-listen", f"{HOST}:{port}"]) == 1
    said = capsys.readouterr().err
    assert said == f"tillback: MQTT broker on {HOST}, port {port}: Address already in use\n"
    assert not (registered / "tillback.sqlite.broker").exists()


@pytest.mark.parametrize("wrong", ["1883", "host:", ":1883", "host:0", "host:65536", "host:x"])
def test_where_to_listen_is_checked(registered, capsys, wrong):
    with pytest.raises(SystemExit):
        main(["serve", "--mqtt-listen", wrong])
    assert "want HOST:PORT" in capsys.readouterr().err


def get(url):
    """(status, body) of what is there."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_answers_http_too(registered):
    http = free_port()
    with Serving("--listen", f"{HOST}:{http}", "--log", "json") as serving:
        base = f"http://{HOST}:{http}"
        assert serving.healthy(base) == {
            "status": "ok", "database": "ok", "broker": "ok", "parts": "ok",
        }  # fmt: skip
        assert "tillback_messages_total" in get(base + "/metrics")[1]
        assert get(base + "/v1/usage_records")[0] == 401
        assert json.loads(get(base + "/openapi.json")[1])["info"]["title"] == "tillback"
    assert serving.code == 0
    events = [json.loads(line) for line in serving.said.splitlines()]
    assert any(one["event"].startswith("HTTP on ") for one in events)


def test_ingest_says_how_it_is_apart_from_the_api(registered, tmp_path):
    with Broker(0, {"tillback": "s"}, tmp_path / "broker", "mosquitto") as broker:
        http = free_port()
        base = f"http://{HOST}:{http}"
        with Program("ingest", "--broker", broker.url("tillback"), "--listen",
                     f"{HOST}:{http}") as ingest:  # fmt: skip
            assert ingest.healthy(base)["broker"] == "ok"
            broker.stop()
            deadline = time.monotonic() + 20
            while get(base + "/healthz")[0] == 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            status, body = get(base + "/healthz")
            assert status == 503 and json.loads(body)["broker"] == "not connected"
            assert get(base + "/v1/usage_records")[0] == 404
        assert ingest.code == 0
        with Program("api", "--listen", f"{HOST}:{http}") as api:
            assert "broker" not in api.healthy(base)
            assert get(base + "/v1/usage_records")[0] == 401
        assert api.code == 0
