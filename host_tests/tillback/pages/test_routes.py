"""A driver pays at a charger: from the QR code to the receipt, and what goes wrong on the way."""

import re
import time
from urllib.parse import quote

import httpx
import pytest

from host_tests.tillback.pages.world import DECLINED, HOLD, VISA, C, World
from tillback import audit
from tillback.api.limits import Rate
from tillctl.tariff_compile import compile_tariff

BANK = httpx.Client(trust_env=False)


@pytest.fixture
def world(tmp_path, stripe_edge):
    with World(f"sqlite:///{tmp_path}/x.sqlite", stripe_edge) as made:
        yield made


def form_of(page):
    """A page's hidden fields."""
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))


def offer(world, nonce=None):
    return world.web.get(f"/c/{C}", params={"n": nonce} if nonce else {})


def pay(world, nonce=None, **changes):
    """The answer to a driver who has seen the offer and pays."""
    form = form_of(offer(world, nonce)) | changes
    world.attempt = form["id"]
    return world.web.post(f"/c/{C}/pay", data=form)


def page(world, attempt=None):
    return world.web.get(f"/p/{attempt or world.attempt}?lang=en")


def key(world):
    """Which page it is now."""
    found = page(world)
    assert found.status_code == 200, found.text
    news = world.web.get(f"/p/{world.attempt}/status.json?lang=en").json()
    assert f'data-key="{news["key"]}"' in found.text
    return news["key"]


def held(world):
    """A driver has paid, and the charger has been told to start."""
    at = pay(world, world.code()).headers["Location"]
    assert BANK.post(at, data={"number": VISA}).status_code == 303
    world.later(6)
    [(name, args)] = world.sent()
    assert name == "start" and args == {
        "ref": world.auth().ref, "method": "card", "ceiling_minor": HOLD}  # fmt: skip


def test_from_the_code_to_the_receipt(world):
    nonce = world.code()
    led = world.web.get(f"/q/{nonce.lower()}")
    assert led.headers["Location"] == f"/c/{C}?n={nonce}"
    shown = world.web.get(led.headers["Location"], headers={"Accept-Language": "de-AT"})
    assert "0,58" in shown.text and "50,00" in shown.text and '<html lang="de">' in shown.text
    policy = shown.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and world.edge.url in policy
    for name in re.findall(r'(?:href|src)="(/assets/[^"]+)"', shown.text):
        assert world.web.get(name).status_code == 200

    held(world)
    assert world.intent() == ("requires_capture", HOLD, 0)
    assert world.auth().provider_ref.startswith("pi_")
    assert key(world) == "starting"
    world.answer()
    world.online("charging")
    assert key(world) == "starting-plugged"
    world.meter()
    assert key(world) == "charging" and "€7.00" in page(world).text
    assert world.web.post(f"/p/{world.attempt}/stop", data={"lang": "en"}).status_code == 303
    assert [name for name, _ in world.sent()] == ["stop"] and key(world) == "stopping"
    world.answer()
    assert key(world) == "stopping"
    assert world.web.get(f"/r/{world.attempt}").status_code == 404
    world.record()
    assert key(world) == "finished-open"
    world.work()
    assert key(world) == "finished-settled"
    text = page(world).text
    assert "€7.20" in text and "€42.80" in text
    assert world.intent() == ("succeeded", 0, 720)
    assert "7.20" in world.web.get(f"/r/{world.attempt}").text


def test_in_a_browser(world, browser):
    browser.open(f"{world.url}/c/{C}?n={world.code()}&lang=en", width=390)
    browser.evaluate("document.querySelector('form button').click()")
    wait(browser, "document.querySelector('#number')?.name", "number")
    browser.evaluate("history.back()")  # not to a second payment, but to this one
    wait(browser, "document.body.dataset.key", "paying")
    browser.evaluate("document.querySelector('a.button').click()")
    wait(browser, "document.querySelector('#number')?.name", "number")
    browser.evaluate(f"document.querySelector('#number').value = '{DECLINED}'")
    browser.evaluate("document.querySelector('#pay').click()")
    wait(browser, "document.querySelector('#error')?.innerText", "declined")
    browser.evaluate(f"document.querySelector('#number').value = '{VISA}'")
    browser.evaluate("document.querySelector('#pay').click()")
    wait(browser, "location.pathname", "/p/")
    world.attempt = browser.evaluate("location.pathname").rpartition("/")[2]
    world.later(6)
    assert [name for name, _ in world.sent()] == ["start"]
    world.answer()
    world.meter()
    browser.evaluate("location.reload()")
    wait(browser, "document.querySelector('[data-live=cost]')?.innerText", "€7.00")
    browser.evaluate("document.querySelector('.ask summary').click()")
    browser.evaluate("document.querySelector('.ask form button').click()")
    wait(browser, "document.body.dataset.key", "stopping")
    world.sent()
    world.answer()
    world.record()
    world.work()
    wait(browser, "document.body.dataset.key", "finished-settled")  # by itself
    browser.evaluate("document.querySelector('a.button').click()")
    wait(browser, "location.pathname", "/r/")
    assert "7.20" in browser.evaluate("document.body.innerText")
    assert len(world.edge.events("payment_intent.created")) == 1


def wait(browser, expression, text):
    deadline = time.monotonic() + 15
    while text not in (browser.evaluate(f"document.body && ({expression} ?? '')") or ""):
        assert time.monotonic() < deadline, browser.evaluate("document.body.innerText")
        time.sleep(0.05)


def test_a_form_that_is_sent_twice_pays_once(world):
    first = pay(world, world.code())
    again = world.web.post(f"/c/{C}/pay", data=form_of_sent(first))
    assert first.headers["Location"] == again.headers["Location"]
    assert [one.name for one in world.edge.calls].count("checkout") == 1


def form_of_sent(answer):
    return dict(httpx.QueryParams(answer.request.content.decode()))


def test_a_code_opens_one_payment(world):
    nonce = world.code()
    pay(world, nonce)
    mine = offer(world, nonce)  # the cookie says so
    assert mine.status_code == 303 and f"/p/{world.attempt}" in mine.headers["Location"]
    world.web.cookies.clear()
    others = offer(world, nonce)
    assert others.status_code == 200 and "used already" in others.text
    assert world.attempt not in others.text
    own = form_of(offer(world)) | {"n": nonce}
    refused = world.web.post(f"/c/{C}/pay", data=own)
    assert refused.headers["Location"].startswith(f"/c/{C}?n=")
    assert page(world, own["id"]).status_code == 404


def test_on_postgresql(postgres_url, stripe_edge):
    with World(postgres_url, stripe_edge) as world:
        held(world)
        world.answer()
        world.meter()
        assert key(world) == "charging"
        world.record()
        world.work()
        assert key(world) == "finished-settled" and world.intent() == ("succeeded", 0, 720)
        for bad in ("\0", "x" * 5000):
            assert world.web.get(f"/q/{quote(bad)}").status_code == 404
            assert world.web.get(f"/c/{quote(bad)}").status_code == 404
            assert "too old" in offer(world, bad).text


def test_codes_that_are_none(world):
    nonce = world.code()
    assert "too old" in offer(world, "A" * 13).text
    assert world.web.get("/q/AAAA").status_code == 404
    world.later(901)
    assert "too old" in offer(world, nonce).text
    assert 'method="post"' in offer(world).text  # a sticker's goes on


@pytest.mark.parametrize("said, words", [
    ({"state": "offline"}, "cannot be reached"), ({"state": "charging"}, "in use"),
    ({"state": "reserved"}, "reserved"), ({"state": "faulted"}, "out of order"),
    ({"state": "unavailable"}, "out of order"),
])  # fmt: skip
def test_a_charger_that_is_not_there_for_you(world, said, words):
    form = form_of(offer(world))
    world.online(**said)
    shown = offer(world)
    assert words in shown.text and "<form" not in shown.text
    answer = world.web.post(f"/c/{C}/pay", data=form)
    assert answer.headers["Location"].startswith(f"/c/{C}")
    assert world.auth() is None and world.edge.calls == []


def test_nobody_pays_while_commands_cannot_go_out(world):
    form = form_of(offer(world))
    world.connected = False
    assert "cannot be reached" in offer(world).text
    world.web.post(f"/c/{C}/pay", data=form)
    assert world.auth() is None


def test_a_charger_that_has_gone_since(world):
    at = pay(world).headers["Location"]
    BANK.post(at, data={"number": VISA})
    world.online("offline")
    world.later(6)
    assert world.sent() == []
    assert world.intent()[0] == "canceled" and key(world) == "not_started-released"
    assert "cannot be reached" in page(world).text


def test_a_broker_that_has_gone_since(world):
    at = pay(world).headers["Location"]
    BANK.post(at, data={"number": VISA})
    world.connected = False
    world.later(6)
    assert world.intent()[0] == "canceled" and key(world) == "not_started-released"


def test_a_charger_that_refuses(world):
    held(world)
    world.answer("cable cannot be locked", "rejected")
    world.work()
    assert world.intent()[0] == "canceled" and key(world) == "not_started-released"
    assert "cable cannot be locked" in page(world).text


def test_nobody_plugs_in(world):
    held(world)
    world.answer()
    world.later(50)
    assert [name for name, _ in world.sent()] == ["diagnostics"] and key(world) == "starting"
    world.answer("none before 1")
    world.work()
    assert world.intent()[0] == "canceled" and "No car was plugged in" in page(world).text


def test_a_stop_that_does_not_arrive_can_be_given_again(world):
    held(world)
    world.answer()
    world.meter()
    for _ in range(2):
        world.web.post(f"/p/{world.attempt}/stop", data={"lang": "en"})
        assert key(world) == "stopping"
        assert [name for name, _ in world.sent()] == ["stop"]
        world.answer("not now", "rejected")
        assert key(world) == "charging" and "/stop" in page(world).text
        world.later(1)


def test_two_pay_at_once(world):
    """At a sticker: the charger takes the first."""
    for _ in range(2):
        at = pay(world).headers["Location"]
        BANK.post(at, data={"number": VISA})
    world.later(6)
    assert [name for name, _ in world.sent()] == ["start", "start"]
    world.answer("in use", "rejected")
    world.work()
    assert [one["status"] for one in holds(world)] == ["canceled", "requires_capture"]


def holds(world):
    """Stripe's, the newest first."""
    found = world.edge.sdk().v1.payment_intents.list()
    return [one.to_dict() for one in found.data]


def test_an_abandoned_payment(world):
    at = pay(world).headers["Location"]
    world.later(60)
    assert key(world) == "paying"
    back = world.web.get(f"/p/{world.attempt}/checkout").headers["Location"]
    assert back == at
    world.later(900)
    assert key(world) == "expired" and world.auth().state == "released"
    assert BANK.get(at).status_code == 410  # nobody can pay it any more


def test_a_payment_that_is_cancelled(world):
    at = pay(world).headers["Location"]
    world.web.post(f"/p/{world.attempt}/cancel", data={"lang": "nl"})
    world.work()
    assert key(world) == "refused" and "cancelled" in page(world).text
    assert BANK.get(at).status_code == 410 and world.auth().state == "released"


def test_paid_in_the_moment_that_it_is_cancelled(world):
    at = pay(world).headers["Location"]
    BANK.post(at, data={"number": VISA})
    world.web.post(f"/p/{world.attempt}/cancel", data={"lang": "en"})
    world.work()
    assert world.intent()[0] == "canceled" and world.auth().state == "released"
    assert world.sent() == []


def test_stripe_is_away(world):
    world.edge.next_fault("checkout", "drop")
    answer = pay(world)
    assert answer.headers["Location"].startswith("/p/") and key(world) == "paying"
    world.later(6)
    back = world.web.get(f"/p/{world.attempt}/checkout").headers["Location"]
    assert back.startswith(world.edge.url)


def test_a_bill_of_nothing_takes_nothing(world):
    held(world)
    world.answer()
    world.record(gross=0)
    world.work()
    assert world.intent() == ("canceled", 0, 0) and key(world) == "finished-settled"
    assert "€50.00" in page(world).text


def test_a_record_in_another_currency_takes_nothing(world):
    francs = compile_tariff({"id": "DE*EVT*T2", "currency": "CHF", "elements": [
        {"price_components": [{"type": "ENERGY", "price": 0.6, "step_size": 1}]}]},
        "UTC", world.now.year)  # fmt: skip
    world.add_tariff(francs, "CHF")
    world.online(tariff=francs)
    assert "CHF" in offer(world).text
    held(world)
    world.answer()
    world.record()
    world.work()
    assert world.intent()[0] == "canceled" and key(world) == "finished-settled"
    assert "record_in_other_currency" in {one.name for one in world.store.alarms()}


def test_webhooks_are_hints(world):
    at = pay(world).headers["Location"]
    BANK.post(at, data={"number": VISA})
    world.work()
    assert world.auth().state == "requested"  # the next look is due in some seconds
    [event] = world.edge.events("payment_intent.amount_capturable_updated")
    old = world.edge.now_s() - 301
    assert world.hook.deliver(event, secret="whsec_wrong") == [400]
    assert world.hook.deliver(event, at_s=old) == [400]
    lying = event | {"data": {"object": event["data"]["object"] | {"metadata": {"evtill_ref": 1}}}}
    assert world.hook.deliver(lying) == [204]
    world.work()
    assert world.auth().state == "requested"
    assert world.hook.deliver(event, event, event) == [204] * 3
    world.work()
    assert world.auth().state == "charging" and len(world.sent()) == 1
    assert world.hook.deliver(event) == [204]
    world.work()
    assert world.auth().state == "charging" and world.sent() == []


def test_a_webhook_says_nothing_by_itself(world):
    """Rightly signed, but Stripe, asked, knows better."""
    pay(world)
    event = {"id": "evt_1", "type": "payment_intent.amount_capturable_updated", "data": {
        "object": {"metadata": {"evtill_ref": world.auth().ref}, "status": "requires_capture"}}}
    assert world.hook.deliver(event) == [204]
    world.work()
    assert world.auth().state == "requested" and world.sent() == []


def test_a_dispute_is_booked_as_stripe_says(world):
    held(world)
    world.answer()
    world.record()
    world.work()
    dispute = world.edge.open_dispute(world.auth().provider_ref)
    [event] = world.edge.events("charge.dispute.created")
    assert world.hook.deliver(event, secret="whsec_wrong") == [400]
    world.edge.next_fault("retrieve_dispute", "500")
    assert world.hook.deliver(event) == [503] and world.auth().state == "captured"
    assert world.hook.deliver(event, event) == [204, 204]
    assert world.auth().state == "disputed" and key(world) == "finished-settled"
    world.edge.close_dispute(dispute, "won")
    [over] = world.edge.events("charge.dispute.closed")
    assert world.hook.deliver(over, event, over) == [204] * 3
    assert world.auth().state == "captured"
    with world.database.read() as session:
        assert audit.check(session) == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"{" * 60000])
def test_a_webhook_that_is_none(world, body):
    for headers in ({}, {"Stripe-Signature": "t=1,v1=00"}, {"Stripe-Signature": "t=x,v1=,=,"}):
        answer = world.web.post("/stripe/webhook", content=body, headers=headers)
        assert answer.status_code == 400 and "Traceback" not in answer.text


def test_who_asks_too_often_waits(tmp_path, stripe_edge):
    url, often = f"sqlite:///{tmp_path}/x.sqlite", {"rate": Rate(5, 0.1), "pay_rate": Rate(1, 0.01)}
    with World(url, stripe_edge, **often) as world:
        assert pay(world).status_code == 303
        assert pay(world).status_code == 429
        answers = [offer(world).status_code for _ in range(4)]
        assert answers == [200, 429, 429, 429]
        assert int(offer(world).headers["Retry-After"]) >= 1
        world.later(10)
        assert offer(world).status_code == 200


def test_what_nobody_should_send(world):
    form = form_of(offer(world))
    path = f"/c/{C}/pay"
    web = world.web
    assert web.post(path, content=b"x" * 10_000_000).status_code == 413
    assert web.post(path, json=form).status_code == 400
    assert web.post(path, data={"lang": "en"}).status_code == 400
    assert web.post(path, data=form | {"id": "../" + "a" * 21}).status_code == 400
    assert web.post(path, data={str(n): "" for n in range(50)}).status_code == 400
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert web.post(path, data=form, headers=foreign).status_code == 403
    for bad in ("' OR 1=1 --", "{{7*7}}", "<script>alert(1)</script>", "\0", "%", "x" * 5000):
        shown = web.get(f"/c/{C}", params={"n": bad, "lang": bad})
        assert shown.status_code == 200 and "too old" in shown.text
        assert "<script>al" not in shown.text
        moved = web.post(path, data=form | {"n": bad, "lang": bad}).headers["Location"]
        assert moved.startswith(f"/c/{C}?n=") and "\r" not in moved
        for under in ("/c/", "/p/", "/q/", "/r/"):
            assert web.get(under + quote(bad[:40], safe="")).status_code == 404
    assert world.auth() is None and world.edge.calls == []


def test_no_secret_in_the_log(world, caplog):
    with caplog.at_level("DEBUG"):
        at = pay(world).headers["Location"]
        BANK.post(at, data={"number": DECLINED})
        world.later(6)
        page(world)
    own = [one.getMessage() for one in caplog.records
           if one.name.partition(".")[0] in ("tillback", "stripe")]  # fmt: skip
    for secret in (world.edge.key, world.hook.endpoints[0]["secret"], at, world.attempt):
        assert not [line for line in own if secret in line]
