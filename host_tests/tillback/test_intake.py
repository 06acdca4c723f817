"""What is stored, acknowledged, refused and alarmed, without a network."""

import hashlib
import json
import sqlite3
import threading

import pytest

from evtill.core import jws
from evtill.core.errors import SignatureError
from host_tests.fakes import records
from tillback import tariffs
from tillback.db.database import StoreError
from tillback.intake import Intake
from tillback.store import Store

ACK_KEY = bytes(range(32))
SIGNER = records.Signer()
USAGE = f"evtill/v1/{records.CHARGER}/usage"
EVENT = f"evtill/v1/{records.CHARGER}/event"
STATUS = f"evtill/v1/{records.CHARGER}/status"


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/ledger.sqlite")
    store.register(records.CHARGER, SIGNER.public.pem, ACK_KEY)
    tariffs.add_tariff(store.database, records.TARIFF)
    yield store
    store.close()


@pytest.fixture
def intake(store):
    return Intake(store)


def content(ack, topic=USAGE):
    assert ack.topic == topic + "/ack"
    found = json.loads(jws.hs256_verify(ack.body, jws.ACK, ACK_KEY))
    assert found["charger"] == records.CHARGER
    assert ack.refused == ("error" in found)
    return found


def names(store):
    return [alarm.name for alarm in store.alarms()]


def test_a_chain_is_stored_without_an_alarm(store, intake):
    prev = records.ZEROS
    for seq in range(1, 6):
        published = records.signed(SIGNER, seq, prev)
        prev = records.sha256(published)
        assert content(intake.take(USAGE, published))["sha256"] == prev
    assert [row.seq for row in store.records(records.CHARGER)] == [1, 2, 3, 4, 5]
    assert names(store) == []
    assert store.record(f"{records.CHARGER}-3").seq == 3
    assert store.record("nobody-1") is None


def test_an_acknowledgement_is_only_worth_its_key(intake):
    ack = intake.take(USAGE, records.signed(SIGNER, 1))
    with pytest.raises(SignatureError):
        jws.hs256_verify(ack.body, jws.ACK, bytes(32))


def test_the_record_is_on_disk_before_it_is_acknowledged(tmp_path, intake):
    published = records.signed(SIGNER, 1)
    assert intake.take(USAGE, published)
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    assert other.execute("SELECT jws FROM usage_records").fetchall() == [(published,)]
    other.close()


def test_the_same_seq_with_other_content_is_refused_and_alarmed(store, intake):
    first = records.signed(SIGNER, 1)
    second = records.signed(SIGNER, 1, boot=8)
    intake.take(USAGE, first)
    for _ in range(3):
        refused = content(intake.take(USAGE, second))
        assert refused["error"] == "seq 1 is stored with other content"
        assert refused["sha256"] == records.sha256(second)
        assert refused["id"] == f"{records.CHARGER}-1"
    assert [row.jws for row in store.records()] == [first]
    assert [row.body for row in store.refusals()] == [second]
    assert names(store) == ["same_seq_other_content", "refused"]


def test_a_broken_chain_is_alarmed_whichever_record_comes_first(store, intake):
    one = records.signed(SIGNER, 1, "1" * 64)
    three = records.signed(SIGNER, 3, "3" * 64)
    two = records.signed(SIGNER, 2, records.sha256(one))
    for published in (one, three, two):
        intake.take(USAGE, published)
    details = [alarm.detail for alarm in store.alarms() if alarm.name == "chain_broken"]
    assert details == ["seq 1 does not begin the chain", "seq 3 does not follow 2"]


def _with_header(**fields):
    payload = records.payload(SIGNER, records.facts(1))
    header = {"alg": "ES256", "typ": jws.USAGE, "kid": SIGNER.public.kid} | fields
    signed = b".".join(
        jws.b64url_encode(part) for part in (json.dumps(header).encode(), payload)
    )
    r, s = SIGNER.sign(hashlib.sha256(signed).digest())
    return signed + b"." + jws.b64url_encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _payload(**changes):
    found = json.loads(records.payload(SIGNER, records.facts(1))) | changes
    return records.envelope(SIGNER, json.dumps(found).encode())


@pytest.mark.parametrize(
    ("published", "says", "named"),
    [
        (lambda: records.signed(records.Signer(9), 1), "signature does not verify", True),
        (lambda: _with_header(alg="none"), "not ES256", True),
        (lambda: _with_header(typ="JWT"), "of type", True),
        (lambda: _with_header(kid="x"), "kid", True),
        (lambda: _payload(boot=-1), "boot", True),
        (lambda: _payload(extra=1), "unknown key", True),
        (lambda: records.signed(SIGNER, 1, charger="OTHER", id="OTHER-1"), "another charger", True),
        (lambda: _payload(ocmf=records.sealed_ocmf(records.Signer(9), records.facts(1)).decode()),
         "OCMF signature", True),
        (lambda: b"", "three parts", False),
        (lambda: b"a.b.c", "", False),
        (lambda: b"\xff" * 50, "", False),
        (lambda: b"." * 40000, "", False),
        (lambda: records.envelope(SIGNER, b"[]"), "not a JSON object", False),
        (lambda: records.envelope(SIGNER, b'{"id":7}'), "id is not a string", False),
    ],
)  # fmt: skip
def test_what_is_not_a_good_record_is_refused_kept_and_alarmed_once(
    store, intake, published, says, named
):
    body = published()
    for _ in range(2):
        refused = content(intake.take(USAGE, body))
        assert says in refused["error"]
        assert refused["sha256"] == records.sha256(body)
        assert (refused["id"] is not None) == named
    assert list(store.records()) == []
    assert [(row.body, row.topic) for row in store.refusals()] == [(body, USAGE)]
    assert names(store) == ["refused"]


def test_strangers_and_monsters_get_no_answer(store, intake):
    published = records.signed(SIGNER, 1)
    assert intake.take("evtill/v1/STRANGER/usage", published) is None
    assert intake.take(USAGE, b"x" * 70000) is None
    assert intake.take("evtill/v1/x", published) is None
    assert intake.take(f"evtill/v1/{records.CHARGER}/other", published) is None
    assert names(store) == ["unknown_charger", "oversized"]
    assert store.refusals() == []


def event(**changes):
    found = {"id": f"{records.CHARGER}-e7-1", "at": "2026-03-02T07:14:05Z", "name": "boot",
             "detail": "cause 1", "count": 3}  # fmt: skip
    return json.dumps(found | changes).encode()


def test_an_event_is_stored_once_with_all_that_it_says(store, intake):
    body = event()
    for _ in range(2):
        assert content(intake.take(EVENT, body), EVENT) == {
            "charger": records.CHARGER, "id": f"{records.CHARGER}-e7-1",
            "sha256": records.sha256(body),
        }  # fmt: skip
    [row] = store.events()
    assert (row.name, row.at, row.detail) == ("boot", "2026-03-02T07:14:05Z", "cause 1")
    assert row.payload == body
    assert "other content" in content(intake.take(EVENT, event(detail="y")), EVENT)["error"]
    assert intake.counters.events == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b"\xff", b"[" * 9999, event(id="OTHER-e1-1"), event(id=7),
        event(name=None), event(detail="x" * 1025), event(at=7), event(at="yesterday"),
        event(id="x" * 99), event(detail="\x1b[2J"), event(name="\ud800"), event(more="x" * 5000),
        json.dumps({"id": f"{records.CHARGER}-e1-1", "name": "boot", "detail": ""}).encode(),
    ],
)  # fmt: skip
def test_a_bad_event_is_refused(store, intake, body):
    assert content(intake.take(EVENT, body), EVENT)["error"]
    assert store.events() == []
    assert names(store) == ["refused"]


def test_statuses_are_kept_when_they_change(store, intake):
    for body in (b'{"state":"a"}', b'{"state":"a"}', b'{"state":"b"}', b'{"state":"a"}'):
        assert intake.take(STATUS, body) is None
    assert [json.loads(row.payload)["state"] for row in store.statuses()] == ["a", "b", "a"]
    for body in (b"", b"[]", b"{", b'{"a":"' + b"x" * 5000 + b'"}'):
        intake.take(STATUS, body)
    assert len(store.statuses()) == 3
    assert set(names(store)) == {"status_malformed"}


def status(boot, nonce, state="available"):
    return json.dumps({"state": state, "boot": boot, "nonce": nonce}).encode()


def test_a_boot_count_that_goes_back_is_alarmed(store, intake):
    """As of a board whose flash was put back to an older image."""
    for body in (status(7, "a"), status(7, "a", "charging"), status(8, "b"), status(9, "c")):
        intake.take(STATUS, body)
    late = (status(8, "b", "charging"), status(5, "x", "offline"), status(None, "c"))
    for body in (*late, status(True, "c"), status(-1, "c"), status(1, "n" * 65), status(1, 2),
                 status(1, "\ud800")):  # fmt: skip
        intake.take(STATUS, body)
    assert names(store) == []
    for body in (status(8, "d"), status(8, "d", "charging"), status(9, "e"), status(10, "f")):
        intake.take(STATUS, body)
    assert [alarm.detail for alarm in store.alarms()] == [
        "boot 8 after boot 9", "boot 9 after boot 9",
    ]  # fmt: skip
    assert set(names(store)) == {"boot_count_back"}


@pytest.mark.parametrize(
    "table", ["usage_records", "events", "statuses", "boots", "refused", "alarms"]
)
def test_nothing_stored_can_be_changed_or_deleted(tmp_path, intake, table):
    intake.take(USAGE, records.signed(SIGNER, 2))
    intake.take(USAGE, b"refused")
    intake.take(EVENT, event())
    intake.take(STATUS, status(1, "a"))
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET charger = 'x'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.close()


def test_two_ingesters_at_once_store_each_record_once(store):
    published = [records.signed(SIGNER, seq) for seq in range(1, 31)]
    intakes = [Intake(store), Intake(store)]

    def work(intake):
        for body in published:
            assert not intake.take(USAGE, body).refused

    threads = [threading.Thread(target=work, args=(intake,)) for intake in intakes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.seq for row in store.records()] == list(range(1, 31))
    assert sum(intake.counters.stored for intake in intakes) == 30
    assert sum(intake.counters.duplicates for intake in intakes) == 30


def test_what_was_stored_is_there_after_a_restart(tmp_path, store, intake):
    published = records.signed(SIGNER, 1)
    intake.take(USAGE, published)
    again = Store(f"sqlite:///{tmp_path}/ledger.sqlite")
    late = Intake(again)
    assert late.take(USAGE, published).refused is False
    assert late.counters.duplicates == 1
    again.close()


def test_a_charger_is_registered_once(store):
    store.register(records.CHARGER, SIGNER.public.pem, ACK_KEY)
    with pytest.raises(StoreError, match="registered already"):
        store.register(records.CHARGER, SIGNER.public.pem, bytes(32))


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/x", "oracle://x"])
def test_a_database_that_cannot_be_opened_is_said_in_one_line(url):
    with pytest.raises(StoreError) as error:
        Store(url)
    assert "\n" not in str(error.value)
