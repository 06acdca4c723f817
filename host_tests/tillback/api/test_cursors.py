"""Pages of a list, and cursors that were tampered with."""

import base64

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.client import problem

PATH = "/v1/usage-records"


def test_pages_add_up_to_the_list_and_go_on_with_what_comes_later(api):
    api.add_charger()
    api.add_records(*range(1, 8))
    seen, cursor = [], None
    for more in (True, True, False):
        page = api.get(PATH, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["seq"] for one in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] is more
    assert seen == list(range(1, 8))
    page = api.get(PATH, params={"cursor": cursor}).json()
    assert (page["data"], page["has_more"], page["next_cursor"]) == ([], False, cursor)
    api.add_records(8)
    page = api.get(PATH, params={"cursor": cursor}).json()
    assert [one["seq"] for one in page["data"]] == [8]


@pytest.fixture
def cursor(api):
    api.add_charger()
    api.add_records(1, 2)
    return api.get(PATH, params={"limit": 1}).json()["next_cursor"]


def test_every_bit_of_a_cursor_counts(api, cursor):
    data = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for i in range(8 * len(data)):
        data[i // 8] ^= 1 << i % 8
        forged = base64.urlsafe_b64encode(data).decode().rstrip("=")
        problem(api.get(PATH, params={"cursor": forged}), 400, "cursor")
        data[i // 8] ^= 1 << i % 8


def test_a_cursor_serves_its_own_list_and_caller_alone(api, cursor):
    assert api.get(PATH, params={"cursor": cursor}).status_code == 200
    other = {"cursor": cursor, "charger": records.CHARGER}
    problem(api.get(PATH, params=other), 400, "cursor")
    key = api.new_key("records:read")
    problem(api.get(PATH, params={"cursor": cursor}, key=key), 400, "cursor")


@pytest.mark.parametrize("value", ["AAAA", "x", "1", "-", "_" * 400])
def test_what_is_no_cursor(refusing, value):
    problem(refusing.get(PATH, params={"cursor": value}), 400, "cursor")


@pytest.mark.parametrize("query", [
    "cursor=", "cursor=%00", "cursor=a%27", "cursor=" + "A" * 401, "limit=0", "limit=501",
    "limit=-1", "limit=1e1", "limit=" + "9" * 5000, "limit=x",
])  # fmt: skip
def test_a_page_that_cannot_be(refusing, query):
    problem(refusing.get(f"{PATH}?{query}"), 422, "invalid")
