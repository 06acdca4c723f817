"""Authorisations: who may charge, and what may be done with one when."""

import datetime
import json

import pytest
from sqlalchemy import select

from host_tests.fakes import books, records
from tillback.db.tables import Authorization, AuthorizationChange, News, Token
from tillback.payments import authorizations, states
from tillback.payments.authorizations import Asked
from tillback.payments.states import PaymentError

AT = datetime.datetime(2026, 3, 2, 7, 0, tzinfo=datetime.UTC)
HELD = Asked("card", "EUR", records.CHARGER, provider="simulated", hold_minor=5000, source="pm_1")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with books.opened(f"sqlite:///{tmp_path_factory.mktemp('auth')}/t.sqlite") as found:
        yield found


@pytest.fixture
def session(database):
    """One that is never committed."""
    with database.read() as found:
        yield found


def later(s):
    return AT + datetime.timedelta(seconds=s)


def token(**changes):
    return Token(**{"token": books.TOKEN, "uid": None, "account": "acme", "group": None,
                    "flags": "", "expires_at": None, "ceiling_minor": None, "ocpi": None,
                    "added_at": books.AT} | changes)  # fmt: skip


def test_an_invoice_is_authorised_at_once_and_a_hold_is_asked_for(session):
    one = authorizations.create(session, Asked("rfid", "EUR", records.CHARGER, account="a"), AT)
    assert (one.state, one.due_at, one.hold_minor) == ("authorised", one.expires_at, 0)
    other = authorizations.create(session, HELD, AT)
    assert (other.state, other.due_at) == ("requested", "2026-03-02T07:00:00.000Z")
    assert (other.hold_minor, other.ceiling_minor, other.source) == (5000, 5000, "pm_1")
    assert other.expires_at == "2026-03-02T07:15:00.000Z"
    assert one.ref != other.ref
    assert all(len(ref) <= 36 and ref.isalnum() for ref in (one.ref, other.ref))
    changes = session.scalars(select(AuthorizationChange)).all()
    assert [(row.ref, row.old, row.new) for row in changes] == [
        (one.ref, None, "authorised"), (other.ref, None, "requested"),
    ]  # fmt: skip
    told = [json.loads(row.body)["new"] for row in session.scalars(select(News))]
    assert told == ["authorised", "requested"]


@pytest.mark.parametrize("changes, why", [
    ({"method": "cash"}, "method"), ({"currency": "eur"}, "currency"), ({"currency": "EURO"}, "c"),
    ({"charger": "nobody"}, "no charger 'nobody'"), ({"hold_minor": 0}, "hold_minor: want 1 to"),
    ({"hold_minor": 100_000_001}, "hold_minor"), ({"ceiling_minor": 5001}, "ceiling_minor"),
    ({"ceiling_minor": 0}, "ceiling_minor"), ({"provider": "invoice"}, "an invoice holds nothing"),
    ({"life_s": 0}, "life_s"), ({"life_s": 86401}, "life_s"),
])  # fmt: skip
def test_what_cannot_be_is_refused(session, changes, why):
    with pytest.raises(PaymentError, match=why):
        authorizations.create(session, Asked(**vars(HELD) | changes), AT)
    assert session.scalars(select(Authorization)).all() == []


@pytest.mark.parametrize("known, status, ceiling", [
    (None, "NOT_ALLOWED", None), ({}, "ALLOWED", None),
    ({"ceiling_minor": 3000}, "ALLOWED", 3000), ({"flags": "ask"}, "ALLOWED", None),
    ({"flags": "ask blocked"}, "BLOCKED", None), ({"flags": "prepaid"}, "NO_CREDIT", None),
    ({"ceiling_minor": 0}, "NO_CREDIT", None),
    ({"expires_at": "2026-03-02T07:00:00.001Z"}, "ALLOWED", None),
    ({"expires_at": "2026-03-02T07:00:00.000Z"}, "EXPIRED", None),
])  # fmt: skip
def test_who_may_charge(session, known, status, ceiling):
    if known is not None:
        session.add(token(**known))
    verdict = authorizations.for_token(session, books.TOKEN, records.CHARGER, "EUR", AT)
    assert verdict.status == status
    if status != "ALLOWED":
        assert verdict.authorization is None
        assert session.scalars(select(Authorization)).all() == []
        return
    one = verdict.authorization
    assert (one.state, one.method, one.provider) == ("authorised", "rfid", "invoice")
    assert (one.token, one.account, one.ceiling_minor) == (books.TOKEN, "acme", ceiling)


def test_only_one_that_is_authorised_in_time_begins(session):
    asked = Asked("rfid", "EUR", records.CHARGER, life_s=60)
    one = authorizations.create(session, asked, AT)
    with pytest.raises(PaymentError, match="has expired"):
        authorizations.begin(session, one.ref, later(60))
    for _ in range(2):
        assert authorizations.begin(session, one.ref, later(59)).state == "charging"
    assert one.due_at is None
    with pytest.raises(PaymentError, match="is requested, and cannot be charging"):
        authorizations.begin(session, authorizations.create(session, HELD, AT).ref, AT)


def test_a_cancelled_hold_is_given_back_and_an_invoice_is_over(session):
    held = authorizations.create(session, HELD, AT)
    one = authorizations.create(session, Asked("rfid", "EUR"), AT)
    for _ in range(2):
        assert authorizations.cancel(session, held.ref, "no car", AT).state == "to_release"
        assert authorizations.cancel(session, one.ref, "no car", AT).state == "released"
    assert (held.due_at, one.due_at) == ("2026-03-02T07:00:00.000Z", None)
    assert held.reason == "no car"


@pytest.mark.parametrize("state", sorted(states.TRANSITIONS))
def test_what_may_have_begun_is_not_cancelled(session, state):
    session.add(books.authorization(state=state))
    for call, may in (
        (authorizations.cancel, ("requested", "authorised")),
        (authorizations.not_started, ("requested", "authorised", "charging", "expired")),
    ):
        session.get_one(Authorization, "ref1").state = state
        if state in may:
            assert call(session, "ref1", "", AT).state == "to_release"
        elif state in ("to_release", "released"):
            assert call(session, "ref1", "", AT).state == state
        else:
            with pytest.raises(PaymentError, match=f"is {state}, and cannot be cancelled"):
                call(session, "ref1", "", AT)


@pytest.mark.parametrize("call, more", [
    (authorizations.get, ()), (authorizations.begin, (AT,)), (authorizations.cancel, ("", AT)),
])  # fmt: skip
def test_an_unknown_reference_is_said_to_be(session, call, more):
    with pytest.raises(authorizations.UnknownAuthorization, match="no authorisation 'x; DROP"):
        call(session, "x; DROP TABLE authorizations", *more)


def test_every_state_leads_to_known_ones():
    for state, following in states.TRANSITIONS.items():
        assert following <= set(states.TRANSITIONS), state
    assert set(states.OPEN) | set(states.TAKEN) <= set(states.TRANSITIONS)
