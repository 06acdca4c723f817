"""A session, and its page: as forms, and in a browser."""

import time

import httpx
import pytest
import stripe

WEB = httpx.Client(verify=False)  # as no CA is loaded
VISA = "4242 4242 4242 4242"


@pytest.fixture
def session(stripe_edge, sdk):
    """Makes a session for a hold of EUR 50.00, or other."""

    def make(**other):
        return sdk.v1.checkout.sessions.create(params={
            "mode": "payment", "metadata": {"of": "session"},
            "success_url": stripe_edge.url + "/paid?session={CHECKOUT_SESSION_ID}",
            "cancel_url": stripe_edge.url + "/back",
            "line_items": [{"quantity": 1, "price_data": {
                "currency": "eur", "unit_amount": 5000, "product_data": {"name": "Charging"}}}],
            "payment_intent_data": {"capture_method": "manual", "metadata": {"of": "intent"}},
            **other,
        })  # fmt: skip

    return make


def pay(session, **form):
    return WEB.post(session.url, data=form or {"number": VISA})


def test_a_hold_by_a_card(stripe_edge, sdk, session):
    made = session(client_reference_id="a1")
    assert (made.status, made.payment_status, made.payment_intent) == ("open", "unpaid", None)
    page = WEB.get(made.url)
    assert page.status_code == 200 and "Charging" in page.text

    paid = pay(made)
    assert paid.status_code == 303
    assert paid.headers["Location"] == f"{stripe_edge.url}/paid?session={made.id}"
    done = sdk.v1.checkout.sessions.retrieve(made.id, params={"expand": ["payment_intent"]})
    assert (done.status, done.payment_status, done.url) == ("complete", "unpaid", None)
    assert (done.metadata.to_dict(), done.client_reference_id) == ({"of": "session"}, "a1")
    intent = done.payment_intent
    assert (intent.status, intent.metadata.to_dict()) == ("requires_capture", {"of": "intent"})
    assert [event["type"] for event in stripe_edge.events()] == [
        "payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated",
        "checkout.session.completed",
    ]  # fmt: skip
    assert sdk.v1.payment_intents.capture(intent.id, params={"amount_to_capture": 900})
    found = sdk.v1.checkout.sessions.list(params={"payment_intent": intent.id}).data
    assert [one.id for one in found] == [made.id]
    assert pay(made).status_code == WEB.get(made.url or page.url).status_code == 410


def test_without_a_hold_it_is_paid_at_once(sdk, session):
    made = session(payment_intent_data={})
    pay(made)
    assert sdk.v1.checkout.sessions.retrieve(made.id).payment_status == "paid"


def test_a_declined_card_and_then_another(stripe_edge, sdk, session):
    made = session()
    refused = pay(made, number="4000000000000002")
    assert refused.status_code == 402 and "Your card was declined" in refused.text
    tried = sdk.v1.checkout.sessions.retrieve(made.id)
    assert tried.status == "open"
    [event] = stripe_edge.events("payment_intent.payment_failed")
    assert event["data"]["object"]["id"] == tried.payment_intent
    with pytest.raises(stripe.InvalidRequestError, match="expire"):
        sdk.v1.payment_intents.cancel(tried.payment_intent)
    assert pay(made).status_code == 303
    intent = sdk.v1.payment_intents.retrieve(tried.payment_intent)
    assert intent.status == "requires_capture"
    assert len(stripe_edge.events("payment_intent.created")) == 1


@pytest.mark.parametrize("result, status", [("complete", "complete"), ("fail", "open")])
def test_a_bank_asks_the_payer(sdk, session, result, status):
    made = session()
    bank = pay(made, number="4000002760003184").headers["Location"]
    assert "Your bank asks" in WEB.get(bank).text
    said = WEB.post(bank, data={"result": result})
    assert said.status_code == (303 if result == "complete" else 402)
    assert sdk.v1.checkout.sessions.retrieve(made.id).status == status
    assert WEB.post(bank, data={"result": "complete"}).status_code == 410
    if result == "fail":
        assert pay(made).status_code == 303


def test_a_bank_asks_without_a_session(stripe_edge, sdk, hold):
    intent = hold(payment_method="pm_card_authenticationRequired", return_url="http://127.0.0.1/b")
    assert intent.status == "requires_action"
    said = WEB.post(intent.next_action.redirect_to_url.url, data={"result": "complete"})
    assert said.headers["Location"] == "http://127.0.0.1/b"
    assert sdk.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    assert len(stripe_edge.events("payment_intent.requires_action")) == 1


@pytest.mark.parametrize("wallet", ["apple_pay", "google_pay"])
def test_a_wallet(stripe_edge, sdk, session, wallet):
    made = session()
    assert pay(made, wallet=wallet).status_code == 303
    done = sdk.v1.checkout.sessions.retrieve(
        made.id, params={"expand": ["payment_intent.latest_charge"]}
    )
    card = done.payment_intent.latest_charge.payment_method_details.card
    assert card.wallet.type == wallet


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize("how", ["clock", "call"])
def test_a_session_ends(stripe_edge, sdk, session, how, tried):
    made = session(expires_at=int(stripe_edge.now_s()) + 31 * 60)
    if tried:
        pay(made, number="4000000000009995")
    if how == "call":
        sdk.v1.checkout.sessions.expire(made.id)
    else:
        stripe_edge.advance(31 * 60)
    over = sdk.v1.checkout.sessions.retrieve(made.id)
    assert (over.status, over.url) == ("expired", None)
    assert len(stripe_edge.events("checkout.session.expired")) == 1
    assert pay(made).status_code == 410
    if tried:
        assert sdk.v1.payment_intents.retrieve(over.payment_intent).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="status of expired"):
        sdk.v1.checkout.sessions.expire(made.id)


@pytest.mark.parametrize(
    "params",
    [
        {"expires_at": 1}, {"expires_at": 4102444800}, {"mode": "subscription"},
        {"success_url": ""}, {"line_items": []},
        {"payment_intent_data": {"capture_methods": "manual"}},
        {"line_items": [{"quantity": 1, "price_data": {
            "currency": "eur", "unit_amount": 49, "product_data": {"name": "x"}}}]},
    ],
)  # fmt: skip
def test_a_session_that_is_wrong(session, params):
    with pytest.raises(stripe.InvalidRequestError):
        session(**params)


@pytest.mark.parametrize("number", ["", "4242", "<b>", "9" * 16])
def test_a_number_that_is_no_test_card(stripe_edge, session, number):
    made = session()
    refused = pay(made, number=number)
    assert refused.status_code in (400, 402) and 'id="error"' in refused.text
    assert stripe_edge.events("checkout.session.completed") == []


def test_a_name_is_text(session):
    made = session(line_items=[{"quantity": 1, "price_data": {
        "currency": "eur", "unit_amount": 500, "product_data": {"name": "<script>"}}}])  # fmt: skip
    assert "<script>" not in WEB.get(made.url).text


def test_in_a_browser(stripe_edge, sdk, session, browser):
    made = session()
    browser.open(made.url, width=390)
    send(browser, "4000000000000002", "document.querySelector('#error')?.innerText", "declined")
    send(browser, "4000002760003184", "document.querySelector('h1')?.innerText", "Your bank asks")
    browser.evaluate("document.querySelector('#complete').click()")
    wait(browser, "location.href", f"/paid?session={made.id}")
    done = sdk.v1.checkout.sessions.retrieve(made.id, params={"expand": ["payment_intent"]})
    assert done.payment_intent.amount_capturable == 5000


def send(browser, number, expression, text):
    browser.evaluate(f"document.querySelector('#number').value = '{number}'")
    browser.evaluate("document.querySelector('#pay').click()")
    wait(browser, expression, text)


def wait(browser, expression, text):
    deadline = time.monotonic() + 10
    while text not in (browser.evaluate(f"{expression} ?? ''") or ""):
        assert time.monotonic() < deadline, browser.evaluate("document.body.innerText")
        time.sleep(0.02)
