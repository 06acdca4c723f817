"""Ingesters that are killed at any moment, under load: nothing lost, nothing twice."""

import asyncio
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import func, select

from host_tests import programs, soak
from tillback import audit
from tillback.db import tables
from tillback.mqtt import Address
from tillback.store import Store
from tillsim import fleet
from tillsim.broker import Broker

KILLS = 3
CHARGERS = 40


class Ingesters:
    """`tillback ingest` as processes, `count` of them; one is killed now and then."""

    def __init__(self, url, broker, count, folder):
        self._log = folder / "ingesters.log"
        shared = ["--shared"] if count > 1 else []
        self._argvs = [
            [sys.executable, "-m", "tillback", "ingest", "--db", url, "--broker", broker,
             "--client-id", f"ingester-{number}", *shared]
            for number in range(count)
        ]  # fmt: skip
        self._running = [self._start(argv) for argv in self._argvs]
        self.killed = 0

    def _start(self, argv):
        with open(self._log, "ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self, number):
        """One ends as by a power cut, and another takes its place."""
        number %= len(self._running)
        self._running[number].send_signal(signal.SIGKILL)
        assert self._running[number].wait(10) == -signal.SIGKILL
        self._running[number] = self._start(self._argvs[number])
        self.killed += 1

    def end(self):
        """All end in order."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        return [process.wait(20) for process in self._running]


def check(store, published):
    """That every record is there once with one bill, and the books balance; how many there are."""
    sent = {body for bodies in published.values() for body in bodies}
    with store.database.read() as session:
        kept = collections.Counter(session.scalars(select(tables.UsageRecord.jws)))
        assert kept.keys() == sent and set(kept.values()) == {1}
        bills = session.execute(select(tables.Bill.record, tables.Bill.billed_minor)).all()
        payloads = session.scalars(select(tables.UsageRecord.payload))
        totals = {
            said["id"]: said["total_cost"]["incl_minor"] for said in map(json.loads, payloads)
        }
        assert dict(bills) == totals and len(bills) == len(sent)
        entries = session.scalar(select(func.count()).select_from(tables.Entry))
        assert entries == len(sent)
        assert audit.check(session) == []
        assert session.scalars(select(tables.ChainGap.seq)).all() == []
        assert session.scalars(select(tables.Alarm.name)).all() == []
        assert session.scalars(select(tables.Refused.reason)).all() == []
    return len(sent)


def run(tmp_path, url, count, ingesters, kills=KILLS, seed=1):
    programs.program("mosquitto")
    rng = random.Random(seed)
    chargers = fleet.chargers(CHARGERS, seed)
    published = {one.id: one.sign(count // CHARGERS) for one in chargers}
    store = Store(url)
    fleet.register(store, chargers)
    outboxes = fleet.Outboxes(chargers, published, resend_s=1.0)
    at = sorted(rng.sample(range(1, count), kills))
    users = {"tillback": "t", "chargers": "c"}
    began_s = time.monotonic()
    with Broker(0, users, tmp_path / "broker", engine="mosquitto") as broker:
        running = Ingesters(url, broker.url("tillback"), ingesters, tmp_path)

        def disturb(acknowledged):
            while at and acknowledged >= at[0]:
                at.pop(0)
                running.kill(rng.randrange(ingesters))

        async def scene():
            async with asyncio.timeout(120 + count / 100):
                await outboxes.run(Address.parse(broker.url("chargers")), disturb)

        asyncio.run(scene())
        assert set(running.end()) <= {0, -signal.SIGTERM}  # killed before it had begun
    stored = check(store, published)
    store.close()
    print(f"\n{url.partition(':')[0]}: {stored} records from {CHARGERS} chargers, sent "
          f"{outboxes.sent} times, {running.killed} kills of {ingesters} ingesters, "
          f"{time.monotonic() - began_s:.1f} s: each stored once, billed once, balanced")
    assert (running.killed, outboxes.refused) == (kills, [])


def test_one_ingester_on_sqlite(tmp_path):
    run(tmp_path, f"sqlite:///{tmp_path}/t.sqlite", 3000, 1)


def test_two_ingesters_on_postgresql(tmp_path, postgres_url):
    run(tmp_path, postgres_url, 2000, 2)


@pytest.mark.parametrize(("where", "ingesters"), [
    pytest.param("sqlite", 1, marks=soak.MARKS), pytest.param("postgresql", 2, marks=soak.MARKS),
])  # fmt: skip
def test_a_hundred_thousand_records(tmp_path, request, where, ingesters):
    url = f"sqlite:///{tmp_path}/t.sqlite"
    if where == "postgresql":
        url = request.getfixturevalue("postgres_url")
    seed = int(os.environ.get("SEED", "1"))
    run(tmp_path, url, 100_000, ingesters, kills=40, seed=seed)
