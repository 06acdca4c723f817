"""From a record to the books: who owes, what is VAT, and which authorisation it settles."""

import json

import pytest
from sqlalchemy import select

from host_tests.fakes import books, records
from tillback import billing, ledger
from tillback.db.tables import Alarm, Authorization, AuthorizationChange, News, Token

OTHER = "DE*EVT*E000999"


@pytest.fixture
def database(tmp_path):
    with books.opened(f"sqlite:///{tmp_path}/t.sqlite") as found:
        yield found
        books.sound(found)


def arrive(database, *payloads, **more):
    with database.write() as session:
        books.arrive(session, *payloads, **more)


def hold(database, *auths):
    with database.write() as session:
        session.add_all(auths)


def balances(database):
    with database.read() as session:
        return {name: amount for name, _, amount in ledger.balances(session)}


def alarms(database):
    with database.read() as session:
        return [(one.charger, one.name, one.detail) for one in session.scalars(select(Alarm))]


def auth(database, ref="ref1"):
    with database.read() as session:
        return session.get_one(Authorization, ref)


def line(kind, volume, price_micro, vat_ppm, incl):
    return {"type": kind, "volume": volume, "price_micro": price_micro, "vat_ppm": vat_ppm,
            "excl_minor": 0, "incl_minor": incl}  # fmt: skip


def test_a_bill_is_what_is_owed_and_its_vat_by_rate(database):
    lines = [line("ENERGY", 10000, 500000, 190000, 595), line("FLAT", 1, 1000000, 55000, 106),
             line("TIME", 3600000, 1000000, None, 100)]  # fmt: skip
    arrive(database, books.record(1, gross=801, lines=lines))
    assert balances(database) == {
        f"receivable:{books.TOKEN}": 801, "revenue": -(500 + 100 + 100), "vat:19": -95,
        "vat:5.5": -6,
    }  # fmt: skip


def test_what_is_billed_lower_than_signed_is_booked_lower(database):
    arrive(database, books.record(1), billed=119)
    assert balances(database) == {
        f"receivable:{books.TOKEN}": 119, "revenue": -100, "vat:19": -19,
    }  # fmt: skip


def test_the_account_behind_the_token_owes_or_the_authorisations(database):
    hold(database, Token(token=books.TOKEN, uid=None, account="acme", group=None, flags="",
                         expires_at=None, ceiling_minor=None, ocpi=None, added_at=books.AT),
         books.authorization(account="globex"))  # fmt: skip
    arrive(database, books.record(1), books.record(2, ref="ref1"),
           books.record(3, token="00000000000000ff"))  # fmt: skip
    found = balances(database)
    assert found["receivable:acme"] == found["receivable:globex"] == 720
    assert found["receivable:00000000000000ff"] == 720


def test_a_record_without_token_and_account_is_owed_ad_hoc(database):
    arrive(database, books.record(1, token=None))
    assert balances(database)["receivable:ad_hoc"] == 720


def test_news_are_told_of_each_bill(database):
    arrive(database, books.record(1), books.record(2), billed=700)
    with database.read() as session:
        told = session.scalars(select(News)).all()
    assert [one.kind for one in told] == ["usage_record.billed"] * 2
    assert len({one.id for one in told}) == 2
    assert json.loads(told[0].body) == {
        "record": f"{records.CHARGER}-1", "charger": records.CHARGER, "currency": "EUR",
        "billed_minor": 700, "total_minor": 720, "energy_wh": 12345, "auth_ref": None,
        "amends": None,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["authorised", "charging", "expired", "to_release"])
def test_the_authorisation_that_a_record_names_goes_on(database, state):
    hold(database, books.authorization(state=state))
    arrive(database, books.record(1, ref="ref1"))
    found = auth(database)
    assert (found.state, found.due_at) == ("to_capture", books.AT)
    assert found.record == f"{records.CHARGER}-1"
    assert alarms(database) == []
    with database.read() as session:
        change = session.scalars(select(AuthorizationChange)).one()
        told = session.scalars(select(News).where(News.kind == "authorization.changed")).one()
    assert (change.ref, change.old, change.new) == ("ref1", state, "to_capture")
    assert json.loads(told.body)["new"] == "to_capture"


def test_where_nothing_is_held_the_account_gets_an_invoice(database):
    hold(database, books.authorization(provider="invoice", hold_minor=0, account="acme"))
    arrive(database, books.record(1, ref="ref1"))
    assert auth(database).state == "invoiced"
    assert auth(database).due_at is None
    assert balances(database)["receivable:acme"] == 720


@pytest.mark.parametrize("given, name, detail", [
    ({"ref": "ref2"}, "record_without_authorisation", "ref1 is unknown"),
    ({"charger": OTHER, "account": "acme"}, "record_of_other_charger", f"ref1 is for {OTHER}"),
    ({"state": "released"}, "record_too_late", "ref1 is released"),
    ({"state": "failed"}, "record_too_late", "ref1 is failed"),
    ({"state": "requested"}, "record_too_late", "ref1 is requested"),
])  # fmt: skip
def test_a_record_that_may_not_settle_stays_open_with_an_alarm(database, given, name, detail):
    hold(database, books.authorization(**given))
    arrive(database, books.record(1, ref="ref1"))
    assert alarms(database) == [(records.CHARGER, name, f"{records.CHARGER}-1: {detail}")]
    assert balances(database)[f"receivable:{books.TOKEN}"] == 720
    found = auth(database, given.get("ref", "ref1"))
    assert (found.state, found.record) == (given.get("state", "charging"), None)


@pytest.mark.parametrize("together", [True, False])
def test_a_second_record_settles_nothing(database, together):
    hold(database, books.authorization())
    both = [books.record(seq, ref="ref1") for seq in (1, 2)]
    if together:
        arrive(database, *both)
    else:
        arrive(database, both[0])
        arrive(database, both[1])
    assert auth(database).record == f"{records.CHARGER}-1"
    assert [(name, detail) for _, name, detail in alarms(database)] == [
        ("second_record", f"{records.CHARGER}-2: ref1 is settled by {records.CHARGER}-1")
    ]
    assert balances(database)[f"receivable:{books.TOKEN}"] == 1440


def test_another_currency_than_the_holds_frees_it(database):
    hold(database, books.authorization(currency="SEK"))
    arrive(database, books.record(1, ref="ref1"))
    assert (auth(database).state, auth(database).due_at) == ("to_release", books.AT)
    assert [name for _, name, _ in alarms(database)] == ["record_in_other_currency"]


def amended(seq, amends, gross, **more):
    return books.record(seq, gross=gross, amends=f"{records.CHARGER}-{amends}", **more)


@pytest.mark.parametrize("order", [(1, 2, 3), (1, 3, 2)])
@pytest.mark.parametrize("together", [True, False])
def test_an_amendment_books_the_difference(database, order, together):
    """In whatever order two of the same record come, the newest holds."""
    hold(database, books.authorization())
    payloads = {1: books.record(1, ref="ref1", gross=720), 2: amended(2, 1, 600, ref="ref1"),
                3: amended(3, 1, 119, ref="ref1")}  # fmt: skip
    some = [payloads[seq] for seq in order]
    for batch in [some] if together else [[one] for one in some]:
        arrive(database, *batch)
    assert balances(database) == {
        f"receivable:{books.TOKEN}": 119, "revenue": -100, "vat:19": -19,
    }  # fmt: skip
    assert alarms(database) == []
    assert auth(database).record == f"{records.CHARGER}-1"
    with database.read() as session:
        assert ledger.receivable(session, f"{records.CHARGER}-1") == (
            f"receivable:{books.TOKEN}", 119,
        )  # fmt: skip


def test_an_amendment_of_an_amendment(database):
    arrive(database, books.record(1), amended(2, 1, 600), amended(3, 2, 119))
    assert balances(database)[f"receivable:{books.TOKEN}"] == 119


@pytest.mark.parametrize("together", [True, False])
def test_an_amendment_that_overtakes_what_it_amends_is_billed_once(database, together):
    hold(database, books.authorization())
    first, second = books.record(1, ref="ref1"), amended(2, 1, 119, ref="ref1")
    third = amended(3, 1, 238, ref="ref1")
    for batch in [[second, first, third]] if together else [[second], [first], [third]]:
        arrive(database, *batch)
    assert balances(database)[f"receivable:{books.TOKEN}"] == 238
    assert [name for _, name, _ in alarms(database)] == ["amends_unknown_record"]
    assert auth(database).record == f"{records.CHARGER}-2"


@pytest.mark.parametrize("amends", [f"{OTHER}-1", f"{records.CHARGER}-3", f"{records.CHARGER}-2",
                                    "nothing", f"{records.CHARGER}-" + "9" * 20])  # fmt: skip
def test_only_a_chargers_own_earlier_records_are_amended(database, amends):
    arrive(database, books.record(1, charger=OTHER), books.record(2, amends=amends[:36]))
    assert balances(database)[f"receivable:{books.TOKEN}"] == 1440
    assert [name for _, name, _ in alarms(database)] == ["amends_what_it_may_not"]


def test_a_free_session_is_booked_and_owes_nothing(database):
    hold(database, books.authorization())
    arrive(database, books.record(1, ref="ref1", gross=0), billed=0)
    assert balances(database) == {}
    assert auth(database).state == "to_capture"
    with database.read() as session:
        assert ledger.receivable(session, f"{records.CHARGER}-1") == ("receivable:ad_hoc", 0)


def test_booking_the_same_again_changes_nothing(database):
    hold(database, books.authorization())
    arrive(database, books.record(1, ref="ref1"))
    before = balances(database)
    with database.write() as session:
        billing.book(session, [(books.record(1, ref="ref1"), 720)], books.AT)
    assert (balances(database), alarms(database)) == (before, [])
