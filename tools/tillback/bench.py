"""Figures of ingest for `make bench`: records a second through mosquitto, beside what checking
their signatures alone takes; and an ingester's memory."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select

from evtill.core import jws, record_check
from tillback.broker.rights import ROOT, UP, share_group
from tillback.db.tables import Bill, UsageRecord
from tillback.mqtt import Address
from tillback.store import Store
from tillctl.public_key import OpenSsl
from tillsim import debian, fleet
from tillsim.broker import Broker
from tillsim.postgres import Postgres

RECORDS, CHARGERS = 16000, 200
MANY = 100_000  # of the memory's figure
_USERS = {"tillback": "t", "chargers": "c"}
_SETTLED = 0.2  # of the records: from there on the rate is taken, as all ingesters run


def lines(records: int = RECORDS, many: int = MANY) -> Iterator[str]:
    """The figures, a line each."""
    chargers = fleet.chargers(CHARGERS)
    published = [one.sign(records // CHARGERS) for one in chargers]
    alone = _signatures_a_second(chargers[0], published[0][:50])
    yield f"signatures alone, `cryptography`, one core: {alone:6.0f} records/s"
    for name in ("SQLite", "PostgreSQL"):
        for ingesters in (1, 2, 4):
            with tempfile.TemporaryDirectory() as folder, _database(name, Path(folder)) as url:
                rate, cpu_us, _ = _ingest(url, Path(folder), chargers, published, ingesters)
            yield (
                f"{name:10} {ingesters} ingester{'s'[: ingesters > 1]:1}: {rate:6.0f} records/s "
                f"({rate / alone:.0%} of that), {cpu_us:.0f} us of their CPU a record"
            )
    with tempfile.TemporaryDirectory() as folder:
        fresh = fleet.chargers(CHARGERS, seed=2)
        much = [one.sign(many // CHARGERS) for one in fresh]
        url = f"sqlite:///{folder}/t.sqlite"
        _, _, peak_kb = _ingest(url, Path(folder), fresh, much, 1)
        yield f"an ingester's memory at {many} records: {peak_kb / 1024:.0f} MB at most"


def _signatures_a_second(charger: fleet.FleetCharger, published: list[bytes]) -> float:
    """Records a second whose two signatures are checked, and nothing else."""
    key = charger.public
    strings = [
        record_check.parse_ocmf(record_check.parse(jws.b64url_decode(one.split(b".")[1]))["ocmf"])
        for one in published
    ]
    began_s, count = time.process_time(), 0
    while time.process_time() < began_s + 1:
        for one, (body, _, der) in zip(published, strings, strict=True):
            jws.es256_verify(one, jws.USAGE, key.point, OpenSsl(key))
            key.is_signed(body, der)
        count += len(published)
    return count / (time.process_time() - began_s)


@contextlib.contextmanager
def _database(name: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database that keeps what it has committed."""
    if name == "SQLite":
        yield f"sqlite:///{folder}/t.sqlite"
        return
    with Postgres(durable=True) as server:
        yield server.create("tillback")


def _ingest(
    url: str, folder: Path, chargers: list[fleet.FleetCharger], published: list[list[bytes]],
    ingesters: int,
) -> tuple[float, float, int]:  # fmt: skip
    """(records a second, microseconds of the ingesters' CPU a record, an ingester's peak memory in
    kB), once they run, of ingesters that find all records in the broker's queue."""
    store = Store(url)
    fleet.register(store, chargers)
    count, begun = sum(map(len, published)), (0, 0.0)
    with Broker(0, _USERS, folder / "broker", engine="mosquitto") as broker:
        asyncio.run(_preload(broker, chargers, published, ingesters))
        running = [_start(url, broker, number, ingesters) for number in range(ingesters)]
        try:
            while (done := _stored(store)) < count:
                if any(one.poll() is not None for one in running):
                    raise RuntimeError("an ingester has ended")
                if not begun[0] and done >= _SETTLED * count:
                    begun = done, _cpu_s(running)
                time.sleep(0.1)
            cpu_us = (_cpu_s(running) - begun[1]) / (count - begun[0]) * 1e6
        finally:
            for one in running:
                one.send_signal(signal.SIGTERM)
            spent = [os.wait4(one.pid, 0)[2] for one in running]
    rate = _rate(store, count)
    store.close()
    return rate, cpu_us, max(one.ru_maxrss for one in spent)


def _cpu_s(running: list[subprocess.Popen[bytes]]) -> float:
    """Seconds of CPU that processes have had (proc(5), fields 14 and 15)."""
    fields = [Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2] for one in running]
    ticks = sum(int(number) for line in fields for number in line.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _preload(
    broker: Broker, chargers: list[fleet.FleetCharger], published: list[list[bytes]],
    ingesters: int,
) -> None:  # fmt: skip
    """Leaves every record in the sessions of ingesters that are away, each charger's in order."""
    address = Address.parse(broker.url("tillback"))
    share = f"$share/{share_group(address.password or '')}/" if ingesters > 1 else ""
    for number in range(ingesters):
        async with address.client(identifier=f"bench-{number}", clean_session=False) as client:
            await client.subscribe([(f"{share}{ROOT}/+/{name}", 1) for name in UP])
    source = Address.parse(broker.url("chargers"))
    async with source.client(identifier="chargers", max_inflight_messages=1000) as client:
        client.pending_calls_threshold = 10**6
        for bodies in zip(*published, strict=True):
            await asyncio.gather(*(
                client.publish(f"{ROOT}/{charger.id}/usage", body, qos=1, timeout=60)
                for charger, body in zip(chargers, bodies, strict=True)
            ))  # fmt: skip


def _start(url: str, broker: Broker, number: int, ingesters: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tillback", "ingest", "--db", url, "--broker",
         broker.url("tillback"), "--client-id", f"bench-{number}",
         *(["--shared"] if ingesters > 1 else [])],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _stored(store: Store) -> int:
    with store.database.read() as session:
        return session.scalar(select(func.count()).select_from(Bill)) or 0


def _rate(store: Store, count: int) -> float:
    """Records a second after the first ones, by the times of their transactions."""
    at = UsageRecord.received_at
    with store.database.read() as session:
        moments = session.execute(
            select(func.min(at), func.count()).group_by(at).order_by(at)
        ).all()  # fmt: skip
    done, begin = 0, ""
    for moment, number in moments:
        done += number
        begin = moment
        if done >= _SETTLED * count:
            break
    return (count - done) / (_seconds(moments[-1][0]) - _seconds(begin))


def _seconds(stamp: str) -> float:
    whole: int = record_check.unix_s(stamp[:19] + "Z")
    return whole + int(stamp[20:23]) / 1000


def main() -> int:
    """The figures alone: `python -m tillback.bench [RECORDS]`."""
    for line in lines(*map(int, sys.argv[1:])):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except debian.DebianMissing as error:
        sys.exit(f"bench: {error}")
