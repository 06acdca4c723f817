"""Checkout Sessions, and the page on which a card is entered (docs.stripe.com/payments/checkout,
docs.stripe.com/api/checkout/sessions)."""

from pathlib import Path
from typing import NamedTuple

import jinja2

from host_tests.stripe_edge import cards, intents, objects
from host_tests.stripe_edge.account import Account, Object
from host_tests.stripe_edge.errors import StripeError, invalid, refused
from host_tests.stripe_edge.money import check_amount, check_currency

_SHORTEST_S, _LONGEST_S = 30 * 60, 24 * 3600
_WALLETS = ("apple_pay", "google_pay")
_PAGE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
    undefined=jinja2.StrictUndefined,
).get_template("page.html.j2")  # fmt: skip


class Page(NamedTuple):
    """What a browser gets: a status with HTML, or where to go."""

    status: int
    html: str = ""
    location: str = ""


def create(account: Account, form: Object) -> Object:
    """The intent comes when the payer pays, not before (docs.stripe.com/changelog/2022-08-01)."""
    if form["mode"] != "payment":
        raise invalid("The edge has payments only", "mode")
    lines = form["line_items"]
    currencies = {check_currency(line["price_data"]["currency"]) for line in lines}
    if len(currencies) != 1:
        raise invalid("All prices need the same currency", "line_items")
    [currency] = currencies
    amount = sum(line["price_data"]["unit_amount"] * line["quantity"] for line in lines)
    check_amount(amount, currency, "line_items")
    expires_at = form.get("expires_at", account.now() + _LONGEST_S)
    if not _SHORTEST_S <= expires_at - account.now() <= _LONGEST_S:
        raise invalid("expires_at must be 30 minutes to 24 hours from now", "expires_at")
    session = account.new(
        "checkout.session", "cs_test_", mode="payment", status="open", payment_status="unpaid",
        amount_total=amount, amount_subtotal=amount, currency=currency, expires_at=expires_at,
        payment_intent=None, success_url=form["success_url"], cancel_url=form.get("cancel_url"),
        client_reference_id=form.get("client_reference_id"), locale=form.get("locale"),
        customer_email=form.get("customer_email"), metadata=form.get("metadata", {}),
        payment_method_types=form.get("payment_method_types", ["card"]), ui_mode="hosted_page",
        customer=None, customer_details=None,
    )  # fmt: skip
    account.note(session["id"], _data=form.get("payment_intent_data", {}),
                 _name=lines[0]["price_data"]["product_data"]["name"])  # fmt: skip
    session["url"] = f"{account.url}/c/pay/{session['id']}"
    return dict(session)


def expire(account: Account, id: str) -> Object:
    session = objects.get(account, id, "cs_")
    if session["status"] != "open":
        raise refused(f"Only Checkout Sessions with a status in [\"open\"] can be expired. This "
                      f"Checkout Session has a status of {session['status']}.")  # fmt: skip
    session = account.own[id]
    session |= {"status": "expired", "url": None}
    if session["payment_intent"]:
        intents.void(account, session["payment_intent"], "abandoned")
    account.emit("checkout.session.expired", dict(session))
    return dict(session)


def lapse(account: Account) -> None:
    """Expires each session whose time has come."""
    for id, thing in list(account.own.items()):
        open = thing["object"] == "checkout.session" and thing["status"] == "open"
        if open and thing["expires_at"] <= account.now():
            expire(account, id)


def show(account: Account, id: str, error: str = "", status: int = 200) -> Page:
    session = account.own.get(id, {"object": None})
    if session["object"] != "checkout.session" or session["status"] != "open":
        return Page(410, _PAGE.render(step="over"))
    name = account.known(id, "_name")
    return Page(status, _PAGE.render(step="card", session=session, name=name, error=error))


def pay(account: Account, id: str, form: Object) -> Page:
    """What the payer has sent from the page: a card's number, expiry and code; or a wallet."""
    if (page := show(account, id)).status != 200:
        return page
    session = account.own[id]
    wallet = form.get("wallet")
    number = cards.VISA if wallet else "".join(form.get("number", "").split())
    if wallet not in (None, *_WALLETS) or not number.isdecimal() or len(number) != 16:
        return show(account, id, "Your card number is incorrect.", 400)
    intent = session["payment_intent"] or _intent(account, session)
    method = intents.card_method(account, number)
    account.note(method, _wallet=wallet and {"type": wallet})
    try:
        back = {"return_url": session["success_url"]}
        said = intents.confirm(account, intent, {"payment_method": method, **back})
    except StripeError as e:
        return show(account, id, str(e), 402)
    if said["status"] == "requires_action":
        return Page(303, location=said["next_action"]["redirect_to_url"]["url"])
    return _complete(account, session)


def challenge(account: Account, id: str) -> Page:
    """The page of the card's bank."""
    intent = objects.get(account, id, "pi_")
    if intent["status"] != "requires_action":
        return Page(410, _PAGE.render(step="over"))
    return Page(200, _PAGE.render(step="bank", intent=intent))


def authenticate(account: Account, id: str, form: Object) -> Page:
    """What the payer has told the bank."""
    if (page := challenge(account, id)).status != 200:
        return page
    session = account.own.get(account.known(id, "_session", ""))
    action = account.known(id, "next_action")
    try:
        intents.authorise(account, id, form.get("result") == "complete")
    except StripeError as e:
        if session:
            return show(account, session["id"], str(e), 402)
    if session:
        return _complete(account, session)
    back = action[action["type"]]["return_url"]
    return Page(303, location=back) if back else challenge(account, id)


def _intent(account: Account, session: Object) -> str:
    data = {"amount": session["amount_total"], "currency": session["currency"],
            "payment_method_types": session["payment_method_types"],
            **account.known(session["id"], "_data")}  # fmt: skip
    id: str = intents.create(account, data)["id"]
    account.note(id, _session=session["id"])
    session["payment_intent"] = id
    return id


def _complete(account: Account, session: Object) -> Page:
    """What is held only is not paid."""
    held = intents.get(account, session["payment_intent"])["status"] == "requires_capture"
    session |= {"status": "complete", "url": None, "payment_status": "unpaid" if held else "paid"}
    account.emit("checkout.session.completed", dict(session))
    to = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
    return Page(303, location=to)
