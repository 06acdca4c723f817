"""Messages with anything at all in them: refused or stored as they are, never half, never twice."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from evtill.core import jws
from host_tests.fakes import records
from tillback import quarantine, tariffs
from tillback.cli import main
from tillback.db import tables
from tillback.intake import KINDS, Intake
from tillback.limits import Limits
from tillback.store import Store

SIGNER = records.Signer()
CHARGER = records.CHARGER
USAGE = f"evtill/v1/{CHARGER}/usage"
EVIL = (
    "'; DROP TABLE usage_records; --", '" OR 1=1 --', "{{ 7 * 7 }}", "{% raw %}",
    "<script>alert(1)</script>", "%s%n$1", "${7*7}", "../../etc/passwd",
)  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(1 << 70), 1 << 70),
    st.sampled_from([1 << 53, (1 << 53) - 1, -(1 << 63), 10**400, 1e308, 0.5, -1, 0]),
    st.floats(), st.text(max_size=80), st.sampled_from(EVIL),
    st.sampled_from(["", "x" * 5000, "\x00", "\x1b[2J", "\ud800", "\u202e", "0" * 64]),
    st.lists(st.integers() | st.text(max_size=5), max_size=3), st.just([[]] * 300),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(["2026-02-30T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59Z"]),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def paths(value, at=()):
    """Every place in a JSON value."""
    yield at
    items = enumerate(value) if isinstance(value, list) else getattr(value, "items", list)()
    for key, inner in items:
        yield from paths(inner, (*at, key))


PATHS = [path for path in paths(json.loads(records.payload(SIGNER, records.facts(1)))) if path]


def put(said, path, value, how):
    """Has `value` at a path, or nothing, or something more."""
    with contextlib.suppress(LookupError, TypeError):  # an earlier change took the place away
        for key in path[:-1]:
            said = said[key]
        if how == "leave out":
            del said[path[-1]]
        elif how == "add":
            said["more"] = value
        else:
            said[path[-1]] = value


CHANGES = st.lists(
    st.tuples(st.sampled_from(PATHS), VALUES, st.sampled_from(["put"] * 8 + ["leave out", "add"])),
    min_size=1, max_size=2,
)  # fmt: skip


class Unlimited(Limits):
    def allow(self, charger, kind):
        return True


@pytest.fixture
def store(database_url, monkeypatch):
    monkeypatch.setattr(quarantine, "MOST_A_DAY", 10**6)
    monkeypatch.setattr(quarantine, "BYTES_A_DAY", 10**9)
    store = Store(database_url)
    store.register(CHARGER, SIGNER.public.pem, bytes(32))
    tariffs.add_tariff(store.database, records.TARIFF)
    yield store
    store.close()


def kept(store):
    """(records, bills, what is in quarantine)."""
    with store.database.read() as session:
        return (
            dict(session.execute(select(tables.UsageRecord.id, tables.UsageRecord.jws)).all()),
            dict(session.execute(select(tables.Bill.record, tables.Bill.billed_minor)).all()),
            set(session.scalars(select(tables.Refused.sha256))),
        )


def test_records_with_any_field_changed_are_stored_whole_or_refused(store):
    """Signed by the charger's own key: what a broken or stolen one could say at worst."""
    intake = Intake(store, Unlimited())
    template = records.payload(SIGNER, records.facts(1))
    seen = {}

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(CHANGES, min_size=1, max_size=12))
    def play(batch):
        bodies = []
        for changes in batch:
            said = json.loads(template)
            said["seq"] = len(seen) + len(bodies) + 1
            said["id"] = f"{CHARGER}-{said['seq']}"
            for change in changes:
                put(said, *change)
            payload = json.dumps(said, separators=(",", ":")).encode()
            bodies.append(records.envelope(SIGNER, payload))
        answers = intake.take_all([(USAGE, body) for body in bodies])
        again = intake.take_all([(USAGE, body) for body in bodies])
        assert [a.refused for a in answers] == [a.refused for a in again]
        for body, answer in zip(bodies, answers, strict=True):
            seen[records.sha256(body)] = (body, answer)

    play()
    stored, billed, refused = kept(store)
    for sha256, (body, answer) in seen.items():
        said = json.loads(jws.hs256_verify(answer.body, jws.ACK, bytes(32)))
        assert said["sha256"] == sha256
        if answer.refused:
            assert body not in stored.values() and sha256 in refused
        else:
            assert stored[said["id"]] == body
            assert 0 <= billed.get(said["id"], 0) <= 720
    assert intake.counters.failed == 0
    assert stored and refused and len(set(stored.values())) == len(stored)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.lists(
    st.tuples(
        st.sampled_from(KINDS) | st.text(max_size=12),
        st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()) | st.dictionaries(
            st.sampled_from(["id", "at", "name", "detail", "state", "boot", "nonce", "status"]),
            st.sampled_from([f"{CHARGER}-e1-1", "boot", "accepted", *EVIL, "\ud800", "\x00", 7,
                             None, -1, 1 << 70, []]),
        ).map(lambda v: json.dumps(v).encode()),
    ), max_size=10,
))  # fmt: skip
def test_anything_on_any_topic_breaks_nothing(anything, messages):
    answers = anything.take_all([(f"evtill/v1/{CHARGER}/{kind}", body) for kind, body in messages])
    assert len(answers) == len(messages)
    assert anything.counters.failed == 0


@pytest.fixture(scope="module")
def anything(tmp_path_factory):
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('any')}/t.sqlite")
    store.register(CHARGER, SIGNER.public.pem, bytes(32))
    yield Intake(store, Unlimited())
    store.close()


@pytest.mark.parametrize("topic", ["", "/", "evtill/v1", "evtill/v1//usage", "evtill/v1/a/b/usage",
                                   "evtill/v2/x/usage", "evtill/v1/\x00/usage"])  # fmt: skip
def test_other_topics_are_nobodys(store, topic):
    intake = Intake(store)
    assert intake.take(topic, records.signed(SIGNER, 1)) is None
    assert intake.counters.failed == 0 and kept(store)[0] == {}


def test_what_is_written_to_harm_stays_text(tmp_path, capsys):
    """In every field that holds free text, through the database and into the receipt."""
    url = f"sqlite:///{tmp_path}/t.sqlite"
    store = Store(url)
    store.register(CHARGER, SIGNER.public.pem, bytes(32))
    intake, bodies = Intake(store), []
    for evil in EVIL:
        bodies.append(records.signed(
            SIGNER, len(bodies) + 1, records.sha256(bodies[-1]) if bodies else records.ZEROS,
            firmware=evil[:32], tariff={"id": evil[:36], "sha256": "0" * 64}, tariff_text=evil,
            meter={"vendor": evil[:30], "model": evil[:32], "serial": evil[:32],
                   "start_wh": 0, "end_wh": 12345},
            auth=records.facts()["auth"] | {"ref": evil},
        ))  # fmt: skip
    assert not any(a.refused for a in intake.take_all([(USAGE, body) for body in bodies]))
    with store.database.read() as session:
        rows = session.execute(
            select(tables.UsageRecord.jws, tables.UsageRecord.auth_ref)
            .order_by(tables.UsageRecord.seq)
        ).all()  # fmt: skip
    store.close()
    assert rows == list(zip(bodies, EVIL, strict=True))
    for number in range(1, len(EVIL) + 1):
        for form in ("--html", "--text"):
            assert main(["receipt", f"{CHARGER}-{number}", form, "--db", url]) == 0
            said = capsys.readouterr().out
            assert "<script>alert" not in said or form == "--text"
            assert "49" not in said.replace("0.49", "").replace("490", "") or "{{" not in EVIL
            assert "\x1b" not in said
    # Templates are text too: what they would make of it is nowhere.
    main(["receipt", f"{CHARGER}-3", "--html", "--db", url])
    assert "{{ 7 * 7 }}" in capsys.readouterr().out
