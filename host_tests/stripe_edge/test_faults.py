"""What goes wrong on the way, on command."""

import pytest
import stripe

KEY = {"idempotency_key": "k"}


def capture(sdk, intent, options=KEY):
    return sdk.v1.payment_intents.capture(
        intent.id, params={"amount_to_capture": 900}, options=options
    )


def received(edge, intent):
    return edge.object(intent.id)["amount_received"]


@pytest.mark.parametrize(
    "fault, error, status, acted, again",
    [  # again: what the same key brings then; an error, or the capture
        ("drop", stripe.APIConnectionError, None, False, None),
        ("429", stripe.RateLimitError, 429, False, None),
        ("500", stripe.APIError, 500, False, stripe.APIError),
        ("500_acted", stripe.APIError, 500, True, stripe.APIError),
        ("declined", stripe.CardError, 402, False, stripe.CardError),
        ("lost_answer", stripe.APIConnectionError, None, True, None),
    ],
)
def test_a_fault(stripe_edge, sdk, hold, fault, error, status, acted, again):
    intent = hold()
    stripe_edge.next_fault("capture", fault)
    with pytest.raises(error) as failed:
        capture(sdk, intent)
    assert failed.value.http_status == status
    assert received(stripe_edge, intent) == (900 if acted else 0)
    if again:
        with pytest.raises(again):
            capture(sdk, intent)
        if not acted:  # as another attempt
            assert capture(sdk, intent, {"idempotency_key": "k2"}).status == "succeeded"
    else:
        assert capture(sdk, intent).amount_received == 900
    assert received(stripe_edge, intent) == 900
    assert len(stripe_edge.events("charge.captured")) == 1
    statuses = [call.status for call in stripe_edge.calls if call.name == "capture"]
    assert statuses[0] == status


def test_a_call_is_done_after_its_client_has_gone(stripe_edge, hold):
    """A hold that is read back before says "not captured", and is captured all the same."""
    intent = hold()
    stripe_edge.next_fault("capture", "stall")
    impatient = stripe_edge.sdk(timeout_s=0.05)
    with pytest.raises(stripe.APIConnectionError):
        capture(impatient, intent)
    assert impatient.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    stripe_edge.wait_stalled()
    stripe_edge.go_on()
    assert received(stripe_edge, intent) == 900


def test_the_sdk_tries_again_with_the_same_key(stripe_edge, hold):
    intent = hold()
    stripe_edge.next_fault("capture", "lost_answer")
    assert capture(stripe_edge.sdk(retries=1), intent).amount_received == 900
    calls = [call for call in stripe_edge.calls if call.name == "capture"]
    assert [(call.key, call.status, call.replayed) for call in calls] == [
        ("k", None, False), ("k", 200, True),
    ]  # fmt: skip


def test_a_fault_comes_as_often_as_told(stripe_edge, sdk, hold):
    stripe_edge.next_fault("retrieve_payment_intent", "429", times=2)
    intent = hold()
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            sdk.v1.payment_intents.retrieve(intent.id)
    assert sdk.v1.payment_intents.retrieve(intent.id).id == intent.id


@pytest.mark.parametrize("name, fault", [("captures", "500"), ("capture", "501")])
def test_only_what_exists_can_go_wrong(stripe_edge, name, fault):
    with pytest.raises(ValueError, match="there is no"):
        stripe_edge.next_fault(name, fault)


def test_only_the_account_s_key_opens_it(stripe_edge):
    stripe_edge.key = "sk_test_other"
    client = stripe_edge.sdk()
    stripe_edge.key = "sk_test_another"
    with pytest.raises(stripe.AuthenticationError):
        client.v1.payment_intents.retrieve("pi_1")
