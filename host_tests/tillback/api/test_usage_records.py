"""Usage records: the list, its filters, and one with what was signed."""

import json

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.client import problem
from tillback.db.database import stamp
from tillback.db.tables import Bill

PATH = "/v1/usage-records"


def seqs(api, **filters):
    return [one["seq"] for one in api.get(PATH, params=filters).json()["data"]]


def test_one_record_as_it_was_signed(api):
    api.add_charger()
    [jws] = api.add_records(42)
    said = api.get(f"{PATH}/{records.CHARGER}-42").json()
    assert said["jws"] == jws.decode() and said["sha256"] == records.sha256(jws)
    assert said["payload"]["total_energy_wh"] == said["energy_wh"] == 12345
    assert (said["total_minor"], said["currency"], said["bill"]) == (720, "EUR", None)
    assert said["started_at"] == "2026-03-02T07:14:05Z"
    assert said["ended_at"] == "2026-03-02T08:31:47Z"
    listed = api.get(PATH).json()["data"]
    assert listed == [{k: v for k, v in said.items() if k not in ("jws", "payload")}]


def test_a_record_with_its_bill(api):
    api.add_charger()
    api.add_records(42)
    with api.database.write() as session:
        session.add(Bill(
            record=f"{records.CHARGER}-42", currency="EUR", total_minor=720, recomputed_minor=700,
            billed_minor=700, finding="the tariff says 7.00", billed_at=stamp(api.now),
        ))  # fmt: skip
    said = api.get(f"{PATH}/{records.CHARGER}-42").json()["bill"]
    assert said == {"total_minor": 720, "recomputed_minor": 700, "billed_minor": 700,
                    "finding": "the tariff says 7.00", "billed_at": stamp(api.now)}  # fmt: skip


def test_filters(api):
    api.add_charger()
    auth = records.facts()["auth"]
    api.add_records(1)
    api.add_records(2, end_unix_s=records.END_S + 1, auth=auth | {"ref": "A-2"})
    assert seqs(api) == [1, 2]
    assert seqs(api, charger=records.CHARGER, auth_ref="A-2") == [2]
    assert seqs(api, charger="DE*OTHER") == []
    end = "2026-03-02T08:31:47"
    assert seqs(api, **{"from": f"{end}Z"}) == [1, 2]
    assert seqs(api, to=f"{end}Z") == []
    assert seqs(api, **{"from": f"{end}.5Z"}) == [2]
    assert seqs(api, to=f"{end}.5Z") == [1]
    assert seqs(api, **{"from": "2026-03-02T09:31:48+01:00", "to": f"{end[:-2]}49Z"}) == [2]


@pytest.mark.parametrize("query", [
    "from=yesterday", "from=2026-03-02T08:31:47", "to=0001-01-01T00:00:00%2B23:59", "charger=",
    "to=9999-12-31T23:59:59.5-23:59", "charger=a/b", "charger=%00", "charger=" + "x" * 35,
    "auth_ref=a%20b", "auth_ref=%F0%9F%92%A9", "charger=%ff",
])  # fmt: skip
def test_a_filter_that_cannot_be(refusing, query):
    problem(refusing.get(f"{PATH}?{query}"), 422, "invalid")


@pytest.mark.parametrize("id, status", [
    ("DE*EVT*E000123-7", 404), ("x-1", 404), ("x", 422), ("x-0", 422), ("%00-1", 422),
    ("x" * 35 + "-1", 422), ("x-" + "9" * 30, 422), ("%ff%fe-1", 422), ("%252e-1", 404),
    ("1;DROP TABLE api_keys-1", 404), ("' OR '1'='1-1", 404), ("{{7*7}}-1", 404),
])  # fmt: skip
def test_a_record_that_is_not_there(refusing, id, status):
    problem(refusing.get(f"{PATH}/{id}"), status, {404: "not-found", 422: "invalid"}[status])
    assert json.loads(refusing.get(PATH).text)["data"] == []
