"""Objects as the API shows them: localstripe's, with what the edge knows besides."""

from typing import Any

from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import invalid, missing

_KINDS = {  # an id's prefix: (what it is called in errors, where localstripe has it, or None)
    "pi_": ("payment_intent", "payment_intents"),
    "ch_": ("charge", "charges"),
    "re_": ("refund", "refunds"),
    "pm_": ("PaymentMethod", "payment_methods"),
    "txn_": ("balance transaction", "balance_transactions"),
    "cus_": ("customer", "customers"),
    "cs_": ("checkout.session", None),
    "du_": ("dispute", None),
    "evt_": ("event", None),
    "tmr_": ("reader", None),
}
_MOST = 100  # objects in one page of a list
_ALL = 1_000_000


def get(account: Account, id: str, prefix: str) -> Object:
    """The object as it is shown, nothing in it expanded. Raises StripeError."""
    what, folder = _KINDS[prefix]
    if not id.startswith(prefix):
        raise missing(what, id)
    if id in account.own:
        return _show(account, account.own[id])
    if folder is None or account.known(id, "_hidden"):
        raise missing(what, id)
    return _show(account, account.ask("GET", f"/v1/{folder}/{id}"))


def every(account: Account, prefix: str) -> list[Object]:
    """All objects of a kind, the newest first."""
    _, folder = _KINDS[prefix]
    there = [one for id, one in account.own.items() if id.startswith(prefix)]
    if folder is not None:
        there += account.ask("GET", f"/v1/{folder}", {"limit": _ALL})["data"]
    shown = [one for one in there if not account.known(one["id"], "_hidden")]
    shown.sort(key=lambda one: account.known(one["id"], "_number", -1), reverse=True)
    return [_show(account, one) for one in shown]


def page(things: list[Object], url: str, form: Object) -> Object:
    """One page of a list (docs.stripe.com/api/pagination)."""
    limit = form.get("limit", 10)
    if not 1 <= limit <= _MOST:
        raise invalid(f"Invalid limit: {limit}", "limit")
    ids = [one["id"] for one in things]
    first = 0
    if after := form.get("starting_after"):
        if after not in ids:
            raise missing("object", after)
        first = ids.index(after) + 1
    return {"object": "list", "url": url, "data": things[first : first + limit],
            "has_more": len(things) > first + limit}  # fmt: skip


def expand(account: Account, thing: Object, paths: list[str]) -> Object:
    """The object with the ids at these dotted paths replaced by what they name."""
    for path in paths:
        _expand(account, thing, path.split("."), path)
    return thing


def _expand(account: Account, thing: Any, parts: list[str], path: str) -> None:
    if isinstance(thing, list):
        for one in thing:
            _expand(account, one, parts, path)
        return
    name, *further = parts
    if isinstance(thing, dict) and thing.get("object") == "charge" and name == "refunds":
        of = [one for one in every(account, "re_") if one["charge"] == thing["id"]]
        thing["refunds"] = page(of, f"/v1/charges/{thing['id']}/refunds", {})
    if not isinstance(thing, dict) or name not in thing:
        raise invalid(f"This property cannot be expanded ({path}).", "expand")
    value = thing[name]
    if isinstance(value, str):
        prefix = next((one for one in _KINDS if value.startswith(one)), None)
        if prefix is None:
            raise invalid(f"This property cannot be expanded ({path}).", "expand")
        value = thing[name] = get(account, value, prefix)
    if further and value is not None:
        _expand(account, value, further, path)


def _show(account: Account, thing: Object) -> Object:
    show = {"payment_intent": _intent, "charge": _charge}.get(thing["object"], lambda _, it: it)
    more = {name: value for name, value in account.more.get(thing["id"], {}).items()
            if not name.startswith("_")}  # fmt: skip
    return dict(show(account, thing)) | more


def _intent(account: Account, thing: Object) -> Object:
    """localstripe has the whole charge in it, in two places, and no amounts but its own."""
    id, status = thing["id"], thing["status"]
    if status not in ("requires_capture", "succeeded", "canceled"):
        status = account.known(id, "_status", "requires_payment_method")
    charge = (thing["latest_charge"] or {}).get("id")
    captured = account.known(charge, "amount_captured", 0) if charge else 0
    return {
        name: value for name, value in thing.items() if name not in ("charges", "invoice")
    } | {
        "status": status, "latest_charge": charge, "payment_method": None,
        "amount_capturable": thing["amount"] if status == "requires_capture" else 0,
        "amount_received": captured, "confirmation_method": "automatic", "next_action": None,
        "canceled_at": None, "cancellation_reason": None, "last_payment_error": None,
    }  # fmt: skip


def _charge(account: Account, thing: Object) -> Object:
    """localstripe lists its refunds, which Stripe does on demand only, and counts failed ones."""
    id = thing["id"]
    back = account.known(id, "_released", 0) + refunded(account, id)
    return {name: value for name, value in thing.items() if name not in ("refunds", "invoice")} | {
        "amount_captured": 0, "amount_refunded": back, "refunded": back >= thing["amount"],
        "disputed": False,
    }  # fmt: skip


def refunded(account: Account, charge: str) -> int:
    """What has gone back of what was captured, or is about to."""
    states: list[Object] = [account.more[id] for id in account.known(charge, "_refunds", [])]
    return sum(one["amount"] for one in states if one["status"] not in ("failed", "canceled"))
