"""Refunds: of what was captured, never more than that, once for each key."""

import uuid

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.client import Api, problem
from tillback.db.tables import Authorization, Refund

PATH = "/v1/refunds"
CARD = {"method": "card", "currency": "EUR", "charger": records.CHARGER, "hold_minor": 5000}


@pytest.fixture
def captured(tmp_path):
    """An API, and the ref of an authorisation of which 20.00 was captured."""
    api = Api(tmp_path, provider="simulated")
    api.add_charger()
    ref = api.post("/v1/authorizations", CARD).json()["ref"]
    with api.database.write() as session:
        row = session.get(Authorization, ref)
        row.state, row.captured_minor = "captured", 2000
    yield api, ref
    api.database.close()


def refund(api, ref, key="key-1", amount=None):
    said = {"ref": ref, "reason": "the plug was stuck", "amount_minor": amount}
    return api.post(PATH, said, key)


def test_a_refund_from_asking_to_the_list(captured):
    api, ref = captured
    answer = refund(api, ref, amount=500)
    said = answer.json()
    assert answer.status_code == 201
    assert (said["ref"], said["amount_minor"], said["currency"]) == (ref, 500, "EUR")
    assert (said["state"], said["reason"]) == ("pending", "the plug was stuck")
    assert api.get(f"{PATH}/{said['id']}").json() == said
    rest = refund(api, ref, "key-2").json()
    assert rest["amount_minor"] == 1500  # all that is left
    assert api.get(PATH).json()["data"] in ([said, rest], [rest, said])  # of the same moment
    assert api.get(PATH, params={"ref": "other"}).json()["data"] == []
    first = api.get(PATH, params={"ref": ref, "limit": 1}).json()
    cursor = {"ref": ref, "cursor": first["next_cursor"]}
    assert {one["id"] for one in first["data"] + api.get(PATH, params=cursor).json()["data"]} == {
        said["id"], rest["id"]}  # fmt: skip


def test_a_refund_that_is_asked_for_twice_is_made_once(captured):
    api, ref = captured
    assert refund(api, ref, amount=500).json() == refund(api, ref, amount=500).json()
    with api.database.read() as session:
        assert session.query(Refund).count() == 1
    problem(refund(api, ref, amount=501), 422, "idempotency-key")


def test_more_than_is_left_or_of_nothing_is_refused(captured):
    api, ref = captured
    problem(refund(api, ref, amount=2001), 409, "conflict")
    fresh = api.post("/v1/authorizations", CARD).json()["ref"]
    problem(refund(api, fresh, "key-2"), 409, "conflict")
    problem(refund(api, "nobody", "key-3"), 404, "not-found")
    problem(api.get(f"{PATH}/nobody"), 404, "not-found")
    with api.database.read() as session:
        assert session.query(Refund).count() == 0


WRONG = [
    {"amount_minor": 0}, {"amount_minor": -1}, {"amount_minor": "5"}, {"amount_minor": 1.5},
    {"amount_minor": 10**20}, {"reason": ""}, {"reason": None}, {"reason": "a\nb"},
    {"reason": "x" * 201}, {"ref": "a b"}, {"ref": None}, {"ref": "'; DROP TABLE refunds; --"},
    {"currency": "EUR"},
]  # fmt: skip


@pytest.mark.parametrize("more", WRONG, ids=repr)
def test_what_cannot_be_asked(refusing, more):
    said = {"ref": "a", "reason": "r"} | more
    problem(refusing.post(PATH, said, uuid.uuid4().hex), 422, "invalid")


def test_without_a_key_nothing_is_refunded(refusing):
    said = problem(refusing.post(PATH, {"ref": "a", "reason": "r"}), 422, "invalid")
    assert said["errors"][0]["at"] == "header/Idempotency-Key"
