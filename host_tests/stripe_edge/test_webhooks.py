"""Events on their way, read as a receiver reads them: with Stripe's SDK."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stripe


class Receiver:
    """Keeps what it is sent at `url`, as (body, signature); answers with `status`."""

    def __init__(self):
        self.got = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((body, self.headers["Stripe-Signature"]))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def types(self, secret):
        return [stripe.Webhook.construct_event(*one, secret).type for one in self.got]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


HELD = ["payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated"]


def test_events_are_signed(stripe_edge, receiver, hold):
    hooks = stripe_edge.account.webhooks
    secret = hooks.register(receiver.url)["secret"]
    intent = hold(metadata={"ref": "a1"})
    hooks.settle()
    assert receiver.types(secret) == HELD
    event = stripe.Webhook.construct_event(*receiver.got[-1], secret)
    assert event.data.object.id == intent.id
    assert event.data.object.metadata.to_dict() == {"ref": "a1"}
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(*receiver.got[-1], "whsec_other")


def test_an_endpoint_through_the_api(stripe_edge, sdk, receiver, hold):
    made = sdk.v1.webhook_endpoints.create(
        params={"url": receiver.url, "enabled_events": ["payment_intent.canceled"]}
    )
    intent = hold()
    sdk.v1.payment_intents.cancel(intent.id)
    stripe_edge.account.webhooks.settle()
    assert receiver.types(made.secret) == ["payment_intent.canceled"]
    sdk.v1.webhook_endpoints.delete(made.id)
    sdk.v1.payment_intents.cancel(hold().id)
    stripe_edge.account.webhooks.settle()
    assert len(receiver.got) == 1


def test_what_is_not_taken_comes_again(stripe_edge, receiver, hold):
    hooks = stripe_edge.account.webhooks
    secret = hooks.register(receiver.url)["secret"]
    receiver.status = 500
    hold()
    hooks.settle()
    assert [event["type"] for event in hooks.waiting] == HELD
    receiver.status, receiver.got = 200, []
    stripe_edge.advance(3600)
    hooks.settle()
    assert (receiver.types(secret), hooks.waiting) == (HELD, [])


def test_nobody_there(stripe_edge, hold):
    hooks = stripe_edge.account.webhooks
    hooks.register("http://127.0.0.1:9/nobody")
    hold()
    hooks.settle()
    assert len(hooks.waiting) == 3
    assert hooks.deliver(hooks.waiting[0]) == [0]


def test_late_in_another_order_and_twice(stripe_edge, receiver, hold):
    hooks = stripe_edge.account.webhooks
    secret = hooks.register(receiver.url)["secret"]
    hooks.hold()
    hold()
    hooks.settle()
    assert receiver.got == []
    first, second, third = hooks.waiting
    assert hooks.deliver(third, second, third) == [200, 200, 200]
    assert receiver.types(secret) == [HELD[2], HELD[1], HELD[2]]
    assert hooks.waiting == [first]
    hooks.resume()
    hooks.settle()
    assert receiver.types(secret)[3:] == [HELD[0]]


def test_old_and_forged_ones(stripe_edge, receiver, hold):
    hooks = stripe_edge.account.webhooks
    secret = hooks.register(receiver.url)["secret"]
    hooks.hold()
    hold()
    event = hooks.waiting[0]
    hooks.deliver(event, at_s=time.time() - 301)
    hooks.deliver(event, secret="whsec_forged")
    for body, signature in receiver.got:
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body, signature, secret)


def test_events_can_be_asked_for(sdk, hold):
    hold()
    [event] = sdk.v1.events.list(params={"type": "charge.succeeded"}).data
    assert sdk.v1.events.retrieve(event.id).data.object.object == "charge"
