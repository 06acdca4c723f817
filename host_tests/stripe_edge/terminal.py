"""Card readers, driven by the server (docs.stripe.com/api/terminal/readers,
docs.stripe.com/terminal/payments/collect-card-payment)."""

from host_tests.stripe_edge import cards, intents, objects
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import StripeError, invalid, refused

_CODES = ("simulated-wpe", "simulated-s700")
_WORK = "process_payment_intent"


def create(account: Account, form: Object) -> Object:
    if form["registration_code"] not in _CODES:
        raise invalid("Only simulated readers are there", "registration_code")
    reader = account.new(
        "terminal.reader", "tmr_", action=None, status="online", location=form.get("location"),
        label=form.get("label"), device_type="simulated_wisepos_e", metadata={},
    )  # fmt: skip
    return dict(reader)


def process(account: Account, id: str, form: Object) -> Object:
    reader = _ready(account, id)
    if (reader["action"] or {}).get("status") == "in_progress":
        raise refused("Reader is currently processing another request.", "terminal_reader_busy")
    intent = objects.get(account, form["payment_intent"], "pi_")
    if intent["payment_method_types"] != ["card_present"]:
        raise refused("The PaymentIntent is not for a card that is present.",
                      "payment_intent_unexpected_state")  # fmt: skip
    if intent["status"] != "requires_payment_method":
        raise intents.unexpected(intent, "processed", ("requires_payment_method",))
    reader["action"] = {
        "type": _WORK, "status": "in_progress", "failure_code": None, "failure_message": None,
        _WORK: {"payment_intent": intent["id"]},
    }  # fmt: skip
    return dict(reader)


def present(account: Account, id: str, form: Object) -> Object:
    """A card is held to the reader."""
    reader = _ready(account, id)
    if (reader["action"] or {}).get("status") != "in_progress":
        raise refused("The reader waits for no card.")
    intent = reader["action"][_WORK]["payment_intent"]
    number = form.get("card_present", {}).get("number", cards.VISA)
    method = intents.card_method(account, number)
    account.note(intent, payment_method=method)
    try:
        intents.authorise(account, intent)
    except StripeError as e:
        return fail(account, id, e.error["code"], str(e))
    return _end(account, reader, "succeeded")


def cancel(account: Account, id: str) -> Object:
    reader = _ready(account, id)
    reader["action"] = None
    return dict(reader)


def fail(account: Account, id: str, code: str, message: str) -> Object:
    """What the reader was about came to nothing."""
    reader = account.own[id]
    reader["action"] |= {"failure_code": code, "failure_message": message}
    return _end(account, reader, "failed")


def _end(account: Account, reader: Object, status: str) -> Object:
    reader["action"]["status"] = status
    account.emit(f"terminal.reader.action_{status}", dict(reader))
    return dict(reader)


def _ready(account: Account, id: str) -> Object:
    objects.get(account, id, "tmr_")
    reader = account.own[id]
    if reader["status"] != "online":
        raise refused("Reader is currently offline.", "terminal_reader_offline")
    return reader
