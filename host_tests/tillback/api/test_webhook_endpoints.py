"""Webhook endpoints: made, seen, pinged, removed."""

import pytest

from host_tests.tillback.api.client import problem
from tillback import webhooks
from tillback.db.database import stamp
from tillback.db.tables import Delivery, News

PATH = "/v1/webhook-endpoints"
ASKED = {"url": "https://example.com/hook?a=1", "kinds": ["refund.changed"]}


def test_an_endpoint_from_beginning_to_end(api):
    made = api.post(PATH, ASKED)
    assert made.status_code == 201
    said = made.json()
    assert said["secret"].startswith("whsec_") and len(said["secret"]) == 49
    path = f"{PATH}/{said['id']}"
    seen = api.get(path).json()
    assert "secret" not in seen and said["secret"] not in api.get(PATH).text
    assert seen == {"id": said["id"], "url": ASKED["url"], "kinds": ASKED["kinds"],
                    "created_at": stamp(api.now), "waiting": 0, "delivered": 0, "given_up": 0,
                    "last_error": None}  # fmt: skip
    assert api.get(PATH).json()["data"] == [seen]
    assert api.ask("DELETE", path).status_code == 204
    for method, where in (("GET", path), ("DELETE", path), ("POST", path + "/ping")):
        problem(api.ask(method, where), 404, "not-found")
    assert api.get(PATH).json()["data"] == []


def test_a_ping_goes_to_this_endpoint_alone_and_once(api):
    first, _ = (api.post(PATH, ASKED).json()["id"] for _ in range(2))
    answers = [api.post(f"{PATH}/{first}/ping", key_of="key-1") for _ in range(2)]
    assert [one.status_code for one in answers] == [202, 202]
    name = answers[0].json()["news"]
    assert answers[1].json()["news"] == name
    with api.database.read() as session:
        [row] = session.query(Delivery).all()
        assert (row.news, row.endpoint) == (name, first)
        assert session.query(News).one().kind == webhooks.PING
    assert api.get(f"{PATH}/{first}").json()["waiting"] == 1


def test_there_are_only_so_many(api, monkeypatch):
    monkeypatch.setattr("tillback.api.webhook_endpoints.MOST", 2)
    assert [api.post(PATH, ASKED).status_code for _ in range(3)] == [201, 201, 409]


@pytest.mark.parametrize("said", [
    {}, {"url": "http://example.com/"}, {"url": "https://a:b@example.com/"}, {"url": 7},
    {"url": "https://example.com/" + "x" * 500}, ASKED | {"kinds": []}, ASKED | {"kinds": ["x"]},
    ASKED | {"kinds": "*"}, ASKED | {"kinds": ["*"] * 100}, ASKED | {"secret": "mine"},
    ASKED | {"kinds": ["ping"]}, {"url": "https://example.com\\@10.0.0.1/"}, {"url": "https://"},
    {"url": "https://example.com/#x"}, {"url": "https://example.com:99999/"},
])  # fmt: skip
def test_an_endpoint_that_cannot_be(refusing, said):
    problem(refusing.post(PATH, said), 422, "invalid")
    assert refusing.get(PATH).json()["data"] == []
