"""A session from afar: an app begins and ends it, and reads what the charger says."""

import json

import pytest

from evtill.core.commands import result_mac
from host_tests.fakes import records
from host_tests.tillback.api.client import problem
from tillback import orders
from tillback.db.tables import CommandKey
from tillback.intake import Intake
from tillback.store import Store

PATH = "/v1/authorizations"
ON_ACCOUNT = {"method": "app", "account": "acme", "charger": records.CHARGER, "currency": "EUR"}
KEY = bytes(range(32))


@pytest.fixture
def ref(api):
    """An authorisation for a charger that can be commanded."""
    api.add_charger()
    with api.database.write() as session:
        session.add(CommandKey(charger=records.CHARGER, key=KEY))
    return api.post(PATH, ON_ACCOUNT).json()["ref"]


@pytest.fixture
def say(api):
    store = Store(str(api.database.engine.url))
    intake = Intake(store)

    def say(kind, **said):
        intake.take(f"evtill/v1/{records.CHARGER}/{kind}", json.dumps(said).encode())

    yield say
    store.close()


def test_from_start_to_stop(api, ref, say):
    say("status", state="available", boot=1, nonce="n1")
    for _ in range(2):
        answer = api.post(f"{PATH}/{ref}/start", None)
        assert answer.status_code == 200
        assert answer.json()["state"] == "charging"
        (order,) = answer.json()["orders"]
        assert (order["name"], order["state"]) == ("start", "waiting")
    (sent,) = orders.take(api.database, api.now)
    assert b"." in sent.body
    with api.database.read() as session:
        (row,) = orders.of(session, ref, "start")
    say("cmd/result", id=row.id, status="accepted", detail="",
        mac=result_mac(KEY, row.id, "accepted", ""))  # fmt: skip
    answer = api.post(f"{PATH}/{ref}/stop", None)
    assert [(one["name"], one["state"]) for one in answer.json()["orders"]] == [
        ("stop", "waiting"), ("start", "accepted"),
    ]  # fmt: skip


def test_what_cannot_be(api, ref, say):
    assert problem(api.post(f"{PATH}/{ref}/stop", None), 409, "conflict")
    said = api.post(f"{PATH}/{ref}/start", None)
    assert said.status_code == 409 and "is offline" in said.json()["detail"]
    assert problem(api.post(f"{PATH}/{'0' * 24}/start", None), 404, "not-found")
    say("status", state="available", boot=1, nonce="n1")
    api.post(f"{PATH}/{ref}/cancel", None)
    assert problem(api.post(f"{PATH}/{ref}/start", None), 409, "conflict")
    other = api.new_key("authorizations:read")
    assert problem(api.post(f"{PATH}/{ref}/start", None, key=other), 403, "forbidden")
