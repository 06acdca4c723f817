"""PaymentIntents: what is to be paid, held and taken (docs.stripe.com/api/payment_intents)."""

from host_tests.stripe_edge import cards, objects
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import declined, invalid, refused
from host_tests.stripe_edge.money import check_amount, check_currency, fee

CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation",
              "requires_action", "processing")  # fmt: skip
_STATE = "payment_intent_unexpected_state"
REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")


def get(account: Account, id: str) -> Object:
    return objects.get(account, id, "pi_")


def create(account: Account, form: Object) -> Object:
    currency = check_currency(form["currency"])
    if form.get("off_session") and not form.get("confirm"):
        raise invalid("off_session needs confirm=true", "off_session")
    check_amount(form["amount"], currency)
    known = ("amount", "customer", "metadata", "capture_method")  # to localstripe
    told = {"currency": currency} | {name: form.get(name) for name in known}
    made = account.ask("POST", "/v1/payment_intents", told)
    id = made["id"]
    types = form.get("payment_method_types")
    automatic = None if types else {"enabled": True, "allow_redirects": "always"}
    account.note(
        id, metadata=form.get("metadata", {}), payment_method_types=types or ["card"],
        automatic_payment_methods=form.get("automatic_payment_methods", automatic),
        capture_method=form.get("capture_method", "automatic_async"),
        description=form.get("description"), receipt_email=form.get("receipt_email"),
        statement_descriptor_suffix=form.get("statement_descriptor_suffix"),
    )  # fmt: skip
    account.emit("payment_intent.created", get(account, id))
    if "payment_method" in form:
        account.note(id, payment_method=method(account, form["payment_method"]),
                     _status="requires_confirmation")  # fmt: skip
    return confirm(account, id, form) if form.get("confirm") else get(account, id)


def update(account: Account, id: str, form: Object) -> Object:
    intent = get(account, id)
    metadata = intent["metadata"] | form.pop("metadata", {})
    account.note(id, metadata={key: value for key, value in metadata.items() if value}, **form)
    return get(account, id)


def confirm(account: Account, id: str, form: Object) -> Object:
    """Its card is asked; where that is to be authenticated, by the edge's page first."""
    intent = get(account, id)
    if "payment_method" in form and "confirm" not in form:
        intent["payment_method"] = method(account, form["payment_method"])
    if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
        raise unexpected(intent, "confirmed", ("requires_payment_method", "requires_confirmation"))
    if intent["payment_method"] is None:
        raise refused("You cannot confirm this PaymentIntent because it's missing a payment method",
                      _STATE, payment_intent=intent)  # fmt: skip
    _check_redirects(intent, form)
    account.note(id, payment_method=intent["payment_method"], last_payment_error=None,
                 _kind="merchant" if form.get("off_session") else "customer")  # fmt: skip
    number = account.known(intent["payment_method"], "_card")
    if cards.card(number).secure:
        urls = {"url": f"{account.url}/authenticate/{id}", "return_url": form.get("return_url")}
        way = "redirect_to_url" if urls["return_url"] else "use_stripe_sdk"
        account.note(id, _status="requires_action", next_action={"type": way, way: urls})
        account.emit("payment_intent.requires_action", get(account, id))
        return get(account, id)
    return authorise(account, id)


def authorise(account: Account, id: str, authenticated: bool = True) -> Object:
    """The bank's answer to an intent with a card. Raises StripeError where it is no."""
    account.note(id, _status="requires_payment_method", next_action=None)
    intent = get(account, id)
    of = intent["payment_method"]
    card = cards.card(account.known(of, "_card"))
    if not authenticated:
        failed = ("payment_intent_authentication_failure", None, "Authentication has failed.")
        raise _decline(account, intent, failed, None)
    if card.decline:
        charge = _details(account, intent) | _failed(card.decline)
        charge.pop("_until", None)
        charge = account.new("charge", "ch_", **charge)
        raise _decline(account, intent, card.decline, charge)
    account.ask("POST", f"/v1/payment_intents/{id}", {"payment_method": of})
    said = account.ask("POST", f"/v1/payment_intents/{id}/confirm")
    if said["status"] == "requires_action":  # localstripe knows some cards that want 3-D Secure
        secret = {"client_secret": said["client_secret"], "success": True}
        said = account.ask("POST", f"/v1/payment_intents/{id}/_authenticate", secret)
    charge_id = said["latest_charge"]["id"]
    account.note(charge_id, **_details(account, intent))
    account.note(id, latest_charge=charge_id)
    if intent["capture_method"] == "manual":
        _show_charge(account, charge_id, "charge.succeeded")
        account.emit("payment_intent.amount_capturable_updated", get(account, id))
    else:
        _book(account, charge_id, said["amount"])
        _show_charge(account, charge_id, "charge.succeeded")
        account.emit("payment_intent.succeeded", get(account, id))
    return get(account, id)


def capture(account: Account, id: str, form: Object) -> Object:
    """localstripe would capture a cancelled hold, and as often as it is told to."""
    intent = get(account, id)
    if intent["status"] == "succeeded":
        raise refused("This PaymentIntent could not be captured because it has already been "
                      "captured.", _STATE, payment_intent=intent)  # fmt: skip
    if intent["status"] != "requires_capture":
        raise unexpected(intent, "captured", ("requires_capture",))
    amount = {"amount_to_capture": intent["amount"], **form}["amount_to_capture"]
    check_amount(amount, intent["currency"], "amount_to_capture")
    if amount > intent["amount_capturable"]:
        raise refused("The requested capture amount is greater than the authorized amount.",
                      "amount_too_large", param="amount_to_capture")  # fmt: skip
    if "metadata" in form:
        update(account, id, {"metadata": form["metadata"]})
    account.ask("POST", f"/v1/payment_intents/{id}/capture", {"amount_to_capture": amount})
    charge = intent["latest_charge"]
    if amount < intent["amount"]:
        _release(account, charge)
    _book(account, charge, amount)
    _show_charge(account, charge, "charge.captured")
    if amount < intent["amount"]:
        _show_charge(account, charge, "charge.refunded")
    account.emit("payment_intent.succeeded", get(account, id))
    return get(account, id)


def cancel(account: Account, id: str, form: Object) -> Object:
    if form.get("cancellation_reason", REASONS[0]) not in REASONS:
        raise invalid("Invalid cancellation_reason", "cancellation_reason")
    intent = get(account, id)
    if intent["status"] not in CANCELABLE:
        raise unexpected(intent, "canceled", CANCELABLE)
    if account.own.get(account.known(id, "_session", ""), {}).get("status") == "open":
        raise refused("You cannot cancel this PaymentIntent, its Checkout Session is open: expire "
                      "that instead.", _STATE)  # fmt: skip
    return void(account, id, form.get("cancellation_reason"))


def void(account: Account, id: str, reason: str | None) -> Object:
    """Gives back what is held. reason "automatic": nobody took it in time."""
    intent = get(account, id)
    account.ask("POST", f"/v1/payment_intents/{id}/cancel")
    account.note(id, canceled_at=account.now(), cancellation_reason=reason, next_action=None)
    if intent["status"] == "requires_capture":
        account.note(intent["latest_charge"], _released=intent["amount"])
        expired = reason == "automatic"
        _show_charge(account, intent["latest_charge"],
                     "charge.expired" if expired else "charge.refunded")  # fmt: skip
    account.emit("payment_intent.canceled", get(account, id))
    return get(account, id)


def lapse(account: Account) -> None:
    """Gives back each hold whose time has come."""
    for facts in list(account.more.values()):
        if facts.get("_until", account.now() + 1) <= account.now():
            id = facts["payment_intent"]
            del facts["_until"]
            if get(account, id)["status"] == "requires_capture":
                void(account, id, "automatic")


def method(account: Account, id: str) -> str:
    """The payment method behind an id, or behind one of Stripe's tokens, of which localstripe knows
    three and makes another method each time it meets one."""
    if id not in cards.TOKENS:
        objects.get(account, id, "pm_")
        return id
    return card_method(account, cards.TOKENS[id])


def card_method(account: Account, number: str) -> str:
    card = {"number": number, "exp_month": 12, "exp_year": 2039, "cvc": "123"}
    made = account.ask("POST", "/v1/payment_methods", {"type": "card", "card": card})
    account.note(made["id"], _card=number,
                 card=made["card"] | {"brand": cards.card(number).brand})  # fmt: skip
    return str(made["id"])


def unexpected(intent: Object, verb: str, from_: tuple[str, ...]) -> Exception:
    return refused(
        f"This PaymentIntent could not be {verb} because it has a status of {intent['status']}. "
        f"Only a PaymentIntent with one of the following statuses may be {verb}: "
        f"{', '.join(from_)}.", _STATE, payment_intent=intent,
    )  # fmt: skip


def book_fees(account: Account) -> None:
    """Shows the balance transactions that were late."""
    for charge, facts in list(account.more.items()):
        if txn := facts.pop("_late", None):
            account.note(charge, balance_transaction=txn)
            account.note(txn, _hidden=False)
            _show_charge(account, charge, "charge.updated")


def _check_redirects(intent: Object, form: Object) -> None:
    automatic = intent["automatic_payment_methods"] or {"enabled": False}
    redirects = automatic["enabled"] and automatic.get("allow_redirects", "always") == "always"
    if redirects and "return_url" not in form:
        raise refused("This PaymentIntent accepts payment methods that might redirect: provide a "
                      "return_url, or set automatic_payment_methods[allow_redirects] to never.",
                      param="return_url")  # fmt: skip


def _details(account: Account, intent: Object) -> Object:
    """What a charge says of the card, and until when it holds."""
    of = intent["payment_method"]
    method = objects.get(account, of, "pm_")
    terminal = intent["payment_method_types"] == ["card_present"]
    kind = "card_present" if terminal else "card"
    known = ("brand", "last4", "country", "fingerprint", "funding", "exp_month", "exp_year")
    card = {name: method["card"][name] for name in known}
    card["wallet"] = account.known(of, "_wallet")
    until: Object = {}
    if intent["capture_method"] == "manual":
        how = "terminal" if terminal else account.known(intent["id"], "_kind", "customer")
        held_s = account.hold_s or cards.HOLD_S[how, card["brand"]]
        until = {"_until": account.now() + held_s}
        card["capture_before"] = account.now() + held_s
    return {
        "amount": intent["amount"], "currency": intent["currency"], "payment_method": of,
        "payment_intent": intent["id"], "metadata": intent["metadata"], "captured": False,
        "payment_method_details": {"type": kind, kind: card}, "balance_transaction": None, **until,
    }  # fmt: skip


def _failed(said: tuple[str, str | None, str]) -> Object:
    return {"status": "failed", "paid": False, "failure_code": said[0], "failure_message": said[2]}


def _decline(
    account: Account, intent: Object, said: tuple[str, str | None, str], charge: Object | None
) -> Exception:
    """localstripe declines one card only, and its intent then takes no other: a refusal never gets
    there."""
    code, why, message = said
    error = {"type": "card_error", "code": code, "decline_code": why, "message": message}
    account.note(intent["id"], payment_method=None, last_payment_error=error)
    if charge:
        account.note(intent["id"], latest_charge=charge["id"])
        account.emit("charge.failed", objects.get(account, charge["id"], "ch_"))
    shown = get(account, intent["id"])
    account.emit("payment_intent.payment_failed", shown)
    return declined(message, code, why, payment_intent=shown,
                    charge=charge["id"] if charge else None)  # fmt: skip


def _book(account: Account, charge: str, amount: int) -> None:
    """What was captured. localstripe books the whole hold, without a fee."""
    txn = account.ask("GET", f"/v1/charges/{charge}")["balance_transaction"]
    kept = fee(amount)
    account.note(
        txn, amount=amount, fee=kept, net=amount - kept, status="pending", exchange_rate=None,
        fee_details=[{"amount": kept, "type": "stripe_fee", "description": "Processing fees",
                      "currency": account.known(charge, "currency"), "application": None}],
        _hidden=account.late_fees,
    )  # fmt: skip
    account.more[charge].pop("_until", None)
    account.note(charge, amount_captured=amount, captured=True, balance_transaction=txn)
    if account.late_fees:
        account.note(charge, balance_transaction=None, _late=txn)


def _release(account: Account, charge: str) -> None:
    """The rest of a hold is a refund to localstripe, and to Stripe, which lists it among the others
    (github.com/woocommerce/woocommerce-gateway-stripe issue 1073); but no money moves by it."""
    [rest] = account.ask("GET", "/v1/refunds", {"charge": charge})["data"]
    account.note(rest["balance_transaction"], _hidden=True)
    account.note(rest["id"], balance_transaction=None, metadata={}, reason=None,
                 payment_intent=account.known(charge, "payment_intent"), status="succeeded",
                 amount=rest["amount"])  # fmt: skip
    account.note(charge, _released=rest["amount"])


def _show_charge(account: Account, id: str, event: str) -> None:
    account.emit(event, objects.get(account, id, "ch_"))
