"""Refunds (docs.stripe.com/api/refunds, /refunds), and what of a charge is booked."""

from host_tests.stripe_edge import cards, objects
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import invalid, refused
from host_tests.stripe_edge.money import check_multiple

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(account: Account, form: Object) -> Object:
    """localstripe would give back more than was captured, and what was never captured."""
    if form.get("reason", REASONS[0]) not in REASONS:
        raise invalid("Invalid reason", "reason")
    charge = _charge(account, form)
    id, left = charge["id"], charge["amount_captured"] - objects.refunded(account, charge["id"])
    if charge["disputed"]:
        raise refused(f"Charge {id} has been charged back; cannot issue a refund.",
                      "charge_disputed", param="charge")  # fmt: skip
    if left == 0:
        raise refused(f"Charge {id} has already been refunded.", "charge_already_refunded",
                      param="charge")  # fmt: skip
    amount = form.get("amount", left)
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount",
                      "parameter_invalid_integer")  # fmt: skip
    check_multiple(amount, charge["currency"])
    if amount > left:
        raise refused(f"Refund amount ({amount}) is greater than unrefunded amount on charge "
                      f"({left})", param="amount")  # fmt: skip
    state = cards.card(account.known(charge["payment_method"], "_card")).refund
    made = account.ask("POST", "/v1/refunds", {"charge": id, "amount": amount})
    account.note(
        made["id"], amount=amount, status=state, reason=form.get("reason"), failure_reason=None,
        metadata=form.get("metadata", {}), payment_intent=charge["payment_intent"],
    )  # fmt: skip
    account.note(made["balance_transaction"], exchange_rate=None, _hidden=state == "pending")
    if state == "pending":
        account.note(made["id"], balance_transaction=None, _later=made["balance_transaction"])
    account.note(id, _refunds=[*account.known(id, "_refunds", []), made["id"]])
    refund = objects.get(account, made["id"], "re_")
    account.emit("refund.created", refund)
    account.emit("charge.refunded", objects.get(account, id, "ch_"))
    return refund


def update(account: Account, id: str, form: Object) -> Object:
    refund = objects.get(account, id, "re_")
    metadata = refund["metadata"] | form.get("metadata", {})
    account.note(id, metadata={key: value for key, value in metadata.items() if value})
    return objects.get(account, id, "re_")


def settle(account: Account, id: str, status: str) -> Object:
    """A refund that was pending has arrived ("succeeded"), or one has come back ("failed")."""
    refund = objects.get(account, id, "re_")
    account.note(id, status=status)
    if status == "failed":
        account.note(id, failure_reason="expired_or_canceled_card")
        if refund["balance_transaction"]:
            back = account.new(
                "balance_transaction", "txn_", amount=refund["amount"], fee=0, source=id,
                net=refund["amount"], fee_details=[], currency=refund["currency"],
                type="refund_failure", reporting_category="refund_failure", status="pending",
            )  # fmt: skip
            account.note(id, failure_balance_transaction=back["id"])
    elif txn := account.known(id, "_later"):
        account.note(txn, _hidden=False)
        account.note(id, balance_transaction=txn)
    refund = objects.get(account, id, "re_")
    account.emit("refund.failed" if status == "failed" else "refund.updated", refund)
    account.emit("charge.refund.updated", refund)
    return refund


def _charge(account: Account, form: Object) -> Object:
    if ("charge" in form) == ("payment_intent" in form):
        raise invalid("One of the following params should be provided for this request: "
                      "payment_intent or charge.", "charge")  # fmt: skip
    id = form.get("charge")
    if id is None:
        intent = objects.get(account, form["payment_intent"], "pi_")
        id = intent["latest_charge"]
        if id is None or intent["status"] == "canceled":
            raise refused(f"This PaymentIntent ({intent['id']}) does not have a successful charge "
                          "to refund.")  # fmt: skip
    charge = objects.get(account, id, "ch_")
    # Of a hold, Stripe takes a refund of all for its release: cancel() says that as well.
    if not charge["captured"]:
        raise refused(f"Charge {id} has not been captured, or has failed.", param="charge")
    return charge
