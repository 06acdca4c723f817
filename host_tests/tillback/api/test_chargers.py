"""Chargers as they say of themselves, and their price now by the tariff that they name."""

import datetime
import hashlib
import json

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.client import problem
from tillback.db.database import stamp
from tillback.db.tables import Status, Tariff
from tillctl.tariff_compile import compile_tariff

PATH = f"/v1/chargers/{records.CHARGER}"
SAID = {"state": "available", "firmware": "0.3.0", "boot": 7, "nonce": "ab", "clock": "S",
        "journal_used_pct": 12, "records_waiting": 3, "tariff_sha256": None,
        "tokens_sha256": None}  # fmt: skip


def component(kind, price, vat=19.0, step=1):
    return {"type": kind, "price": price, "vat": vat, "step_size": step}


# Monday 2 March 2026, 12:00 UTC is 13:00 in Berlin.
OCPI = {
    "country_code": "DE", "party_id": "EVT", "id": "T1", "currency": "EUR", "type": "REGULAR",
    "last_updated": "2026-01-01T00:00:00Z",
    "elements": [
        {"price_components": [component("ENERGY", 0.49), component("FLAT", 1.0)],
         "restrictions": {"start_time": "08:00", "end_time": "20:00"}},
        {"price_components": [component("ENERGY", 0.29)]},
        {"price_components": [component("PARKING_TIME", 6.0, 19.0, 60)]},
    ],
    "max_price": {"excl_vat": 50.0, "incl_vat": 59.5},
}  # fmt: skip


def say(api, charger=records.CHARGER, **changes):
    with api.database.write() as session:
        session.add(Status(charger=charger, payload=json.dumps(SAID | changes).encode(),
                           received_at=stamp(api.now)))  # fmt: skip


def add_tariff(api, ocpi=None):
    table = bytes(compile_tariff(ocpi or OCPI, "Europe/Berlin", 2026))
    sha256 = hashlib.sha256(table).hexdigest()
    with api.database.write() as session:
        session.add(Tariff(sha256=sha256, id="T1", currency="EUR", table=table, source=None,
                           added_at=stamp(api.now)))  # fmt: skip
    return sha256


def test_a_charger_that_has_said_nothing(api):
    api.add_charger()
    said = api.get(PATH).json()
    assert said["id"] == records.CHARGER and said["registered_at"] == stamp(api.now)
    assert {said[key] for key in said if key not in ("id", "registered_at")} == {None}


def test_its_state_is_its_last_one(api):
    api.add_charger()
    say(api, state="charging")
    api.now += datetime.timedelta(minutes=1)
    say(api, state="available")
    said = api.get(PATH).json()
    assert (said["state"], said["state_at"]) == ("available", stamp(api.now))
    assert (said["firmware"], said["clock"], said["records_waiting"]) == ("0.3.0", "S", 3)
    assert said["seen_at"] == stamp(api.now)
    api.now += datetime.timedelta(minutes=1)
    api.add_records(1)
    assert api.get(PATH).json()["seen_at"] == stamp(api.now)


def test_its_price_now_as_numbers_and_in_words(api):
    """By hand: 0.49 + 19 % = 0.5831; 1.00 + 19 % = 1.19; 6.00 an hour + 19 % = 0.119 a minute."""
    api.add_charger()
    say(api, tariff_sha256=add_tariff(api))
    said = api.get(PATH).json()["price"]
    assert said["currency"] == "EUR"
    assert said["components"] == [
        {"type": "ENERGY", "price_micro": 490000, "vat_ppm": 190000, "step": 1},
        {"type": "PARKING_TIME", "price_micro": 6000000, "vat_ppm": 190000, "step": 60},
        {"type": "FLAT", "price_micro": 1000000, "vat_ppm": 190000, "step": 0},
    ]
    assert said["words"] == ["0.5831 €/kWh", "0.119 €/min idle", "1.19 €/session",
                             "at most 59.50 €", "until 20:00"]  # fmt: skip
    assert (said["max_excl_micro"], said["max_incl_micro"]) == (50_000_000, 59_500_000)
    assert said["until_s"] == int(datetime.datetime.fromisoformat(
        "2026-03-02T20:00:00+01:00").timestamp())  # fmt: skip
    api.now += datetime.timedelta(hours=8)
    said = api.get(PATH).json()["price"]
    assert said["components"][0]["price_micro"] == 290000 and said["words"][0] == "0.3451 €/kWh"


@pytest.mark.parametrize("language", ["de", "fr", "nl", "es"])
def test_its_price_in_other_languages(api, language):
    api.add_charger()
    say(api, tariff_sha256=add_tariff(api))
    said = api.get(PATH, params={"language": language}).json()["price"]["words"]
    assert said[0].startswith("0,5831 €") and "until 20:00" not in said and len(said) == 5


def test_a_tariff_that_is_not_valid_now_has_no_price(api):
    api.add_charger()
    sha256 = add_tariff(api, OCPI | {"start_date_time": "2030-01-01T00:00:00Z"})
    say(api, tariff_sha256=sha256)
    said = api.get(PATH).json()
    assert said["tariff"] == {"id": "T1", "sha256": sha256} and said["price"] is None


ODD = [
    {"state": "' OR 1=1"}, {"state": 7}, {"state": ["charging"]}, {"firmware": "x" * 65},
    {"firmware": "\u001b[2J"}, {"firmware": 1}, {"clock": "SS"}, {"records_waiting": -1},
    {"records_waiting": 1.5}, {"records_waiting": True}, {"records_waiting": 10**30},
    {"tariff_sha256": ["a"]}, {"tariff_sha256": {"a": 1}}, {"journal_used_pct": "12"},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_what_it_says_is_not_believed_beyond_its_form(api, odd):
    api.add_charger()
    say(api, **odd)
    answer = api.get(PATH)
    assert answer.status_code == 200
    [name] = odd
    assert answer.json().get(name) is None


def test_the_list(api):
    for n in range(3):
        api.add_charger(f"DE*EVT*E{n}")
    say(api, "DE*EVT*E1", state="offline")
    page = api.get("/v1/chargers", params={"limit": 2}).json()
    assert [(one["id"], one["state"]) for one in page["data"]] == [
        ("DE*EVT*E0", None), ("DE*EVT*E1", "offline"),
    ]  # fmt: skip
    rest = api.get("/v1/chargers", params={"cursor": page["next_cursor"]}).json()
    assert [one["id"] for one in rest["data"]] == ["DE*EVT*E2"] and not rest["has_more"]


def test_what_is_not_there(api):
    problem(api.get(PATH), 404, "not-found")
    problem(api.get("/v1/chargers/a+b"), 422, "invalid")
    problem(api.get("/v1/chargers", params={"language": "xx"}), 422, "invalid")
    problem(api.get("/v1/chargers", params={"language": "../x"}), 422, "invalid")
