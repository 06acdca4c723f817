"""Holds: made, taken, given back, run out."""

import pytest
import stripe

from host_tests.stripe_edge.cards import HOLD_S

DAY_S = 24 * 3600
UNEXPECTED = "payment_intent_unexpected_state"


def charge(sdk, intent):
    return sdk.v1.charges.retrieve(
        sdk.v1.payment_intents.retrieve(intent.id).latest_charge,
        params={"expand": ["balance_transaction", "refunds"]},
    )


def test_a_hold(stripe_edge, sdk, hold):
    intent = hold(metadata={"ref": "a1"}, description="Charging")
    assert intent.status == "requires_capture"
    assert (intent.amount_capturable, intent.amount_received) == (5000, 0)
    assert (intent.metadata.to_dict(), intent.description) == ({"ref": "a1"}, "Charging")
    held = charge(sdk, intent)
    assert (held.captured, held.amount_captured, held.balance_transaction) == (False, 0, None)
    assert held.payment_method_details.card.last4 == "4242"
    assert [event["type"] for event in stripe_edge.events()] == [
        "payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated",
    ]  # fmt: skip


def test_a_part_is_taken_and_the_rest_released(stripe_edge, sdk, hold):
    intent = hold()
    done = sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 1234})
    assert (done.status, done.amount_received, done.amount_capturable) == ("succeeded", 1234, 0)
    taken = charge(sdk, intent)
    assert (taken.amount, taken.amount_captured, taken.amount_refunded) == (5000, 1234, 3766)
    assert not taken.refunded
    booked = taken.balance_transaction
    assert (booked.amount, booked.fee, booked.net) == (1234, 44, 1190)  # 1.5 % + 0.25, half up
    [rest] = taken.refunds.data  # Stripe lists it as a refund: nobody asked for it
    assert (rest.amount, rest.balance_transaction, rest.metadata.to_dict()) == (3766, None, {})
    assert [one.amount for one in sdk.v1.balance_transactions.list().data] == [1234]
    assert {event["type"] for event in stripe_edge.events()} >= {
        "charge.captured", "charge.refunded", "payment_intent.succeeded",
    }  # fmt: skip


def test_a_whole_hold_is_taken(sdk, hold):
    intent = hold()
    assert sdk.v1.payment_intents.capture(intent.id).amount_received == 5000
    assert charge(sdk, intent).amount_refunded == 0


def test_a_fee_may_be_booked_later(stripe_edge, sdk, hold):
    stripe_edge.account.late_fees = True
    intent = hold()
    sdk.v1.payment_intents.capture(intent.id)
    assert charge(sdk, intent).balance_transaction is None
    assert sdk.v1.balance_transactions.list().data == []
    stripe_edge.book_fees()
    assert charge(sdk, intent).balance_transaction.fee == 100
    [event] = stripe_edge.events("charge.updated")
    assert event["data"]["object"]["balance_transaction"].startswith("txn_")


@pytest.mark.parametrize(
    "amount, currency, code",
    [
        (5001, "eur", "amount_too_large"), (49, "eur", "amount_too_small"),
        (0, "eur", "parameter_invalid_integer"), (1235, "kwd", None),
        (1230, "isk", "invalid_charge_amount_no_decimal_compatible"),
    ],
)  # fmt: skip
def test_an_amount_that_cannot_be_taken(sdk, hold, amount, currency, code):
    intent = hold(currency=currency)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": amount})
    assert refused.value.param == "amount_to_capture"
    assert refused.value.code == code
    assert sdk.v1.payment_intents.retrieve(intent.id).amount_capturable == 5000


@pytest.mark.parametrize(
    "amount, currency",
    [(0, "eur"), (-1, "eur"), (49, "eur"), (10**8, "eur"), (150, "ugx"), (500, "€")],
)
def test_an_amount_that_cannot_be_held(sdk, hold, amount, currency):
    with pytest.raises(stripe.InvalidRequestError):
        hold(amount=amount, currency=currency)
    assert sdk.v1.payment_intents.list().data == []


@pytest.mark.parametrize("how", ["captured", "cancelled", "expired", "unpaid"])
def test_only_what_is_held_is_taken(stripe_edge, sdk, hold, how):
    intent = hold() if how != "unpaid" else hold(confirm=False)
    if how == "captured":
        sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 900})
    elif how == "cancelled":
        sdk.v1.payment_intents.cancel(intent.id)
    elif how == "expired":
        stripe_edge.advance(8 * DAY_S)
    before = sdk.v1.payment_intents.retrieve(intent.id).amount_received
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sdk.v1.payment_intents.capture(intent.id)
    assert refused.value.code == UNEXPECTED
    assert sdk.v1.payment_intents.retrieve(intent.id).amount_received == before


def test_a_hold_is_given_back(stripe_edge, sdk, hold):
    intent = hold()
    done = sdk.v1.payment_intents.cancel(
        intent.id, params={"cancellation_reason": "requested_by_customer"}
    )
    assert (done.status, done.amount_capturable) == ("canceled", 0)
    assert done.cancellation_reason == "requested_by_customer"
    released = charge(sdk, intent)
    assert (released.refunded, released.captured) == (True, False)
    [event] = stripe_edge.events("payment_intent.canceled")
    assert event["data"]["object"]["canceled_at"] == done.canceled_at
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sdk.v1.payment_intents.cancel(intent.id)
    assert refused.value.code == UNEXPECTED


def test_what_was_taken_cannot_be_given_back_so(sdk, hold):
    intent = hold()
    sdk.v1.payment_intents.capture(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        sdk.v1.payment_intents.cancel(intent.id)


@pytest.mark.parametrize(
    "more, kind",
    [
        ({}, ("customer", "visa")),
        ({"off_session": True}, ("merchant", "visa")),
        ({"off_session": True, "payment_method": "pm_card_mastercard"}, ("merchant", "mastercard")),
    ],
)
def test_a_hold_runs_out_when_its_charge_says(stripe_edge, sdk, hold, more, kind):
    intent = hold(**more)
    held = charge(sdk, intent)
    assert held.payment_method_details.card.capture_before == held.created + HOLD_S[kind]
    stripe_edge.advance(HOLD_S[kind] - 60)
    assert sdk.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    stripe_edge.advance(61)
    over = sdk.v1.payment_intents.retrieve(intent.id)
    assert (over.status, over.cancellation_reason) == ("canceled", "automatic")
    types = [event["type"] for event in stripe_edge.events()]
    assert types[-2:] == ["charge.expired", "payment_intent.canceled"]


def test_a_test_says_how_long_a_hold_lasts(stripe_edge, sdk, hold):
    stripe_edge.account.hold_s = 600
    intent = hold()
    stripe_edge.advance(601)
    assert sdk.v1.payment_intents.retrieve(intent.id).status == "canceled"


def test_what_was_taken_does_not_run_out(stripe_edge, sdk, hold):
    intent = hold()
    sdk.v1.payment_intents.capture(intent.id)
    stripe_edge.advance(30 * DAY_S)
    assert sdk.v1.payment_intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    "method, code, why",
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ],
)
def test_a_bank_says_no(stripe_edge, sdk, hold, method, code, why):
    with pytest.raises(stripe.CardError) as refused:
        hold(payment_method=method)
    assert (refused.value.code, refused.value.error.decline_code) == (code, why)
    id = refused.value.error.payment_intent.id
    failed = sdk.v1.payment_intents.retrieve(id, params={"expand": ["latest_charge"]})
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == code
    assert failed.latest_charge.status == "failed"
    assert len(stripe_edge.events("payment_intent.payment_failed")) == 1
    other = sdk.v1.payment_intents.confirm(id, params={"payment_method": "pm_card_visa"})
    assert (other.status, other.last_payment_error) == ("requires_capture", None)
    assert other.latest_charge != failed.latest_charge.id
    assert sdk.v1.payment_intents.capture(id).amount_received == 5000


def test_a_payment_without_a_hold(stripe_edge, hold):
    intent = hold(capture_method="automatic")
    assert (intent.status, intent.amount_received) == ("succeeded", 5000)
    assert stripe_edge.object(intent.latest_charge)["captured"]


def test_a_payment_that_might_redirect_needs_a_way_back(hold):
    automatic = {"enabled": True}
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        hold(payment_method_types=[], automatic_payment_methods=automatic)
    assert hold(payment_method_types=[], return_url="http://127.0.0.1/back",
                automatic_payment_methods=automatic).status == "requires_capture"  # fmt: skip


def test_metadata_is_merged(sdk, hold):
    intent = hold(metadata={"a": "1", "b": "2"})
    done = sdk.v1.payment_intents.update(intent.id, params={"metadata": {"b": "", "c": "3"}})
    assert done.metadata.to_dict() == {"a": "1", "c": "3"}


def test_lists_go_page_by_page(sdk, hold):
    ids = [hold().id for _ in range(3)][::-1]
    first = sdk.v1.payment_intents.list(params={"limit": 2})
    assert ([one.id for one in first.data], first.has_more) == (ids[:2], True)
    assert [one.id for one in first.auto_paging_iter()] == ids


def test_a_list_of_a_time(stripe_edge, sdk, hold):
    hold()
    stripe_edge.advance(60)
    made = hold()
    later = sdk.v1.payment_intents.list(params={"created": {"gte": made.created}}).data
    assert [one.id for one in later] == [made.id]
    assert len(sdk.v1.payment_intents.list(params={"created": {"lte": made.created}}).data) == 2


@pytest.mark.parametrize("id", ["pi_none", "ch_none", "x"])
def test_what_is_not_there(sdk, id):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sdk.v1.payment_intents.retrieve(id)
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 5000}, {"colour": "red"}, {"automatic_payment_methods": {"x": "y"}},
        {"metadata": {"k" * 41: "v"}}, {"metadata": {"k": "v" * 501}},
        {"metadata": {str(n) + "k": "v" for n in range(51)}}, {"confirm": "perhaps"},
        {"payment_method": "pm_none"}, {"expand": ["nothing"]},
    ],
)  # fmt: skip
def test_parameters_that_are_wrong(sdk, params):
    need = {} if "amount" in params else {"amount": 500, "currency": "eur"}
    with pytest.raises(stripe.InvalidRequestError):
        sdk.v1.payment_intents.create(params={**need, **params})
