"""The way to the backend: records and events out, their acknowledgements in, status and live meter.

Nothing here decides about money: what is not acknowledged stays in the outbox, whatever the link
does. An acknowledgement counts only under the charger's own acknowledgement key."""

import asyncio
import binascii
import json

from evtill.app.clock import STEP_MS
from evtill.app.signed_record import FIRMWARE
from evtill.core import jws
from evtill.core.errors import (
    ClockError,
    EvtillError,
    JournalError,
    LinkError,
    SignatureError,
    TrustError,
)
from evtill.net import clock_sync
from evtill.net.mqtt_link import MqttLink
from evtill.net.worker import Worker

_STATUS_MS = 300000
_SYNC_MS = 3600000  # between synchronisations of a clock that is right
_RETRY_MS = 15000  # ... of one that is not
_TURN_MS = 1000
_LOSSES_MS = 60000


class Uplink:
    """app: compose.App, whose parts it reports on. network_up(config): joins the network."""

    def __init__(self, app, network_up):
        self._app = app
        config = self._config = app.config
        self._network_up = network_up
        self._ack_key = binascii.unhexlify(config["ack_key"])
        self._nonce = app.nonce
        charger = config["charger_id"]
        base = self._base = "evtill/v1/%s/" % charger
        app.charge_point.face.is_up = self.is_up
        self.worker = Worker()
        link = self._link = MqttLink(
            self.worker, charger, config["broker_host"], config["broker_port"], charger,
            config["mqtt_password"], config["keepalive_s"], _tls(app),
            subscriptions=[base + name for name in ("usage/ack", "event/ack", "cmd")],
            rx_bytes=1024, tx_bytes=512,
        )  # fmt: skip
        link.set_last_will(base + "status", self._will(), True, 1)
        link.on_message = self._on_message
        link.on_up = self._on_up
        link.on_down = self._on_down
        link.on_puback = self._on_puback
        link.on_room = self._on_room
        self._wake = asyncio.Event()
        self._unreadable = False  # flash, which was reported
        self._status = None  # the last one published, and when
        self._status_ms = self._meter_ms = self._losses_ms = 0
        self._unpaid = None  # why the payment API did not answer, last
        self._mistrusted = None  # why the broker was, last
        self._dropped = app.events.ring.dropped()

    def _will(self):
        return json.dumps({"state": "offline", "boot": self._app.boot, "nonce": self._nonce})

    # -- tasks --------------------------------------------------------------------------------

    async def run(self):
        """Task: keeps the link up and everything moving over it."""
        self._network_up(self._config)
        link = asyncio.create_task(self._link.run())
        try:
            while True:
                self._app.supervisor.beat("uplink")
                if link.done():
                    await link  # it ends only by an error, which is raised here
                    raise LinkError("the link ended")
                try:
                    await asyncio.wait_for_ms(self._wake.wait(), _TURN_MS)
                except asyncio.TimeoutError:
                    pass
                self._wake.clear()
                if self._link.up:
                    self._send()
        finally:
            link.cancel()

    async def run_clock(self):
        """Task: asks the time server until the clock is right, and hourly from then on."""
        app = self._app
        while True:
            app.supervisor.beat("clock")
            pause_ms = _RETRY_MS
            if app.clock.look():
                app.events.report("clock_set", "battery-backed clock")
            if self._config["ntp_host"] and await self._synchronise():
                pause_ms = _SYNC_MS
            await asyncio.sleep_ms(pause_ms)

    async def _synchronise(self):
        app = self._app
        before = app.clock.trust()
        try:
            unix_ms = await self.worker.call(
                clock_sync.query, self._config["ntp_host"], self._config["ntp_port"]
            )
        except (ClockError, OSError):
            return False  # told by the status's clock letter, which stays what it is
        moved_ms = app.clock.synchronise(unix_ms)
        if moved_ms is None:
            return False
        if before != "S":
            app.events.report("clock_set", "time server")
        if abs(moved_ms) > STEP_MS:
            app.events.report("clock_stepped", "by %d ms" % moved_ms)
        return True

    async def authorise(self, token, currency):
        """What payment_api.authorise() says of `token` (hex); None when it says nothing within
        payment_s, which are all that a driver waits, whatever else the worker is at."""
        from evtill.app.compose import forget
        from evtill.net import https, payment_api, tls_context

        config = self._config
        try:
            context = tls_context.context(self._app.hw.DATA, "payment_ca.der")
            answer = await asyncio.wait_for(
                self.worker.call(payment_api.authorise, https.post, context, config, token,
                                  currency), config["payment_s"])  # fmt: skip
            self._unpaid = None
            return answer
        except asyncio.TimeoutError:
            fault = "no answer in %d s" % config["payment_s"]
        except (EvtillError, OSError, MemoryError) as e:
            fault = e
        finally:
            for name in ("https", "payment_api", "tls_context"):
                forget(name, "evtill.net")
        if str(fault) != self._unpaid:
            self._unpaid = str(fault)
            mistrusted = isinstance(fault, TrustError)
            name = "server_mistrusted" if mistrusted else "payment_fault"
            self._app.events.report(name, "payment API: %s" % fault)
        return None

    # -- out ----------------------------------------------------------------------------------

    def is_up(self):
        """Whether the backend's broker can be reached."""
        return self._link.up

    def poke(self):
        """There is something to send."""
        self._wake.set()

    def _send(self):
        app = self._app
        now_ms = app.clock.now_ms()
        self._send_status(now_ms)
        self._report_losses(now_ms)
        for box, topic in ((app.outbox, "usage"), (app.events.ring, "event")):
            while True:
                item = self._next_of(box, now_ms)
                if item is None:
                    break
                name, payload = item
                try:
                    if self._publish(topic, payload, 1) is None:
                        return
                except MemoryError:  # it stays, and is tried again when it is overdue
                    print("no room in the heap to send", name)
                box.sent(name, now_ms)
                item = payload = None  # not both this one and the next in the heap
        if app.till.session and now_ms - self._meter_ms >= self._config["publish_meter_s"] * 1000:
            self._meter_ms = now_ms
            wh, ms, cost_minor = app.till.running()
            live = {"energy_wh": wh, "duration_ms": ms, "cost_minor": cost_minor,
                    "power_w": app.charge_point.metering.reading.power_w,
                    "ref": app.till.session.start["auth"]["ref"]}  # fmt: skip
            self._publish("meter", json.dumps(live), 0)

    def _next_of(self, box, now_ms):
        """What a box has to send; None as well while flash does not give it."""
        try:
            return box.next_to_send(now_ms)
        except JournalError as e:
            if not self._unreadable:
                self._unreadable = True
                self._app.events.report("journal_fault", str(e))
            return None

    def _report_losses(self, now_ms):
        """Tells of records set aside, damage found while reading, and events dropped."""
        report = self._app.events.report
        for name, why in self._app.outbox.refused:
            report("record_set_aside", "%s: %s" % (name, why[:80]))
        del self._app.outbox.refused[:]
        self._app.report_damage()
        dropped = self._app.events.ring.dropped()
        # Should this event be dropped itself, that is one more: not each second, then.
        if dropped > self._dropped and now_ms >= self._losses_ms:
            self._losses_ms = now_ms + _LOSSES_MS
            self._dropped = dropped
            report("events_dropped", "%d in all" % dropped)

    def _publish(self, topic, payload, qos, retain=False):
        """Packet id, or None when the link is full or gone: then it is sent again later."""
        try:
            return self._link.publish_nowait(self._base + topic, payload, retain, qos)
        except LinkError:
            return None

    def _send_status(self, now_ms):
        app = self._app
        tariff = app.till.tariff
        try:
            used_pct = app.journal.used_pct()
            self._unreadable = False
        except JournalError:
            used_pct = None  # flash cannot be read: that the charger takes no cards says `state`
        status = {
            "state": app.charge_point.status(), "firmware": FIRMWARE, "boot": app.boot,
            "nonce": self._nonce, "journal_used_pct": used_pct,
            "records_waiting": app.outbox.waiting(), "clock": app.clock.trust(),
            "tariff_sha256": tariff.sha256 if tariff else None,
            "tokens_sha256": app.tokens.sha256,
            "qr_expires_s": app.charge_point.face.qr_expires(),
        }  # fmt: skip
        if status == self._status and now_ms - self._status_ms < _STATUS_MS:
            return
        if self._publish("status", json.dumps(status), 1, True) is not None:
            self._status = status
            self._status_ms = now_ms

    # -- in -----------------------------------------------------------------------------------

    def _on_up(self, session_present):
        self._mistrusted = None
        self._app.events.report("link_up", "")
        self._app.outbox.resend_all()
        self._app.events.ring.resend_all()
        self._status = None
        self._wake.set()

    def _on_down(self, reason):
        print("link down:", reason)
        if isinstance(reason, TrustError) and str(reason) != self._mistrusted:
            self._mistrusted = str(reason)  # once, not at each attempt
            self._app.events.report("server_mistrusted", "broker: %s" % reason)

    def _on_puback(self, packet_id):
        self._wake.set()  # room for more; the backend's own acknowledgement is what counts

    def _on_room(self):
        self._wake.set()

    def _on_message(self, topic, payload):
        topic = topic.decode()
        if topic == self._base + "cmd":
            # Should the result not go out, the sender asks again under another id.
            self._publish("cmd/result", self._app.commands.handle(payload), 1)
            self._wake.set()
            return
        try:
            said = json.loads(jws.hs256_verify(payload, jws.ACK, self._ack_key))
            if not isinstance(said, dict) or said.get("charger") != self._config["charger_id"]:
                raise SignatureError("another charger's acknowledgement")
            self._acknowledged(topic, said)
        except (SignatureError, ValueError) as e:
            self._app.events.report("ack_invalid", str(e))
        self._wake.set()

    def _acknowledged(self, topic, said):
        name, sha256, error = said.get("id"), said.get("sha256"), said.get("error")
        if not isinstance(sha256, str) or not (name is None or isinstance(name, str)):
            raise SignatureError("acknowledgement without id and hash")
        box = self._app.outbox if topic == self._base + "usage/ack" else self._app.events.ring
        if error is None:
            box.confirm(name, sha256)
        else:
            box.refuse(name, sha256, str(error)[:80])


def _tls(app):
    """The context of the broker's link, None where the configuration says so."""
    if app.config["broker_tls"] == "off":
        return None
    from evtill.app.compose import forget
    from evtill.net import tls_context

    context = tls_context.context(app.hw.DATA, "broker_ca.der")
    forget("tls_context", "evtill.net")
    return context
