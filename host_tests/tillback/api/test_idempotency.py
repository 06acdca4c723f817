"""A POST that is sent again under its key is carried out once, whatever happens in between."""

import datetime

import pytest

from host_tests.tillback.api.client import problem
from tillback.api import webhook_endpoints
from tillback.api.idempotency import Idempotency
from tillback.db.tables import IdempotentAnswer

PATH = "/v1/webhook-endpoints"
ASKED = {"url": "https://example.com/hook", "kinds": ["*"]}


def endpoints(api):
    return api.get(PATH).json()["data"]


def test_the_same_request_gets_the_same_answer(api):
    first, again = (api.post(PATH, ASKED, "key-1") for _ in range(2))
    assert (first.status_code, first.text) == (201, again.text) and again.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(endpoints(api)) == 1
    assert api.post(PATH, ASKED, "key-2").json()["id"] != first.json()["id"]
    assert api.post(PATH, ASKED).json()["id"] != first.json()["id"]
    assert len(endpoints(api)) == 3


def test_an_error_is_an_answer_too(api):
    wrong = ASKED | {"url": "https://a:b@example.com/"}
    first, again = (api.post(PATH, wrong, "key-1") for _ in range(2))
    problem(first, 422, "invalid")
    assert problem(again, 422, "invalid") == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_another_request_under_the_same_key_is_refused(api):
    assert api.post(PATH, ASKED, "key-1").status_code == 201
    for path, said in ((PATH, ASKED | {"kinds": ["refund.changed"]}), (PATH + "?a=1", ASKED),
                       (f"{PATH}/we_1/ping", ASKED)):  # fmt: skip
        problem(api.post(path, said, "key-1"), 422, "idempotency-key")
    assert len(endpoints(api)) == 1


def test_keys_are_of_their_caller(api):
    mine = api.post(PATH, ASKED, "key-1").json()
    others = api.post(PATH, ASKED, "key-1", key=api.new_key("webhooks:write")).json()
    assert mine["id"] != others["id"]


def test_after_a_day_a_key_is_new(api):
    first = api.post(PATH, ASKED, "key-1")
    api.now += datetime.timedelta(hours=23, minutes=59)
    assert api.post(PATH, ASKED, "key-1").text == first.text
    api.now += datetime.timedelta(minutes=2)
    assert "Idempotent-Replayed" not in api.post(PATH, ASKED, "key-1").headers
    with api.database.read() as session:
        assert session.query(IdempotentAnswer).count() == 1


def test_two_at_the_same_time_are_carried_out_once(api):
    request = ("POST", PATH, {"Idempotency-Key": "key-1"}, {"json": ASKED})
    answers = api.together(*[request] * 8)
    made = [one for one in answers if one.status_code == 201]
    assert made and len({one.text for one in made}) == 1
    for one in answers:
        if one.status_code != 201:
            problem(one, 409, "in-progress")
            assert one.headers["Retry-After"] == "1"
    assert len(endpoints(api)) == 1


class Died(BaseException):
    """The process is no more."""


def died(*_):
    raise Died


def test_who_dies_before_anything_was_done_is_taken_up_again(api, monkeypatch):
    monkeypatch.setattr(webhook_endpoints.webhooks, "new_secret", died)
    with pytest.raises(Died):
        api.post(PATH, ASKED, "key-1")
    monkeypatch.undo()
    problem(api.post(PATH, ASKED, "key-1"), 409, "in-progress")
    assert endpoints(api) == []
    api.now += datetime.timedelta(seconds=61)
    assert api.post(PATH, ASKED, "key-1").status_code == 201
    assert len(endpoints(api)) == 1


def test_who_dies_before_the_answer_is_sent_has_kept_it(api, monkeypatch):
    monkeypatch.setattr(Idempotency, "_end", died)
    with pytest.raises(Died):
        api.post(PATH, ASKED, "key-1")
    monkeypatch.undo()
    again = api.post(PATH, ASKED, "key-1")
    assert again.status_code == 201 and again.headers["Idempotent-Replayed"] == "true"
    assert [one["id"] for one in endpoints(api)] == [again.json()["id"]]


def test_who_is_so_slow_that_another_took_over_does_nothing(api, monkeypatch):
    check, others = webhook_endpoints.webhooks.check_url, []

    def slow(url):
        if not others:
            others.append(None)
            api.now += datetime.timedelta(seconds=61)
            others[0] = api.post(PATH, ASKED, "key-1")
        return check(url)

    monkeypatch.setattr(webhook_endpoints.webhooks, "check_url", slow)
    problem(api.post(PATH, ASKED, "key-1"), 409, "in-progress")
    assert others[0].status_code == 201
    assert [one["id"] for one in endpoints(api)] == [others[0].json()["id"]]
    assert api.post(PATH, ASKED, "key-1").json() == others[0].json()


def test_what_failed_here_may_be_tried_again(api, monkeypatch):
    def breaks():
        raise RuntimeError("a secret")

    monkeypatch.setattr(webhook_endpoints.webhooks, "new_secret", breaks)
    said = problem(api.post(PATH, ASKED, "key-1"), 500, "internal")
    assert said["instance"].startswith("urn:") and "secret" not in str(said)
    monkeypatch.undo()
    assert api.post(PATH, ASKED, "key-1").status_code == 201


def test_what_was_not_allowed_may_be_tried_again(api):
    key = api.new_key("sessions:read")
    problem(api.post(PATH, ASKED, "key-1", key=key), 403, "forbidden")
    with api.database.read() as session:
        assert session.query(IdempotentAnswer).count() == 0


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00e9", "a\tb"])
def test_a_key_that_cannot_be(refusing, key):
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    problem(refusing.ask("POST", PATH, json=ASKED, headers=headers), 422, "invalid")
    assert endpoints(refusing) == []
