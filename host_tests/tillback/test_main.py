"""`tillback` as a program: commands, one-line errors, and a backend that is killed under load."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time

import aiomqtt
import pytest

from evtill.core import jws, key_rotation
from host_tests.fakes import records
from tillback.cli import main
from tillback.intake import Intake
from tillback.store import Store
from tillctl.__main__ import main as tillctl
from tillsim.broker import HOST, Broker

ACK_KEY = bytes(range(32))
SIGNER = records.Signer()
PREFIX = f"evtill/v1/{records.CHARGER}"
COUNT = 2000 if os.environ.get("EVTILL_SOAK") else 40


@pytest.fixture
def database(tmp_path):
    (tmp_path / "key.pem").write_text(SIGNER.public.pem)
    (tmp_path / "ack.key").write_text(ACK_KEY.hex() + "\n")
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    assert register(url, tmp_path) == 0
    return url


def register(url, folder, charger=records.CHARGER):
    return main(["register", charger, "--database", url, "--key", str(folder / "key.pem"),
                 "--ack-key", str(folder / "ack.key")])  # fmt: skip


def stored(url, *published):
    store = Store(url)
    intake = Intake(store)
    for one in published:
        assert not intake.take(f"{PREFIX}/usage", one).refused
    store.close()


def test_records_are_listed_as_json_lines(database, capsys):
    one = records.signed(SIGNER, 1)
    two = records.signed(SIGNER, 2, records.sha256(one))
    stored(database, one, two)
    capsys.readouterr()
    assert main(["records", "--database", database, "--jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["jws"].encode() for line in lines] == [one, two]
    assert [line["payload"]["seq"] for line in lines] == [1, 2]
    assert all(line["ocmf"] == line["payload"]["ocmf"] for line in lines)
    assert main(["records", "--database", database]) == 0
    assert "12345 Wh" in capsys.readouterr().out


def test_a_receipt_is_checked_against_the_registered_key(database, capsys):
    stored(database, records.signed(SIGNER, 1))
    capsys.readouterr()
    assert main(["receipt", f"{records.CHARGER}-1", "--database", database]) == 0
    assert "Checked    jws signature" in capsys.readouterr().out
    assert main(["receipt", f"{records.CHARGER}-1", "--database", database, "--html"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["receipt", "nobody-1"], "no record nobody-1"),
        (["serve", "--broker", "http://x"], "mqtt://"),
        (["serve", "--broker", "mqtt://x:99999"], "broker"),
        (["serve", "--broker", "@/no/such/file"], "cannot be read"),
        (["register", "a/b", "--key", "{}/key.pem", "--ack-key", "{}/ack.key"], "charger"),
        (["register", "a", "--key", "{}/ack.key", "--ack-key", "{}/ack.key"], "not a public key"),
        (["register", "a", "--key", "{}/key.pem", "--ack-key", "{}/key.pem"], "32 bytes in hex"),
        (["register", "a", "--key", "{}/none", "--ack-key", "{}/ack.key"], "No such file"),
    ],
)
def test_a_wrong_argument_gets_one_line(database, tmp_path, capsys, argv, says):
    capsys.readouterr()
    filled = [one.format(tmp_path) for one in argv]
    assert main([*filled, "--database", database]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_charger_keeps_its_keys(database, tmp_path, capsys):
    assert register(database, tmp_path) == 0
    (tmp_path / "ack.key").write_text("00" * 32)
    assert register(database, tmp_path) == 1
    assert "registered already" in capsys.readouterr().err


class Backend:
    """`tillback serve` in a process of its own."""

    def __init__(self, database, broker):
        self._argv = [sys.executable, "-m", "tillback", "serve", "--database", database,
                      "--broker", broker.url("tillback")]  # fmt: skip
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._argv, stderr=subprocess.DEVNULL)

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait(15)


async def _publish_until_acknowledged(broker, published, disturb):
    """A charger's outbox in small: sends what is unacknowledged again and again."""
    waiting = {records.sha256(one): one for one in published}
    options = {"username": "charger", "password": "c", "identifier": "charger"}
    async with aiomqtt.Client(HOST, broker.port, **options) as client:
        await client.subscribe(f"{PREFIX}/usage/ack", qos=1)

        async def collect():
            async for message in client.messages:
                ack = json.loads(jws.hs256_verify(message.payload, jws.ACK, ACK_KEY))
                assert "error" not in ack
                waiting.pop(ack["sha256"], None)

        collecting = asyncio.create_task(collect())
        disturbing = asyncio.create_task(disturb(waiting))
        deadline = time.monotonic() + 60 + COUNT / 10
        while waiting:
            assert time.monotonic() < deadline
            for one in list(waiting.values())[:20]:
                await client.publish(f"{PREFIX}/usage", one, qos=1)
            await asyncio.sleep(0.2)
        collecting.cancel()
        await disturbing


def test_a_backend_that_is_killed_under_load_loses_and_doubles_nothing(database, tmp_path):
    prev, published = records.ZEROS, []
    for seq in range(1, COUNT + 1):
        published.append(records.signed(SIGNER, seq, prev))
        prev = records.sha256(published[-1])
    users = {"tillback": "t", "charger": "c"}
    with Broker(0, users, tmp_path / "broker", engine="amqtt") as broker:
        backend = Backend(database, broker)

        async def disturb(waiting):
            rng = random.Random(3)
            for share in (0.9, 0.5, 0.2):
                while len(waiting) > share * COUNT:
                    await asyncio.sleep(rng.uniform(0, 0.01))
                assert await asyncio.to_thread(backend.end, signal.SIGKILL) == -signal.SIGKILL
                backend.start()

        asyncio.run(_publish_until_acknowledged(broker, published, disturb))
        assert backend.end(signal.SIGTERM) in (0, -signal.SIGTERM)  # so soon that it had not begun
    store = Store(database)
    assert [row.jws for row in store.records()] == published
    assert {alarm.name for alarm in store.alarms()} == {"tariff_unknown"}
    store.close()


def test_a_rotated_key_goes_on_where_the_old_one_ended(database, tmp_path, capsys):
    new = records.Signer(2)
    store = Store(database)
    intake = Intake(store)
    topic = f"{PREFIX}/usage"
    one = records.signed(SIGNER, 1)
    two = records.signed(new, 2, records.sha256(one))
    assert not intake.take(topic, one).refused
    assert intake.take(topic, two).refused
    rotation = key_rotation.signed(
        records.CHARGER, 2, records.sha256(one), new.public.point, SIGNER.public.kid, SIGNER.sign
    )
    (tmp_path / "r.jws").write_bytes(rotation)
    for _ in range(2):  # a second time changes nothing
        assert main(["rotate", str(tmp_path / "r.jws"), "--database", database]) == 0
    assert new.public.kid in capsys.readouterr().out
    assert not intake.take(topic, two).refused  # without a restart
    late = records.signed(SIGNER, 3, records.sha256(two))
    assert intake.take(topic, late).refused
    store.close()
    assert main(["receipt", f"{records.CHARGER}-2", "--database", database]) == 0
    assert "Checked    jws signature" in capsys.readouterr().out
    assert tillctl(["verify", database, "--no-tariff"]) == 0
    said = capsys.readouterr().out
    assert f"ok   rotation: from seq 2 on key {new.public.kid}" in said


@pytest.mark.parametrize("content", [b"", b"x", b"a.b.c", b"e30.e30.e30"])
def test_what_is_no_rotation_is_refused(database, tmp_path, capsys, content):
    (tmp_path / "r.jws").write_bytes(content)
    assert main(["rotate", str(tmp_path / "r.jws"), "--database", database]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_strangers_rotation_is_refused(database, tmp_path, capsys):
    other = records.Signer(9)
    rotation = key_rotation.signed(
        records.CHARGER, 2, records.ZEROS, other.public.point, other.public.kid, other.sign
    )
    (tmp_path / "r.jws").write_bytes(rotation)
    assert main(["rotate", str(tmp_path / "r.jws"), "--database", database]) == 1
    assert "an unknown key" in capsys.readouterr().err
