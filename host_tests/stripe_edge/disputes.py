"""Disputes: a payer's bank takes back (docs.stripe.com/api/disputes, /disputes)."""

from host_tests.stripe_edge import objects
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.money import DISPUTE_FEE

_ANSWER_S = 7 * 24 * 3600


def open(account: Account, intent: str, reason: str = "fraudulent") -> Object:
    """All that was captured and not refunded is gone, and a fee."""
    charge = objects.get(account, objects.get(account, intent, "pi_")["latest_charge"], "ch_")
    amount = charge["amount_captured"] - objects.refunded(account, charge["id"])
    dispute = account.new(
        "dispute", "du_", amount=amount, currency=charge["currency"], charge=charge["id"],
        payment_intent=intent, reason=reason, status="needs_response", metadata={},
        is_charge_refundable=False, balance_transactions=[],
        evidence_details={"due_by": account.now() + _ANSWER_S, "has_evidence": False,
                          "past_due": False, "submission_count": 0},
    )  # fmt: skip
    _book(account, dispute, -amount, DISPUTE_FEE)
    account.note(charge["id"], disputed=True)
    for event in ("charge.dispute.created", "charge.dispute.funds_withdrawn"):
        account.emit(event, objects.get(account, dispute["id"], "du_"))
    return dispute


def close(account: Account, id: str, status: str) -> Object:
    """status: "won" (the money comes back) or "lost"."""
    dispute = account.own[id]
    dispute["status"] = status
    if status == "won":
        _book(account, dispute, dispute["amount"], 0)
        account.emit("charge.dispute.funds_reinstated", objects.get(account, id, "du_"))
    account.emit("charge.dispute.closed", objects.get(account, id, "du_"))
    return dispute


def _book(account: Account, dispute: Object, amount: int, fee: int) -> None:
    txn = account.new(
        "balance_transaction", "txn_", amount=amount, fee=fee, net=amount - fee, type="adjustment",
        currency=dispute["currency"], source=dispute["id"], reporting_category="dispute",
        description=f"Dispute of {dispute['charge']}", status="pending", exchange_rate=None,
        fee_details=[{"amount": fee, "type": "stripe_fee", "description": "Dispute fee",
                      "currency": dispute["currency"], "application": None}] if fee else [],
    )  # fmt: skip
    dispute["balance_transactions"] = [*dispute["balance_transactions"], txn]
