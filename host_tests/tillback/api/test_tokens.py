"""Tokens: made known, changed, listed, forgotten; and what is no token."""

import json

import pytest

from host_tests.tillback.api.client import problem

TOKEN = "9c1f0a6be24d7e35"
PATH = f"/v1/tokens/{TOKEN}"
WHOLE = {"uid": "04A2243B6C5E80", "account": "Müller & Söhne", "group": "fleet",
         "flags": ["ask", "prepaid"], "expires_at": "2027-12-31T23:00:00+01:00",
         "ceiling_minor": 5000}  # fmt: skip


def put(api, said, **options):
    return api.ask("PUT", PATH, json=said, **options)


def test_a_token_from_beginning_to_end(api):
    said = put(api, WHOLE)
    assert said.status_code == 200
    assert said.json() == WHOLE | {
        "token": TOKEN, "flags": ["prepaid", "ask"], "expires_at": "2027-12-31T22:00:00.000Z",
        "added_at": "2026-03-02T12:00:00.000Z",
    }  # fmt: skip
    assert api.get(PATH).json() == said.json()
    bare = put(api, {}).json()
    assert bare["flags"] == [] and bare["account"] is None and bare["ceiling_minor"] is None
    assert bare["added_at"] == said.json()["added_at"]
    assert api.ask("DELETE", PATH).status_code == 204
    problem(api.get(PATH), 404, "not-found")
    problem(api.ask("DELETE", PATH), 404, "not-found")


def test_a_whole_number_is_one_however_it_is_written(api):
    assert put(api, {"ceiling_minor": 5000.0}).json()["ceiling_minor"] == 5000


def test_the_list_by_account(api):
    for n in range(5):
        account = {"account": "even"} if n % 2 == 0 else {}
        api.ask("PUT", f"/v1/tokens/{n:016x}", json=account)
    page = api.get("/v1/tokens", params={"account": "even", "limit": 2}).json()
    assert [one["token"][-1] for one in page["data"]] == ["0", "2"] and page["has_more"]
    more = {"account": "even", "cursor": page["next_cursor"]}
    assert [one["token"][-1] for one in api.get("/v1/tokens", params=more).json()["data"]] == ["4"]


WRONG = [
    {"uid": "04a2243b"}, {"uid": 7}, {"uid": ""}, {"account": ""}, {"account": "a\nb"},
    {"account": "a\u0000b"}, {"account": "\ud800"}, {"account": "x" * 201}, {"account": ["x"]},
    {"group": "a b"}, {"group": "x" * 37}, {"flags": ["free", "free"]}, {"flags": ["gold"]},
    {"flags": "free"}, {"flags": ["free"] * 1000}, {"flags": None}, {"expires_at": "tomorrow"},
    {"expires_at": 0}, {"expires_at": "2027-12-31"}, {"expires_at": "2027-13-31T00:00:00Z"},
    {"expires_at": "0001-01-01T00:00:00+23:59"}, {"expires_at": "2027-12-31T00:00:00"},
    {"ceiling_minor": 0}, {"ceiling_minor": -1}, {"ceiling_minor": 1.5}, {"ceiling_minor": True},
    {"ceiling_minor": "5"}, {"ceiling_minor": 10**9}, {"ceiling_minor": 10**400},
    {"ceiling_minor": float("inf")}, {"ceiling_minor": float("nan")}, {"token": TOKEN},
    {"secret": "x"}, [], "x", 7, None, [WHOLE],
]  # fmt: skip


@pytest.mark.parametrize("said", WRONG, ids=lambda one: repr(one)[:40])
def test_a_token_that_cannot_be(refusing, said):
    answer = put_raw(refusing, json.dumps(said))
    problem(answer, 422, "invalid")
    problem(refusing.get(PATH), 404, "not-found")


def put_raw(api, content, kind="application/json"):
    return api.ask("PUT", PATH, content=content, headers={"Content-Type": kind})


RAW = [
    "{", "", b"\xff\xfe{}", b'{"account":"\xff"}', "[" * 60000, '{"a":' * 9000 + "1" + "}" * 9000,
    '{"ceiling_minor":' + "9" * 60000 + "}", "{}{}", "{'uid':1}", "\x00", "NaN x",
]  # fmt: skip


@pytest.mark.parametrize("content", RAW, ids=lambda one: repr(one)[:30])
def test_a_body_that_is_no_json(refusing, content):
    assert put_raw(refusing, content).status_code in (400, 422)
    problem(refusing.get(PATH), 404, "not-found")


@pytest.mark.parametrize("kind", [
    "text/plain", "application/x-www-form-urlencoded", "application/xml", "", "json",
    "application/json; charset=utf-16", "application/json, text/html", "multipart/form-data",
])  # fmt: skip
def test_a_body_of_another_kind(refusing, kind):
    problem(put_raw(refusing, "{}", kind), 415, "media-type")


def test_a_body_of_ten_megabytes(api):
    problem(put_raw(api, b" " * 10_000_000), 413, "too-large")
    account = '{"account":"a"' + " " * (65536 - 15) + "}"
    assert put_raw(api, account).status_code == 200
    problem(put_raw(api, account + " "), 413, "too-large")


EVIL = ["'; DROP TABLE tokens; --", '" OR ""="', "{{ 7*7 }}", "${7*7}", "<script>alert(1)</script>",
        "%s%n%d", "../../etc/passwd", "\\x00", "=cmd|' /C calc'!A0", "Robert'); --"]  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_text_is_text(api, text):
    assert put(api, {"account": text}).json()["account"] == text
    [found] = api.get("/v1/tokens", params={"account": text}).json()["data"]
    assert found["account"] == text and found["token"] == TOKEN


@pytest.mark.parametrize("token", [
    "9C1F0A6BE24D7E35", "9c1f0a6be24d7e3", "9c1f0a6be24d7e355", "%00" * 16, "'OR'1'='1'--'x'",
    "%ef%bc%90" * 16,
])  # fmt: skip
def test_a_path_that_names_no_token(refusing, token):
    for method, options in (("GET", {}), ("PUT", {"json": {}}), ("DELETE", {})):
        problem(refusing.ask(method, f"/v1/tokens/{token}", **options), 422, "invalid")
