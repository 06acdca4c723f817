"""What several at once may do to each other, on both databases."""

import asyncio

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.client import Api
from tillback.db.tables import Authorization
from tillback.deliverer import Deliverer

CARD = {"method": "card", "currency": "EUR", "charger": records.CHARGER, "hold_minor": 5000}


@pytest.fixture
def api(database_url):
    made = Api(url=database_url, provider="simulated")
    made.add_charger()
    yield made
    made.database.close()


def test_eight_with_one_key_make_one(api):
    request = ("POST", "/v1/authorizations", {"Idempotency-Key": "key-1"}, {"json": CARD})
    answers = api.together(*[request] * 8)
    made = {one.json()["ref"] for one in answers if one.status_code == 201}
    assert {one.status_code for one in answers} <= {201, 409} and len(made) == 1
    with api.database.read() as session:
        assert session.query(Authorization).count() == 1


def test_eight_refunds_give_back_no_more_than_was_captured(api):
    ref = api.post("/v1/authorizations", CARD).json()["ref"]
    with api.database.write() as session:
        row = session.get(Authorization, ref)
        row.state, row.captured_minor = "captured", 2000
    said = {"ref": ref, "amount_minor": 600, "reason": "r"}
    answers = api.together(*(
        ("POST", "/v1/refunds", {"Idempotency-Key": f"key-{n}"}, {"json": said}) for n in range(8)
    ))  # fmt: skip
    assert sorted(one.status_code for one in answers) == [201] * 3 + [409] * 5


def test_records_are_listed_and_text_is_text(api):
    api.add_records(1, 2, 3)
    page = api.get("/v1/usage-records", params={"limit": 2}).json()
    assert [one["seq"] for one in page["data"]] == [1, 2]
    rest = api.get("/v1/usage-records", params={"cursor": page["next_cursor"]}).json()
    assert [one["seq"] for one in rest["data"]] == [3]
    evil = "'; DROP TABLE tokens; -- \\ % _ \" {{7*7}} \u017f\u212a"
    api.ask("PUT", "/v1/tokens/0123456789abcdef", json={"account": evil})
    [found] = api.get("/v1/tokens", params={"account": evil}).json()["data"]
    assert found["account"] == evil


def test_two_deliverers_send_each_piece_of_news_once(api, monkeypatch):
    sent = []

    async def post(_, due):
        sent.append(due.news)
        await asyncio.sleep(0.001)

    monkeypatch.setattr(Deliverer, "_post", post)
    made = api.post("/v1/webhook-endpoints", {"url": "https://127.0.0.1:1/"}).json()["id"]
    told = {api.post(f"/v1/webhook-endpoints/{made}/ping").json()["news"] for _ in range(12)}

    async def run():
        some = [Deliverer(api.database, lambda: api.now) for _ in range(2)]
        return await asyncio.gather(*(one.run_due() for one in some))

    assert sum(asyncio.run(run())) == 12
    assert len(sent) == 12 and set(sent) == told
    assert api.get(f"/v1/webhook-endpoints/{made}").json()["delivered"] == 12
