"""A bank takes back."""

import pytest
import stripe


@pytest.mark.parametrize("end, left", [("won", 1234 - 44 - 2000), ("lost", -44 - 2000)])
def test_a_dispute(stripe_edge, sdk, hold, end, left):
    intent = hold()
    sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 1234})
    id = stripe_edge.open_dispute(intent.id)
    dispute = sdk.v1.disputes.retrieve(id, params={"expand": ["charge"]})
    assert (dispute.amount, dispute.status) == (1234, "needs_response")
    assert dispute.charge.disputed
    [taken] = dispute.balance_transactions
    assert (taken.amount, taken.fee) == (-1234, 2000)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sdk.v1.refunds.create(params={"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"

    stripe_edge.close_dispute(id, end)
    assert sdk.v1.disputes.list(params={"payment_intent": intent.id}).data[0].status == end
    assert sum(one.net for one in sdk.v1.balance_transactions.list().data) == left
    types = [event["type"] for event in stripe_edge.events() if "dispute" in event["type"]]
    back = ["charge.dispute.funds_reinstated"] if end == "won" else []
    assert types == [
        "charge.dispute.created", "charge.dispute.funds_withdrawn", *back, "charge.dispute.closed",
    ]  # fmt: skip
    opened, *_ = stripe_edge.events("charge.dispute.created")
    assert opened["data"]["object"]["status"] == "needs_response"  # as it was then
