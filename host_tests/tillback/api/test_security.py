"""Keys: what they open, what is kept of them, and how often they may be used."""

import datetime
import logging

import httpx
import pytest
from sqlalchemy import text

from host_tests.tillback.api.client import Api, problem, served
from tillback.api import keys
from tillback.api.limits import Rate

PATH = "/v1/usage-records"


def test_a_key_opens_what_its_scopes_say(api):
    assert api.get(PATH, key=api.new_key("records:read")).status_code == 200
    said = problem(api.get(PATH, key=api.new_key("tokens:read")), 403, "forbidden")
    assert "records:read" in said["detail"]


WRONG = [
    "", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer {key}x", "Bearer {key} x",
    "Bearer tb_000000000000_{secret}", "Bearer tb_{id}_" + "A" * 43, "Bearer {key}\u00e9",
    "Bearer tb__", "Bearer ' OR 1=1 --", "Bearer " + "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("header", WRONG)
def test_whatever_is_no_key_opens_nothing(refusing, header):
    _, key_id, secret = refusing.key.split("_", 2)
    text = header.format(key=refusing.key, id=key_id, secret=secret).encode("latin-1")
    answer = refusing.ask("GET", PATH, key="", headers=[(b"Authorization", text)])
    problem(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_two_keys_are_none(api):
    twice = [("Authorization", f"Bearer {api.key}")] * 2
    problem(api.ask("GET", PATH, key="", headers=twice), 401, "unauthorized")


def test_a_revoked_key_opens_nothing_at_once(api):
    key = api.new_key("records:read")
    assert api.get(PATH, key=key).status_code == 200
    keys.revoke(api.database, key.split("_")[1], api.now)
    problem(api.get(PATH, key=key), 401, "unauthorized")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path):
    api = Api(tmp_path, rate=Rate(burst=3, per_s=0.5))
    assert [api.get(PATH).status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = api.get(PATH)
    problem(answer, 429, "rate")
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["RateLimit-Policy"] == '"key";q=3;w=6'
    assert answer.headers["RateLimit"] == '"key";r=0;t=6'
    assert api.get(PATH, key=api.new_key("records:read")).status_code == 200  # others may
    api.now += datetime.timedelta(seconds=2)
    answer = api.get(PATH)
    assert (answer.status_code, answer.headers["RateLimit"]) == (200, '"key";r=0;t=6')
    api.now -= datetime.timedelta(hours=1)  # the clock is put back: nothing is given, none lost
    assert api.get(PATH).status_code == 429
    api.now += datetime.timedelta(days=1)
    assert [api.get(PATH).status_code for _ in range(4)] == [200, 200, 200, 429]
    api.database.close()


def test_what_breaks_is_logged_without_what_was_asked(api, caplog, monkeypatch):
    """The database refuses a statement that holds a secret; SQLAlchemy would print it."""
    secret = "4111 1111 1111 1111"
    with api.database.write() as session:
        session.execute(text("DROP TABLE tokens"))
    with served(api.app) as url:
        answer = httpx.put(f"{url}/v1/tokens/0123456789abcdef", json={"account": secret},
                           headers={"Authorization": f"Bearer {api.key}"})  # fmt: skip
    assert answer.status_code in (500, 503)
    logged = caplog.text + "".join(str(one.exc_info) for one in caplog.records)
    assert "tokens" in caplog.text and secret not in logged and secret not in answer.text
    assert api.key.rpartition("_")[2] not in logged


def test_no_secret_reaches_the_log(api, caplog):
    caplog.set_level(logging.DEBUG)
    secret = api.key.split("_", 2)[2]
    api.get(PATH)
    api.get(PATH, key=api.key + "x")
    answer = api.get(PATH, params={"from": secret})
    assert answer.status_code == 422 and secret not in answer.text
    ours = [one.getMessage() for one in caplog.records if one.name != "httpx"]  # who asks
    assert secret not in "".join(ours)
