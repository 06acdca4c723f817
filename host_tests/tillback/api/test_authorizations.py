"""Who may charge: chargers ask for cards, others on accounts or with a hold."""

import json

import pytest

from evtill.core.errors import LinkError
from evtill.core.tokens import PREPAID
from evtill.net import payment_api
from host_tests.fakes import records
from host_tests.tillback.api.client import Api, problem
from tillback.db.tables import Authorization
from tillback.payments import prepaid

PATH = "/v1/authorizations"
TOKEN = "9c1f0a6be24d7e35"
ASKED = {"charger": records.CHARGER, "token": TOKEN, "currency": "EUR"}
ON_ACCOUNT = {"method": "app", "account": "acme", "charger": records.CHARGER, "currency": "EUR"}


@pytest.fixture
def own(api):
    """A charger's own key."""
    api.add_charger()
    return api.new_key("authorizations:write", charger=records.CHARGER)


def known(api, **said):
    assert api.ask("PUT", f"/v1/tokens/{TOKEN}", json=said).status_code == 200


def as_the_charger_reads_it(answer):
    return payment_api.parse(answer.status_code, answer.content, "EUR")


def test_a_charger_asks_for_a_card(api, own):
    known(api, account="acme", ceiling_minor=2500)
    answer = api.post(PATH, ASKED, "0" * 32, key=own)
    assert answer.status_code == 201
    allowed, text, ref, ceiling, flags = as_the_charger_reads_it(answer)
    assert (allowed, text, ceiling, flags) == (True, None, 2500, 0)
    again = api.post(PATH, ASKED, "0" * 32, key=own)  # it did not hear the answer
    assert as_the_charger_reads_it(again)[2] == ref
    said = api.get(f"{PATH}/{ref}").json()
    assert (said["token"], said["account"], said["method"]) == (TOKEN, "acme", "rfid")
    assert said["state"] == "authorised" and said["hold_minor"] == 0
    assert [one["new"] for one in said["changes"]] == ["authorised"]
    with api.database.read() as session:
        assert session.query(Authorization).count() == 1


@pytest.mark.parametrize("said, verdict", [
    (None, "NOT_ALLOWED"), ({"flags": ["blocked"]}, "BLOCKED"),
    ({"expires_at": "2026-03-02T11:59:59Z"}, "EXPIRED"), ({"flags": ["prepaid"]}, "NO_CREDIT"),
])  # fmt: skip
def test_a_card_that_may_not_charge(api, own, said, verdict):
    if said is not None:
        known(api, **said)
    answer = api.post(PATH, ASKED, key=own)
    assert (answer.status_code, answer.json()["status"]) == (200, verdict)
    assert as_the_charger_reads_it(answer) == (False, payment_api.VERDICTS[verdict], None, None, 0)


def test_a_prepaid_card_reserves_of_what_its_account_has_paid_in(api, own):
    known(api, account="acme", flags=["prepaid", "ask"])
    with api.database.write() as session:
        prepaid.top_up(session, "acme", 1600, "EUR", "bank 1", "2026-03-02T12:00:00.000Z")
    for ceiling in (1000, 600):
        answer = api.post(PATH, ASKED, key=own)
        allowed, _, ref, most, flags = as_the_charger_reads_it(answer)
        assert (allowed, most, flags) == (True, ceiling, PREPAID)
        said = api.get(f"{PATH}/{ref}").json()
        assert (said["method"], said["provider"], said["hold_minor"]) == (
            "prepaid", "prepaid", ceiling,
        )  # fmt: skip
        assert api.post(f"{PATH}/{ref}/cancel").status_code == 409
    assert as_the_charger_reads_it(api.post(PATH, ASKED, key=own))[0] is False


def test_what_a_charger_hears_fits_its_room(api, own):
    """net.https: headers and body in 2048 bytes, no Location, no chunks."""
    known(api, account="x" * 200, ceiling_minor=100_000_000)
    answer = api.post(PATH, ASKED, key=own)
    size = len(answer.content) + sum(len(k) + len(v) + 4 for k, v in answer.headers.raw)
    assert size < 1024
    assert not {"location", "transfer-encoding"} & set(answer.headers)
    with pytest.raises(LinkError):
        as_the_charger_reads_it(api.post(PATH, ASKED, key=""))


def test_a_charger_speaks_for_itself_alone_and_asks_for_cards_alone(api, own):
    api.add_charger("DE*OTHER")
    known(api, account="acme")
    problem(api.post(PATH, ASKED | {"charger": "DE*OTHER"}, key=own), 403, "forbidden")
    problem(api.post(PATH, ON_ACCOUNT, key=own), 403, "forbidden")
    problem(api.post(PATH, ASKED | {"ceiling_minor": 5}, key=own), 422, "invalid")
    ref = api.post(PATH, ON_ACCOUNT | {"charger": "DE*OTHER"}).json()["ref"]
    problem(api.post(f"{PATH}/{ref}/cancel", key=own), 403, "forbidden")
    problem(api.get(f"{PATH}/{ref}", key=own), 403, "forbidden")
    assert api.get(f"{PATH}/{ref}").json()["state"] == "authorised"


def test_an_app_on_an_account_from_beginning_to_cancel(api):
    api.add_charger()
    made = api.post(PATH, ON_ACCOUNT | {"ceiling_minor": 3000, "life_s": 60})
    said = made.json()
    assert (made.status_code, said["status"], said["state"]) == (201, "ALLOWED", "authorised")
    assert said["expires_at"] == "2026-03-02T12:01:00.000Z"
    path = f"{PATH}/{said['ref']}"
    for _ in range(2):  # a second time is no error
        answer = api.post(path + "/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "released")
    changes = api.get(path).json()["changes"]
    assert [(one["old"], one["new"]) for one in changes] == [
        (None, "authorised"), ("authorised", "released"),
    ]  # fmt: skip


def test_a_session_that_has_begun_cannot_be_cancelled(api):
    api.add_charger()
    ref = api.post(PATH, ON_ACCOUNT).json()["ref"]
    with api.database.write() as session:
        session.get(Authorization, ref).state = "charging"
    problem(api.post(f"{PATH}/{ref}/cancel"), 409, "conflict")


def test_a_card_waits_for_its_hold(tmp_path):
    api = Api(tmp_path, provider="stripe")
    api.add_charger()
    card = {"method": "card", "currency": "EUR", "charger": records.CHARGER, "hold_minor": 5000}
    said = api.post(PATH, card).json()
    assert (said["status"], said["state"], said["ceiling_minor"]) == ("PENDING", "requested", 5000)
    found = api.get(f"{PATH}/{said['ref']}").json()
    assert (found["provider"], found["hold_minor"]) == ("stripe", 5000)
    api.database.close()


WRONG = [
    {}, {"currency": "EUR"}, {"currency": "EUR", "token": TOKEN},
    {"currency": "EUR", "charger": records.CHARGER}, ASKED | {"currency": "eur"},
    ASKED | {"currency": "EURO"}, ASKED | {"token": TOKEN.upper()}, ASKED | {"token": None},
    ASKED | {"charger": 7}, ASKED | {"uid": "04A2243B6C5E80"},
    ON_ACCOUNT | {"account": None}, ON_ACCOUNT | {"account": ""}, ON_ACCOUNT | {"method": "cash"},
    ON_ACCOUNT | {"ceiling_minor": 0}, ON_ACCOUNT | {"ceiling_minor": 100_000_001},
    ON_ACCOUNT | {"ceiling_minor": True}, ON_ACCOUNT | {"hold_minor": 100},
    ON_ACCOUNT | {"life_s": 59}, ON_ACCOUNT | {"life_s": 86401}, ON_ACCOUNT | {"method": "prepaid"},
    {"method": "card", "currency": "EUR"}, {"method": "card", "currency": "EUR", "hold_minor": 0},
    {"method": "card", "currency": "EUR", "source": "4242 4242 4242 4242", "hold_minor": 100},
    ON_ACCOUNT | {"charger": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("said", WRONG, ids=lambda one: repr(one)[-60:])
def test_what_cannot_be_asked(refusing, said):
    headers = {"Content-Type": "application/json"}
    answer = refusing.ask("POST", PATH, content=json.dumps(said), headers=headers)
    problem(answer, 422, "invalid")
    with refusing.database.read() as session:
        assert session.query(Authorization).count() == 0


@pytest.mark.parametrize("said", [
    ASKED | {"charger": "DE*NONE"}, ON_ACCOUNT | {"charger": "'; DROP TABLE chargers; --"},
    {"method": "card", "currency": "EUR", "hold_minor": 100},
])  # fmt: skip
def test_what_does_not_go_with_how_things_stand(api, said):
    known(api, account="acme")
    problem(api.post(PATH, said), 409, "conflict")
    with api.database.read() as session:
        assert session.query(Authorization).count() == 0


def test_what_is_not_there(api):
    problem(api.get(f"{PATH}/nobody"), 404, "not-found")
    problem(api.post(f"{PATH}/nobody/cancel"), 404, "not-found")
    problem(api.get(f"{PATH}/a%20b"), 422, "invalid")
