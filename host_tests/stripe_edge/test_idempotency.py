"""Keys, with Stripe's own SDK."""

import threading

import pytest
import stripe

from host_tests.stripe_edge import idempotency


def key(text="k"):
    return {"idempotency_key": text}


def test_the_first_answer_comes_again(stripe_edge, sdk, hold):
    intent = hold()
    done = [
        sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 900}, options=key())
        for _ in range(2)
    ]
    assert done[0].to_dict() == done[1].to_dict()
    assert [done.last_response.headers.get("Idempotent-Replayed") for done in done] == [
        None, "true",
    ]  # fmt: skip
    assert [call.replayed for call in stripe_edge.calls[-2:]] == [False, True]
    assert stripe_edge.object(intent.id)["amount_received"] == 900


def test_a_refusal_comes_again_even_when_it_would_be_none_now(sdk, hold):
    intent = sdk.v1.payment_intents.create(
        params={"amount": 500, "currency": "eur", "capture_method": "manual",
                "payment_method_types": ["card"]})  # fmt: skip
    with pytest.raises(stripe.InvalidRequestError):
        sdk.v1.payment_intents.capture(intent.id, options=key())
    sdk.v1.payment_intents.confirm(intent.id, params={"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError, match="status of requires_payment_method"):
        sdk.v1.payment_intents.capture(intent.id, options=key())
    assert sdk.v1.payment_intents.capture(intent.id, options=key("other")).status == "succeeded"


def test_a_request_that_is_wrong_in_itself_takes_no_key(sdk, hold):
    intent = hold()
    with pytest.raises(stripe.InvalidRequestError, match="Invalid integer"):
        sdk.v1.payment_intents.capture(
            intent.id, params={"amount_to_capture": "many"}, options=key()
        )
    assert sdk.v1.payment_intents.capture(intent.id, options=key()).status == "succeeded"


@pytest.mark.parametrize("other", ["parameters", "path"])
def test_a_key_is_of_one_request(sdk, hold, other):
    first, second = hold(), hold()
    sdk.v1.payment_intents.capture(first.id, params={"amount_to_capture": 900}, options=key())
    with pytest.raises(stripe.IdempotencyError) as refused:
        sdk.v1.payment_intents.capture(
            first.id if other == "parameters" else second.id,
            params={"amount_to_capture": 901 if other == "parameters" else 900}, options=key(),
        )  # fmt: skip
    assert refused.value.http_status == 400


def test_a_request_meets_one_under_way(stripe_edge, sdk, hold):
    intent = hold()
    stripe_edge.next_fault("capture", "stall")
    done = []
    first = threading.Thread(
        target=lambda: done.append(sdk.v1.payment_intents.capture(intent.id, options=key()))
    )
    first.start()
    stripe_edge.wait_stalled()
    with pytest.raises(stripe.APIError) as refused:
        sdk.v1.payment_intents.capture(intent.id, options=key())
    assert (refused.value.http_status, refused.value.error.code) == (409, "idempotency_key_in_use")
    stripe_edge.go_on()
    first.join()
    again = sdk.v1.payment_intents.capture(intent.id, options=key())
    assert again.to_dict() == done[0].to_dict()


def test_keys_are_forgotten_after_a_day(stripe_edge, sdk, hold):
    intent = hold()

    def refund():
        return sdk.v1.refunds.create(
            params={"payment_intent": intent.id, "amount": 100}, options=key()
        ).id

    sdk.v1.payment_intents.capture(intent.id)
    first = refund()
    stripe_edge.advance(idempotency.KEPT_S - 60)
    assert refund() == first
    stripe_edge.advance(61)
    assert refund() != first
    assert stripe_edge.object(intent.latest_charge)["amount_refunded"] == 200


def test_a_key_has_an_end(sdk):
    with pytest.raises(stripe.InvalidRequestError, match="at most 255"):
        sdk.v1.customers.create(options=key("k" * 256))


def test_keys_are_for_posts(sdk, hold):
    intent = hold()
    for one in (intent, hold()):
        assert sdk.v1.payment_intents.retrieve(one.id, options=key()).id == one.id
