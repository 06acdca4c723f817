"""Money that goes back."""

import pytest
import stripe


@pytest.fixture
def captured(sdk, hold):
    """Makes a payment of EUR 12.34 out of a hold of 50.00."""

    def make(**other):
        intent = hold(**other)
        return sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 1234})

    return make


def refund(sdk, intent, **params):
    return sdk.v1.refunds.create(params={"payment_intent": intent.id, **params})


def test_refunds_sum_to_what_was_taken(stripe_edge, sdk, captured):
    intent = captured()
    part = refund(sdk, intent, amount=234, reason="requested_by_customer", metadata={"ref": "r1"})
    assert (part.status, part.amount, part.metadata.to_dict()) == ("succeeded", 234, {"ref": "r1"})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as refused:
        refund(sdk, intent, amount=1001)
    assert refused.value.param == "amount"
    assert refund(sdk, intent).amount == 1000
    for amount in ({}, {"amount": 1}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            refund(sdk, intent, **amount)
        assert refused.value.code == "charge_already_refunded"
    charge = stripe_edge.object(intent.latest_charge)
    assert (charge["refunded"], charge["amount_refunded"]) == (True, 5000)
    back = sdk.v1.balance_transactions.list(params={"type": "refund"}).data
    assert [(one.amount, one.fee) for one in back] == [(-1000, 0), (-234, 0)]


def test_a_refund_is_found_by_its_metadata(sdk, captured):
    one, other = captured(), captured()
    made = refund(sdk, one, amount=100, metadata={"ref": "r1"})
    refund(sdk, other, amount=100, metadata={"ref": "r1"})
    there = sdk.v1.refunds.list(params={"payment_intent": one.id}).auto_paging_iter()
    assert [it.id for it in there if it.metadata.to_dict().get("ref") == "r1"] == [made.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:  # as Stripe has no such filter
        sdk.v1.refunds.list(params={"metadata": {"ref": "r1"}})
    assert refused.value.code == "parameter_unknown"


def test_of_a_hold_nothing_goes_back(sdk, hold):
    intent = hold()
    for state in ("held", "cancelled"):
        with pytest.raises(stripe.InvalidRequestError):
            refund(sdk, intent)
        if state == "held":
            sdk.v1.payment_intents.cancel(intent.id)


@pytest.mark.parametrize(
    "params",
    [{"amount": 0}, {"amount": -5}, {"amount": "x"}, {"reason": "why not"}, {"charge": "ch_1"}],
)
def test_a_refund_that_is_wrong(stripe_edge, sdk, captured, params):
    intent = captured()
    with pytest.raises(stripe.InvalidRequestError):
        refund(sdk, intent, **params)
    assert stripe_edge.events("refund.created") == []


def test_whole_units_only_where_a_currency_has_no_others(sdk, hold):
    intent = hold(currency="isk", amount=50000)
    sdk.v1.payment_intents.capture(intent.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(sdk, intent, amount=150)
    assert refused.value.code == "invalid_charge_amount_no_decimal_compatible"


def test_a_refund_comes_back(stripe_edge, sdk, captured):
    intent = captured()
    made = refund(sdk, intent)
    stripe_edge.settle_refund(made.id, "failed")
    failed = sdk.v1.refunds.retrieve(made.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert [event["data"]["object"]["status"] for event in stripe_edge.events("refund.failed")] == [
        "failed"
    ]
    booked = sdk.v1.balance_transactions.list(params={"source": made.id}).data
    assert sum(one.net for one in booked) == 0
    assert refund(sdk, intent, amount=1234).status == "succeeded"


def test_a_refund_takes_its_time(stripe_edge, sdk, captured):
    intent = captured(payment_method="pm_card_pendingRefund")
    made = refund(sdk, intent)
    assert (made.status, made.balance_transaction) == ("pending", None)
    with pytest.raises(stripe.InvalidRequestError):
        refund(sdk, intent)
    stripe_edge.settle_refund(made.id, "succeeded")
    done = sdk.v1.refunds.retrieve(made.id, params={"expand": ["balance_transaction"]})
    assert (done.status, done.balance_transaction.amount) == ("succeeded", -1234)
