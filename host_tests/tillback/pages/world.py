"""A backend with its pages on HTTP, Stripe behind it, and a charger that answers by hand."""

import asyncio
import contextlib
import datetime
import hashlib
import json
import threading

import httpx

from evtill.core.commands import result_mac
from host_tests.fakes import records
from host_tests.tillback.api.client import ENDLESS
from tillback import orders, qr, service
from tillback.api.app import create_app
from tillback.db.tables import Authorization, Order, Tariff
from tillback.intake import Intake
from tillback.pages import routes
from tillback.payments.attempts import Opener
from tillback.payments.settle import Settler
from tillback.payments.starting import Starter
from tillback.payments.stripe import Stripe
from tillback.store import Store
from tillctl.tariff_compile import compile_tariff

C = records.CHARGER
KEY = bytes(range(32))
SIGNER = records.Signer()
HOLD = 5000
VISA, DECLINED = "4242424242424242", "4000000000000002"
EVERY_YEAR = compile_tariff(records.OCPI_TARIFF, "UTC", datetime.datetime.now(datetime.UTC).year)


class World:
    """A context manager; time passes by hand: `now`. `web`: a driver's browser that runs nothing;
    it follows no redirects."""

    def __init__(self, url, edge, **options):
        self.edge = edge
        self.store = Store(url)
        self.store.register(C, SIGNER.public.pem, bytes(32), command_key=KEY)
        self.database = self.store.database
        self.now = datetime.datetime.now(datetime.UTC)  # as what comes in is stamped
        self.stripe = Stripe(edge.key, edge.url)
        self.settler = Settler(self.database, {"stripe": self.stripe}, self._clock)
        self.opener = Opener(self.database, lambda: self.connected, self._clock)
        self.starter = Starter(self.database, self._clock)
        self.intake = Intake(self.store)
        self.connected = True
        self.hook = edge.account.webhooks
        app = create_app(self.database, clock=self._clock)
        self._server = service.HttpServer(app, "127.0.0.1", 0)
        self.url = self._server.url
        endpoint = self.hook.register(f"{self.url}/stripe/webhook")
        self.hook.hold()
        app.include_router(routes.router(routes.Site(
            self.database, self.settler, self.stripe, self.url, HOLD, endpoint["secret"],
            lambda: self.connected, (edge.url,), self._clock,
            **{"rate": ENDLESS, "pay_rate": ENDLESS} | options,
        )))  # fmt: skip
        self.web = httpx.Client(base_url=self.url, trust_env=False)
        self.online()

    def _clock(self):
        return self.now

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._server.run())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self):
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def __exit__(self, *_):
        self.hook.endpoints.clear()
        self.web.close()
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self.store.close()

    # --- the charger ------------------------------------------------------------------------------

    def say(self, kind, **said):
        return self.intake.take(f"evtill/v1/{C}/{kind}", json.dumps(said).encode())

    def online(self, state="available", tariff=EVERY_YEAR, **said):
        self.add_tariff(tariff)
        sha256 = hashlib.sha256(tariff).hexdigest()
        self.say("status", **{"state": state, "boot": 1, "nonce": "n1", "tariff_sha256": sha256}
                 | said)  # fmt: skip

    def add_tariff(self, table, currency="EUR"):
        sha256 = hashlib.sha256(table).hexdigest()
        with self.database.write() as session:
            if session.get(Tariff, sha256) is None:
                session.add(Tariff(sha256=sha256, id="DE*EVT*T1", currency=currency, table=table,
                                   source=None, added_at="2026-01-01T00:00:00.000Z"))  # fmt: skip

    def code(self):
        """The nonce of a QR code on its display."""
        offer = qr.make("https://pay.example/q/{nonce}", now_s=int(self.now.timestamp()))
        self.store.add_offer(offer.nonce, C, offer.args["expires_s"])
        return offer.nonce

    def sent(self):
        """The commands that go out now: [(name, args)]."""
        bodies = [one.id for one in self._orders() if one.state == orders.SENT]
        orders.take(self.database, self.now)
        return [(one.name, json.loads(one.args)) for one in self._orders()
                if one.state == orders.SENT and one.id not in bodies]  # fmt: skip

    def _orders(self):
        with self.database.read() as session:
            return list(session.query(Order).order_by(Order.made_at))

    def answer(self, detail="", status="accepted"):
        """The charger's result of the newest command."""
        order = self._orders()[-1].id
        self.say("cmd/result", id=order, status=status, detail=detail,
                 mac=result_mac(KEY, order, status, detail))  # fmt: skip

    def meter(self, **said):
        self.say("meter", **{"energy_wh": 12000, "duration_ms": 4000000, "cost_minor": 700,
                             "power_w": 11000, "ref": self.auth().ref} | said)  # fmt: skip

    def record(self, gross=720, **changes):
        """The design's example session, on this authorisation."""
        auth = {"method": "card", "token": None, "assurance": "card", "ref": self.auth().ref,
                "ceiling_minor": HOLD}  # fmt: skip
        self.add_tariff(records.TARIFF)
        billed = records.bill()
        if not gross:
            billed |= {"periods": [], "excl_minor": 0, "incl_minor": 0, "exact_excl": "0",
                       "energy_wh": 0}  # fmt: skip
            meter = records.facts()["meter"]
            changes["meter"] = meter | {"end_wh": meter["start_wh"]}
        facts = records.facts(1, auth=auth, stop_reason="Remote", auth_method="COMMAND", **changes)
        jws = records.envelope(SIGNER, records.payload(SIGNER, facts, billed))
        ack = self.intake.take(f"evtill/v1/{C}/usage", jws)
        assert ack is not None and not ack.refused, ack

    # --- the backend ------------------------------------------------------------------------------

    def work(self):
        """What goes on by itself."""
        for _ in range(3):
            self.settler.run_due()
            self.opener.run_due()
            self.starter.run_due()

    def later(self, s):
        self.now += datetime.timedelta(seconds=s)
        self.work()

    def auth(self):
        """The newest authorisation."""
        with self.database.read() as session:
            found = session.query(Authorization).order_by(Authorization.created_at.desc())
            return found.first()

    def intent(self):
        """What Stripe holds: (status, capturable, received)."""
        found = self.edge.sdk().v1.payment_intents.retrieve(self.auth().provider_ref)
        return found.status, found.amount_capturable, found.amount_received
