"""Every line of docs/tillback.md's table of what becomes of a message, tried."""

import datetime
import json
import re
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from evtill.core import jws
from host_tests.fakes import records
from tillback import chain, intake, quarantine, tariffs
from tillback.db import tables
from tillback.db.database import StoreError
from tillback.limits import LIMITS, Limits
from tillback.store import Store

SIGNER, STRANGER = records.Signer(), records.Signer(9)
CHARGER = records.CHARGER
BASE = f"evtill/v1/{CHARGER}/"
DOCS = Path(__file__).parents[2] / "docs/tillback.md"


class Site:
    """A backend with one registered charger; `last` is the answer to the latest message."""

    def __init__(self, url):
        self.store = Store(url)
        self.store.register(CHARGER, SIGNER.public.pem, bytes(32))
        tariffs.add_tariff(self.store.database, records.TARIFF)
        self.intake = intake.Intake(self.store, Limits(lambda: 0.0))
        self.last = None

    def say(self, kind, body, charger=CHARGER):
        self.last = self.intake.take(f"evtill/v1/{charger}/{kind}", body)

    def usage(self, *args, **changes):
        body = records.signed(SIGNER, *(args or (1,)), **changes)
        self.say("usage", body)
        return body

    def changed(self, change):
        """Record 1 with its payload changed, signed again."""
        said = json.loads(records.payload(SIGNER, records.facts(1)))
        change(said)
        body = records.envelope(SIGNER, json.dumps(said, separators=(",", ":")).encode())
        self.say("usage", body)

    def count(self, table):
        with self.store.database.read() as session:
            return session.scalar(select(func.count()).select_from(table))

    def kept(self):
        """What the database holds, as the table names it."""
        with self.store.database.read() as session:
            billed = session.scalars(select(tables.Bill.billed_minor)).all()
        names = {tables.UsageRecord: "record", tables.Event: "event", tables.Status: "status",
                 tables.Refused: "quarantine"}  # fmt: skip
        counts = {name: self.count(table) for table, name in names.items()}
        return {name: count for name, count in counts.items() if count}, billed

    def answer(self):
        if self.last is None:
            return "none"
        said = json.loads(jws.hs256_verify(self.last.body, jws.ACK, bytes(32)))
        assert said["charger"] == CHARGER
        return "refused" if "error" in said else "acknowledged"

    def alarms(self):
        return [alarm.name for alarm in self.store.alarms()]


def event(number=1, detail="x"):
    return json.dumps({"id": f"{CHARGER}-e7-{number}", "at": None, "name": "boot",
                       "detail": detail}).encode()  # fmt: skip


def status(boot):
    return json.dumps({"state": "available", "boot": boot, "nonce": f"n{boot}"}).encode()


def good(site):
    site.usage()


def again(site):
    site.say("usage", site.usage())


def other_price(site):
    bill = records.bill()
    bill["incl_minor"] = bill["periods"][0]["dimensions"][0]["incl_minor"] = 999
    site.say("usage", records.envelope(SIGNER, records.payload(SIGNER, records.facts(1), bill)))


def unknown_tariff(site):
    site.usage(1, tariff={"id": "T", "sha256": "0" * 64})


def contradiction(site):
    site.changed(lambda said: said.update(total_energy_wh=1))


def free(site):
    site.usage(flags=["free"])


def no_predecessor(site):
    site.usage(2, "2" * 64)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5, seconds=1)
    assert site.alarms() == []
    chain.sweep(site.store.database, later)


def broken(site):
    site.usage()
    site.usage(2, "2" * 64)


def same_seq(site):
    site.usage()
    site.usage(boot=8)


def forged(site):
    site.say("usage", records.signed(STRANGER, 1))


def ocmf_forged(site):
    false = records.sealed_ocmf(STRANGER, records.facts(1)).decode()
    site.changed(lambda said: said.update(ocmf=false))


def out_of_range(site):
    site.changed(lambda said: said.update(boot=-1))


def others_record(site):
    site.usage(1, charger="OTHER", id="OTHER-1")


def many_refused(site):
    for number in range(quarantine.MOST_A_DAY + 1):
        site.say("usage", b"%d" % number)
    assert site.count(tables.Refused) == quarantine.MOST_A_DAY


def refusals_at_once(site):
    site.intake.take_all([(BASE + "usage", b"%d" % n) for n in range(LIMITS["refusal"][0])])
    site.say("usage", b"one more")


def oversized(site):
    site.say("usage", b"x" * 65537)


def stranger(site):
    site.say("usage", records.signed(SIGNER, 1), charger="STRANGER")


def breaks(site, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(intake.repricing, "judge", fail)
    site.usage()


def away(site, monkeypatch):
    def fail():
        raise OperationalError("", {}, OSError("disk full"))

    monkeypatch.setattr(site.store.database, "write", fail)
    with pytest.raises(StoreError):
        site.usage()


def good_event(site):
    for _ in range(2):
        site.say("event", event())


def bad_event(site):
    site.say("event", b"[]")


def other_event(site):
    site.say("event", event())
    site.say("event", event(detail="y"))


def event_flood(site):
    most = LIMITS["event"][0]
    site.intake.take_all([(BASE + "event", event(n)) for n in range(most)])
    site.say("event", event(most))
    assert site.count(tables.Event) == most


def new_status(site):
    for boot in (1, 1, 2):
        site.say("status", status(boot))


def old_boot(site):
    for boot in (2, 1):
        site.say("status", status(boot))


def malformed(site):
    for kind in ("status", "meter", "cmd/result"):
        site.say(kind, b"[]")
        assert site.last is None


SCENES = {
    "a record as it should be": good,
    "the same record again": again,
    "a record with another price than its tariff's": other_price,
    "a record of a tariff that is not known": unknown_tariff,
    "a record that contradicts itself, or that its tariff has no price for": contradiction,
    "a record flagged as free": free,
    "a record whose predecessor is missing": no_predecessor,
    "a record that does not name its predecessor": broken,
    "other content under a seq that is stored": same_seq,
    "a record whose signature fails, or by a key that is not in force": forged,
    "a record whose OCMF signature fails": ocmf_forged,
    "a record with a field out of type, range or size": out_of_range,
    "a record on another charger's topic": others_record,
    "more of those than 100, or 1 MiB, a day": many_refused,
    "more of those than 300 at once and 30 a minute": refusals_at_once,
    "a message of more than 64 KiB": oversized,
    "a message of a charger that is not registered": stranger,
    "a message that breaks the backend": breaks,
    "any message while the database is away": away,
    "an event as it should be, also again": good_event,
    "an event that is malformed": bad_event,
    "other content under an event's id": other_event,
    "more events than 2,000 at once and 6 a minute": event_flood,
    "a status that differs from the last one": new_status,
    "a status of a boot that is not after the last one": old_boot,
    "a status, live reading or result that is malformed": malformed,
}


def lines():
    """{what comes: (kept as, answer, alarm)} of the table in the docs."""
    text = DOCS.read_text().partition("| what comes |")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines() if line.startswith("| ")
    ]  # fmt: skip
    return {row[0]: tuple(row[1:]) for row in rows if len(row) == 4 and row[0] in SCENES}


# What there is besides, because a scene needs it first: a good record or event.
BEFORE = {
    "a record that does not name its predecessor": {"record": 2},
    "other content under a seq that is stored": {"record": 1, "quarantine": 1},
    "other content under an event's id": {"event": 1, "quarantine": 1},
    "the same record again": {"record": 1},
    "more of those than 100, or 1 MiB, a day": {"quarantine": 100},
    "more of those than 300 at once and 30 a minute": {"quarantine": 100},
    "more events than 2,000 at once and 6 a minute": {"event": 2000},
    "a status that differs from the last one": {"status": 2},
    "a status of a boot that is not after the last one": {"status": 2},
}
BILLS = {"billed": [720], "billed the lower": [720], "billed 0": [0], "billed when it is": []}


def test_the_docs_name_exactly_what_is_tried():
    text = DOCS.read_text().partition("| what comes |")[2].partition("\n\n")[0]
    assert text.count("\n| ") - 1 == len(SCENES) == len(lines())


@pytest.mark.parametrize("what", SCENES)
def test_it_happens_as_the_docs_say(tmp_path, monkeypatch, what):
    kept, answer, alarm = lines()[what]
    site = Site(f"sqlite:///{tmp_path}/t.sqlite")
    scene = SCENES[what]
    scene(*(site, monkeypatch)[: scene.__code__.co_argcount])
    found, billed = site.kept()
    name, _, bill = kept.partition(", ")
    assert found == BEFORE.get(what, {name: 1} if name else {})
    if bill:
        assert billed[-1:] == BILLS[bill]
    assert site.answer() == answer
    wanted = re.findall("`([a-z_]+)`", alarm)
    if "and so on" in alarm:
        wanted += ["meter_malformed", "result_malformed"]
    if what == "more of those than 300 at once and 30 a minute":
        wanted.append("quarantine_full")
    assert {one for one in site.alarms() if one != "refused"} == set(wanted) - {"refused"}
    assert ("refused" in site.alarms()) == ("quarantine" in found)
    site.store.close()
