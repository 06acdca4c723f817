"""A card reader beside the charger."""

import pytest
import stripe

from host_tests.stripe_edge.cards import HOLD_S


@pytest.fixture
def reader(sdk):
    return sdk.v1.terminal.readers.create(params={"registration_code": "simulated-wpe"})


@pytest.fixture
def process(sdk, reader):
    """Has the reader ask for a card, for EUR 50.00; the intent."""

    def begin():
        intent = sdk.v1.payment_intents.create(params={
            "amount": 5000, "currency": "eur", "capture_method": "manual",
            "payment_method_types": ["card_present"],
        })  # fmt: skip
        sdk.v1.terminal.readers.process_payment_intent(
            reader.id, params={"payment_intent": intent.id}
        )
        return intent

    return begin


def present(sdk, reader, number="5555555555554444"):
    return sdk.v1.test_helpers.terminal.readers.present_payment_method(
        reader.id, params={"type": "card_present", "card_present": {"number": number}}
    )


def test_a_hold_by_a_card(stripe_edge, sdk, reader, process):
    intent = process()
    assert sdk.v1.terminal.readers.retrieve(reader.id).action.status == "in_progress"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        process()
    assert refused.value.code == "terminal_reader_busy"
    assert present(sdk, reader).action.status == "succeeded"
    held = sdk.v1.payment_intents.retrieve(intent.id, params={"expand": ["latest_charge"]})
    assert held.status == "requires_capture"
    charge = held.latest_charge
    until = charge.payment_method_details.card_present.capture_before
    assert until == charge.created + HOLD_S["terminal", "mastercard"]
    assert len(stripe_edge.events("terminal.reader.action_succeeded")) == 1
    done = sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 900})
    assert done.amount_received == 900


def test_a_declined_card_and_then_another(stripe_edge, sdk, reader, process):
    intent = process()
    action = present(sdk, reader, "4000000000000002").action
    assert (action.status, action.failure_code) == ("failed", "card_declined")
    assert len(stripe_edge.events("terminal.reader.action_failed")) == 1
    sdk.v1.terminal.readers.process_payment_intent(reader.id, params={"payment_intent": intent.id})
    assert present(sdk, reader).action.status == "succeeded"


def test_nobody_holds_a_card_to_it(stripe_edge, sdk, reader, process):
    intent = process()
    stripe_edge.reader_fails(reader.id, "customer_canceled", "The payer has gone.")
    assert sdk.v1.terminal.readers.retrieve(reader.id).action.failure_code == "customer_canceled"
    process()
    sdk.v1.terminal.readers.cancel_action(reader.id)
    assert sdk.v1.terminal.readers.retrieve(reader.id).action is None
    assert sdk.v1.payment_intents.cancel(intent.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        present(sdk, reader)


def test_a_reader_that_is_away(stripe_edge, reader, process):
    stripe_edge.reader_status(reader.id, "offline")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        process()
    assert refused.value.code == "terminal_reader_offline"
