"""Every path of the API that is there: what it is called in tests, which parameters it takes (what
Stripe takes besides is refused, never ignored), and who answers."""

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from host_tests.stripe_edge import checkout, intents, objects, refunds, terminal
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import invalid
from host_tests.stripe_edge.forms import METADATA


class Route(NamedTuple):
    """do: (account, id in the path or None, form) -> the object to answer. form: see forms.py;
    None for paths that localstripe serves as they are."""

    name: str
    method: str
    path: re.Pattern[str]
    form: dict[str, Any] | None
    do: Callable[[Account, str, Object], Object]


_ID = r"/(\w+)"
_TIMES = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_PAGED = {"limit": int, "starting_after": str, "created": dict.fromkeys(_TIMES, int)}
_INTENT = {
    "amount!": int, "currency!": str, "capture_method": str, "confirm": bool, "customer": str,
    "description": str, "metadata": METADATA, "off_session": bool, "payment_method": str,
    "payment_method_types": [str], "receipt_email": str, "return_url": str,
    "statement_descriptor_suffix": str,
    "automatic_payment_methods": {"enabled!": bool, "allow_redirects": str},
}  # fmt: skip
_CONFIRM = {"payment_method": str, "return_url": str, "off_session": bool}
_UPDATE = {"description": str, "metadata": METADATA, "receipt_email": str,
           "statement_descriptor_suffix": str}  # fmt: skip
_REFUND = {"amount": int, "charge": str, "metadata": METADATA, "payment_intent": str, "reason": str}
_PRICE = {"currency!": str, "unit_amount!": int, "product_data!": {
    "name!": str, "description": str, "metadata": METADATA,
}}  # fmt: skip
_SESSION = {
    "mode!": str, "success_url!": str, "cancel_url": str, "client_reference_id": str,
    "customer_email": str, "expires_at": int, "locale": str, "metadata": METADATA,
    "payment_method_types": [str], "line_items!": [{"price_data!": _PRICE, "quantity!": int}],
    "payment_intent_data": {
        "capture_method": str, "description": str, "metadata": METADATA, "receipt_email": str,
        "statement_descriptor_suffix": str,
    },
}  # fmt: skip


def _as_it_is(account: Account, path: str, form: Object, method: str) -> Object:
    """A card given by its number is remembered by it: localstripe tells the last digits only."""
    said = account.ask(method, path, form)
    if method == "POST" and path == "/v1/payment_methods" and "number" in form.get("card", {}):
        account.note(said["id"], _card=form["card"]["number"])
    return said


def _listing(prefix: str, url: str, *filters: str) -> Route:
    def do(account: Account, _: str, form: Object) -> Object:
        found = objects.every(account, prefix)
        for name in filters:
            if name in form:
                found = [one for one in found if one.get(name) == form[name]]
        for name, at in form.get("created", {}).items():
            found = [one for one in found if _TIMES[name](one["created"], at)]
        return objects.page(found, url, form)

    table = _PAGED | dict.fromkeys(filters, str)
    return Route(f"list_{url.rpartition('/')[2]}", "GET", re.compile(url), table, do)


def _object(prefix: str, url: str) -> Route:
    name = f"retrieve_{url.rpartition('/')[2][:-1]}"
    return Route(name, "GET", re.compile(url + _ID), {},
                 lambda account, id, _: objects.get(account, id, prefix))  # fmt: skip


def _create_endpoint(account: Account, _: str, form: Object) -> Object:
    endpoint = account.webhooks.register(form["url"], form["enabled_events"])
    shown = account.new("webhook_endpoint", "we_", **endpoint)
    endpoint["id"] = shown["id"]
    return shown


def _delete_endpoint(account: Account, id: str, _: Object) -> Object:
    account.webhooks.endpoints = [
        one for one in account.webhooks.endpoints if one.get("id") != id
    ]  # fmt: skip
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


def _post(name: str, path: str, form: dict[str, Any], do: Any) -> Route:
    return Route(name, "POST", re.compile(f"/v1/{path}"), form, do)


_READER, _HELPER = "terminal/readers", "test_helpers/terminal/readers"
ROUTES = [
    _post("create", "payment_intents", _INTENT, lambda a, _, form: intents.create(a, form)),
    _post("confirm", f"payment_intents{_ID}/confirm", _CONFIRM, intents.confirm),
    _post("capture", f"payment_intents{_ID}/capture",
          {"amount_to_capture": int, "metadata": METADATA}, intents.capture),
    _post("cancel", f"payment_intents{_ID}/cancel", {"cancellation_reason": str}, intents.cancel),
    _post("update", f"payment_intents{_ID}", _UPDATE, intents.update),
    _post("refund", "refunds", _REFUND, lambda a, _, form: refunds.create(a, form)),
    _post("update_refund", f"refunds{_ID}", {"metadata": METADATA}, refunds.update),
    _post("checkout", "checkout/sessions", _SESSION, lambda a, _, form: checkout.create(a, form)),
    _post("expire", f"checkout/sessions{_ID}/expire", {},
          lambda a, id, _: checkout.expire(a, id)),
    _post("create_endpoint", "webhook_endpoints", {"url!": str, "enabled_events!": [str]},
          _create_endpoint),
    Route("delete_endpoint", "DELETE", re.compile(f"/v1/webhook_endpoints{_ID}"), {},
          _delete_endpoint),
    _post("create_reader", _READER,
          {"registration_code!": str, "label": str, "location": str},
          lambda a, _, form: terminal.create(a, form)),
    _post("process", f"{_READER}{_ID}/process_payment_intent", {"payment_intent!": str},
          terminal.process),
    _post("cancel_action", f"{_READER}{_ID}/cancel_action", {},
          lambda a, id, _: terminal.cancel(a, id)),
    _post("present", f"{_HELPER}{_ID}/present_payment_method",
          {"type": str, "card_present": {"number": str}}, terminal.present),
    _object("pi_", "/v1/payment_intents"),
    _object("ch_", "/v1/charges"),
    _object("re_", "/v1/refunds"),
    _object("txn_", "/v1/balance_transactions"),
    _object("du_", "/v1/disputes"),
    _object("cs_", "/v1/checkout/sessions"),
    _object("evt_", "/v1/events"),
    _object("tmr_", "/v1/terminal/readers"),
    _listing("pi_", "/v1/payment_intents", "customer"),
    _listing("ch_", "/v1/charges", "payment_intent"),
    _listing("re_", "/v1/refunds", "payment_intent", "charge"),
    _listing("txn_", "/v1/balance_transactions", "source", "type", "currency"),
    _listing("du_", "/v1/disputes", "payment_intent", "charge"),
    _listing("cs_", "/v1/checkout/sessions", "payment_intent", "status"),
    _listing("evt_", "/v1/events", "type"),
]  # fmt: skip
_AS_IT_IS = re.compile(r"/v1/(customers|payment_methods)(/\w+)*")


def find(method: str, path: str) -> tuple[Route, str]:
    """(the route, the id in its path). Raises StripeError."""
    for route in ROUTES:
        if route.method == method and (match := route.path.fullmatch(path)):
            return route, (match.groups() or ("",))[0]
    if _AS_IT_IS.fullmatch(path):
        return Route("localstripe", method, _AS_IT_IS, None,
                     lambda a, _, form: _as_it_is(a, path, form, method)), ""  # fmt: skip
    raise invalid(f"Unrecognized request URL ({method}: {path}).", status=404)


NAMES = {route.name for route in ROUTES}
