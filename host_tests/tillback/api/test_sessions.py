"""Sessions that go on, by what chargers say."""

import datetime
import json

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.test_chargers import add_tariff, say
from tillback.api import sessions as module
from tillback.db.database import stamp
from tillback.db.tables import LiveMeter

LIVE = {"energy_wh": 5120, "duration_ms": 600000, "cost_minor": 299, "power_w": 11040}


def meter(api, charger=records.CHARGER, **changes):
    with api.database.write() as session:
        session.merge(LiveMeter(charger=charger, payload=json.dumps(LIVE | changes).encode(),
                                received_at=stamp(api.now)))  # fmt: skip


def sessions(api, **params):
    return api.get("/v1/sessions", params=params).json()["data"]


def test_a_session_from_beginning_to_end(api):
    api.add_charger()
    assert sessions(api) == []
    say(api, state="charging", tariff_sha256=add_tariff(api))
    [one] = sessions(api)
    assert one["state"] == "charging" and one["energy_wh"] is None and one["metered_at"] is None
    api.now += datetime.timedelta(seconds=10)
    meter(api)
    [one] = sessions(api)
    assert {key: one[key] for key in LIVE} == LIVE
    assert (one["currency"], one["metered_at"]) == ("EUR", stamp(api.now))
    say(api, state="suspended")
    assert sessions(api)[0]["state"] == "suspended"
    say(api, state="available")
    assert sessions(api) == []


def test_what_was_metered_before_the_last_record_is_of_another_session(api):
    api.add_charger()
    meter(api)
    api.now += datetime.timedelta(seconds=10)
    api.add_records(1)
    say(api, state="charging")
    [one] = sessions(api)
    assert one["energy_wh"] is None and one["metered_at"] is None


@pytest.mark.parametrize("odd", [-1, 1.5, "5", None, True, [1], 10**30])
def test_what_a_meter_says_is_not_believed_beyond_its_form(api, odd):
    api.add_charger()
    say(api, state="charging")
    meter(api, energy_wh=odd)
    [one] = sessions(api)
    assert one["energy_wh"] is None and one["power_w"] == 11040


def test_pages_pass_over_chargers_that_stand_idle(api, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    for n in range(9):
        api.add_charger(f"C{n}")
        say(api, f"C{n}", state="charging" if n in (1, 5, 8) else "available")
    page = api.get("/v1/sessions", params={"limit": 2}).json()
    assert [one["charger"] for one in page["data"]] == ["C1", "C5"] and page["has_more"]
    assert [one["charger"] for one in sessions(api, cursor=page["next_cursor"])] == ["C8"]
    assert [one["charger"] for one in sessions(api, charger="C5")] == ["C5"]
    assert sessions(api, charger="C4") == []
