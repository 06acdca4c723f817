"""One connector: carries out what core.session decides, with the board's parts and the till."""

import asyncio
from binascii import unhexlify

from evtill.app import screens
from evtill.app.access import Access, Claim
from evtill.app.bookings import Bookings
from evtill.app.face import Face
from evtill.app.metering import Metering
from evtill.app.taps import Taps
from evtill.app.till import FAULTY, FULL, SILENT
from evtill.core import session as states
from evtill.core.errors import (
    EvtillError,
    JournalError,
    JournalFull,
    MeterError,
    ModbusError,
    SignatureError,
    TariffError,
)

_RETRY_MS = 5000  # between attempts at what flash or the meter refuses
_CONTACT_MS = 100  # contacts have moved by then
_REBOOT_MS = 3000
_TICK_MS = 1000  # on the clock's whole seconds, whatever the work between them took
_QUEUE = 16


class ChargePoint:
    """parts: {"meter", "reader", "contactor", "display", "signals", "language", "plugged",
    "circuit", "reset", "recovery"}; report(name, detail): an event; beat(task name): the
    supervisor's.

    state: as in core.session. access, face, metering, plug, taps: the parts of it that have a
    module."""

    def __init__(self, config, parts, till, tokens, clock, report, beat):
        self._config = config
        self._meter = parts["meter"]
        self._reset = parts["reset"]
        self._recovery = parts["recovery"]
        self._till = till
        self._clock = clock
        self._report = report
        self._beat = beat
        self.state = states.INITIAL
        self.face = Face(config, parts, parts["language"], till, clock, report, beat)
        self.access = Access(config, tokens, till, clock, self.face, report)
        self.metering = Metering(config, self._meter, till, clock, report, beat, self)
        self.bookings = self.access.bookings = Bookings(
            tokens.folder, till, self.metering, clock, report, self.access.same_group
        )  # fmt: skip
        self.taps = Taps(
            config, parts["reader"], self.access, clock, self.face, report, beat, self
        )  # fmt: skip
        if parts["circuit"]:
            from evtill.app.plug_side import PlugSide

            self.plug = PlugSide(
                config, parts["circuit"], parts["contactor"], report, beat, self
            )  # fmt: skip
        else:
            from evtill.app.plug_contact import PlugContact

            self.plug = PlugContact(
                parts["plugged"], parts["contactor"], self.post, report, beat
            )  # fmt: skip
        self._queue = []
        self._wake = asyncio.Event()
        self._plug_deadline_ms = None
        self._checkpoint_ms = 0
        self._journal_failed = False
        self._reboot_ms = None
        self._retry_ms = 0  # when to try again what flash or the meter refused
        self._ended = None  # (reason, monotonic ms) of a session without its final reading yet
        self._continues = config["meter_loss"] == "continue"
        self._loss_ms = config["meter_loss_s"] * 1000
        self._effects = {
            "authorise": self._authorise, "claim": self._take_claim, "ask_plug": self._ask_plug,
            "start": self._start, "stop": self._stop,
            "say_refused": self._say_refused,
            "say_cancelled": self._say_cancelled, "say_in_use": self._say_in_use,
            "say_finished": self._say_finished, "say_fault": self._say_fault,
            "say_available": self._say_available, "say_unavailable": self._say_available,
        }  # fmt: skip
        if self._recovery.why or not self._find_booking():
            self.state = states.step(states.INITIAL, "fault")[0]

    # -- events in ----------------------------------------------------------------------------

    def post(self, event, detail=None):
        """Queues an event for the session; a full queue drops it (a driver taps again)."""
        if len(self._queue) < _QUEUE:
            self._queue.append((event, detail))
            self._wake.set()

    def remote_start(self, auth, limits):
        """Starts a session that the backend has authorised: `auth` as in the record, limits as
        Till.start() takes them. Returns why not, None when it is on its way."""
        why = self._why_busy()
        if why is None and not self.bookings.lets(None, auth["ref"]):
            why = "reserved"
        if why is None:
            # Whose card may stop it: nobody's has a ref for its token.
            token = unhexlify(auth["token"]) if auth["token"] else auth["ref"]
            self.post("remote", (token, auth, limits))
        return why

    def whereabouts(self, ref):
        """What has become of a remote start: "charging", "reserved", "undecided" (ask again), or
        "none before N": unless a record below seq N names it, there was no session, nor will be."""
        session = self._till.session
        if session and session.start["auth"]["ref"] == ref:
            return "charging"
        if self._queue or self._recovery.why or self.state[0] in ("authorising", "authorised"):
            return "undecided"
        booking = self.bookings.booking
        if booking and booking["ref"] == ref:
            return "reserved"
        return "none before %d" % self._till.next_seq()

    def _why_busy(self):
        why = self._recovery.why or self.plug.why or self._till.why_not()
        return self.state[0] if why is None and self.state[0] != "available" else why

    def reserve(self, booking):
        """Reserves the charger, durably; `booking` as app.reservation keeps it. Returns why not, or
        None. Raises OSError."""
        why = self._why_busy() or self.bookings.make(booking)
        self._wake.set()
        return why

    def cancel(self, ref):
        """Ends a reservation, durably; what it costs is billed at once. Returns why not, or None.
        Raises OSError."""
        if self.state[0] in ("authorising", "authorised"):
            return "the session is about to start"
        why = self.bookings.cancel(ref)
        self._wake.set()
        return why

    def recheck(self):
        """The token list has changed: a session whose card it blocks now ends."""
        token = self.state[1]
        if self.state[0] in states.RUNNING + ("authorised",) and isinstance(token, bytes):
            if self.access.is_blocked(token):
                self.post("stop", "DeAuthorized")

    def status(self):
        """The state as the backend sees it."""
        name = self.state[0]
        return "reserved" if name == "available" and self.bookings.booking else name

    def reboot_soon(self):
        """Once what is to be said of it had time to go out."""
        self._reboot_ms = self._clock.now_ms() + _REBOOT_MS

    async def run_session(self):
        """Task: takes the events one by one and carries out what follows.

        Begun anew by the supervisor, it may find a session whose end died halfway: what is
        durable of it is in the journal, and a boot settles it from there."""
        if self._till.session and self.state[0] not in states.RUNNING:
            self.plug.open()
            self._reset()
        while True:
            self._beat("session")
            left_ms = _TICK_MS - self._clock.now_ms() % _TICK_MS
            try:
                await asyncio.wait_for_ms(self._wake.wait(), left_ms)
            except asyncio.TimeoutError:
                pass
            self._wake.clear()
            while self._queue:
                event, detail = self._queue.pop(0)
                await self._handle(event, detail)
            await self._tick()

    async def _handle(self, event, detail):
        owner = self.state[1]
        if event == "tap" and detail != owner and self.access.same_group(detail, owner):
            detail = owner  # whoever of a group may charge also stops for it
        if event == "remote" and self.state[0] != "available":
            self._report("start_refused", "command: " + self.state[0])  # since it was accepted
        while event:
            self.state, effects = states.step(self.state, event, detail)
            event = None
            for name, argument in effects:
                outcome = await self._effects[name](argument)
                if outcome:
                    event, detail = outcome

    async def _tick(self):
        """What time alone brings."""
        now_ms = self._clock.now_ms()
        name = self.state[0]
        pct = self._till.filling()
        if pct:
            self._report("journal_filling", "%d %%" % pct)
        if self._reboot_ms is not None and now_ms >= self._reboot_ms and not self._till.session:
            self._reset()
        if name == "available" and self.bookings.booking:
            await self._look_at_booking()
        elif name == "authorised" and self._plug_deadline_ms is not None:
            if now_ms >= self._plug_deadline_ms:
                self._plug_deadline_ms = None
                await self._handle("expired", None)
        elif name == "finishing" or name == "faulted":
            if now_ms >= self._retry_ms:
                self._retry_ms = now_ms + _RETRY_MS
                await self._retry(name)
        elif name in states.RUNNING:
            limit = self._till.limit()
            if limit:
                await self._handle("stop", limit)
            elif not self._continues and self.metering.silent_ms() > self._loss_ms:
                await self._handle("stop", "MeterFault")
            elif now_ms - self._checkpoint_ms >= self._config["checkpoint_s"] * 1000:
                self._checkpoint_ms = now_ms
                self._checkpoint()
        reading = self.metering.reading
        self.face.booked_until_s = self.bookings.until_s()
        self.face.refresh(name, reading.power_w if reading else 0, self._why_not)

    def _why_not(self):
        """Why nobody can charge, as the driver reads it; None where somebody can."""
        name = self.state[0]
        if name == "available":
            return SILENT if self.metering.lost else self.plug.why or self._till.why_not()
        if name == "finishing":
            return SILENT if self._ended else FAULTY
        return self._recovery.why or self.plug.why or "please call us"

    async def _look_at_booking(self):
        try:
            await self.bookings.look()
        except (EvtillError, OSError) as e:
            if self._till.session:  # its START is durable: a boot bills it, nobody else may start
                self._till.session = None
                self._recovery.why = FAULTY
                self.post("fault", "TillFault")
            self._journal_fault(e)

    async def _retry(self, name):
        """What flash or the meter refused before: a session's end, or one that was left behind."""
        if name == "finishing":
            if await self._finish():
                await self._handle("closed", None)
        elif self._recovery.why and await self._recovery.settle() and self._find_booking():
            await self._handle("cleared", None)

    def _find_booking(self):
        """Whether what flash has of a reservation is known."""
        try:
            self.bookings.find()
        except OSError as e:
            self._recovery.why = FAULTY
            self._journal_fault(e)
            return False
        return True

    def _checkpoint(self):
        """Whether it is durable. A session goes on while flash takes none: the next one may be."""
        try:
            self._meter.keep_now()  # first: a count may not be behind what is billed by it
            self._till.checkpoint()
            self._journal_failed = False
        except (JournalError, MeterError) as e:
            self._journal_fault(e)
        return not self._journal_failed

    def save_now(self):
        """The supply fails: what a running session has come to is made durable at once."""
        session = self._till.session
        if self.state[0] in states.RUNNING and session and session.stop is None:
            self._checkpoint()

    def _journal_fault(self, e):
        if not self._journal_failed:
            self._journal_failed = True
            self._report("journal_fault", str(e))

    # -- effects of core.session --------------------------------------------------------------

    async def _authorise(self, token):
        self.face.message(screens.checking(), 1)
        return await self.access.decide(token)

    async def _take_claim(self, claim):
        self.access.claim = Claim(claim[1], claim[2], "COMMAND")

    async def _ask_plug(self, _):
        self._plug_deadline_ms = self._clock.now_ms() + self._config["plug_timeout_s"] * 1000
        self.face.message(screens.plug_in(), self._config["plug_timeout_s"])

    async def _start(self, _):
        """Commit, check, then act: reading, durable start, contactor."""
        self._plug_deadline_ms = None
        self.face.clear()
        self._till.pick_tariff()
        why = self._till.why_not(True)
        if why:
            return self._start_refused(why)
        claim = self.access.claim
        try:
            serial = await self.metering.serial()
            if self._meter.signs:
                why = await self._seal(True)
                if why:
                    return self._start_refused("meter does not sign", why)
            why = await self.plug.prepare()
            if why:
                return self._start_refused(why)
            reading = await self.metering.patiently(self.metering.read)
            reserved = self.bookings.before(claim.auth)
            ceiling = claim.auth["ceiling_minor"]
            if ceiling is not None and ceiling < self._till.least_minor(reserved):
                return self._start_refused(claim.short or "not enough credit")
            self.access.owe(claim)
            doubt = self._till.start(
                claim.auth, serial, reading.energy_wh, claim.limits, claim.how, reserved
            )  # fmt: skip
            self.metering.begin(reading)
            if claim.free:
                self._till.session.flag("free")  # durable with the checkpoint below
            if self._meter.signs:
                self._till.session.flag("meter_unsigned")  # until it has
        except (ModbusError, MeterError) as e:
            return self._start_refused(SILENT, str(e))
        except JournalFull:
            return self._start_refused(FULL)
        except (JournalError, TariffError, OSError) as e:
            return self._start_refused(FAULTY, str(e))
        if doubt:
            self._report(doubt, "register %d Wh of %s" % (reading.energy_wh, serial))
        return await self._let_flow()

    async def _let_flow(self):
        """Lets energy flow in a session whose START is durable."""
        self.plug.close()
        if not self._checkpoint():  # which says that energy may have flowed
            self.plug.open()
            self._till.session = None
            self._recovery.why = FAULTY
            self.post("fault", "TillFault")
            return self._start_refused(FAULTY)
        try:
            self.bookings.use()
        except OSError as e:
            self._journal_fault(e)  # tried again before the record is made
        await asyncio.sleep_ms(_CONTACT_MS)
        self._checkpoint_ms = self._clock.now_ms()
        self.metering.hurry()
        self._report("session_started", "seq %d" % self._till.session.start["seq"])
        return "started", None

    async def _seal(self, begins):
        """app.meter_seal's begin() or end(), whose code a session needs twice."""
        from evtill.app import meter_seal
        from evtill.app.compose import forget

        try:
            if begins:
                auth = self.access.claim.auth
                return await meter_seal.begin(
                    self._meter, self._config["charger_id"], auth, self._clock.unix_ms()
                )  # fmt: skip
            return await meter_seal.end(self._meter)
        finally:
            forget("meter_seal")
            forget("iskra", "evtill.drivers")

    def _start_refused(self, why, detail=""):
        if why == FULL:
            self._report("journal_full", "")
        self._report("start_refused", "%s %s" % (why, detail) if detail else why)
        return "start_failed", why

    async def _stop(self, reason):
        """Energy off first, then the final reading, then everything durable."""
        if reason in ("Local", "Remote"):  # else it is urgent
            await self.plug.ease()
        self.plug.open()
        self._ended = (reason, self._clock.now_ms())
        await asyncio.sleep_ms(_CONTACT_MS)
        return ("closed", None) if await self._finish() else None

    async def _finish(self):
        """Whether the record of the session that has ended is durable; if not, to be tried again:
        the contactor is open, so that the register cannot move."""
        if self._ended and not await self._read_end(*self._ended):
            return False
        self._ended = None
        return self._settle()

    async def _read_end(self, reason, ended_ms):
        """Whether the session is priced to its end, by the final register or without it."""
        session = self._till.session
        late_ms = self._clock.now_ms() - ended_ms
        try:
            reading = await self.metering.patiently(self.metering.read)
            register_wh = reading.energy_wh + session.rolled_wh
            if late_ms > _RETRY_MS:
                session.flag("end_reading_late")
        except (ModbusError, MeterError):
            if self._continues and late_ms < self._loss_ms:
                return False
            register_wh = session.register_wh
            session.flag("end_reading_missing")
        if self.plug.welded():
            session.flag("contactor_welded")
            self._report("contactor_welded", "")
        signed = None
        if self._meter.signs:
            signed, why = await self._seal(False)
            if signed:
                session.flags.remove("meter_unsigned")
            else:
                self._report("meter_fault", "does not sign: " + why)
        self._till.stop(reason, ended_ms, register_wh)
        if signed:
            session.stop["meter_ocmf"] = signed
        self.face.finished(session, session.pricer.bill()["incl_minor"])
        return True

    def _settle(self):
        """Whether the ended session's record is durable; if not, to be tried again."""
        session = self._till.session
        try:
            self._meter.keep_now()
            # A reservation outlives no record that bills it: after a boot it would be billed again.
            self.bookings.tidy()
            self._till.settle()
        except (JournalError, MeterError, OSError, MemoryError) as e:  # the heap empties again
            self._journal_fault(e)
            return False
        except SignatureError as e:  # a signer that failed: nothing of what it gave has left
            self._report("signature_fault", str(e))
            return False
        self._journal_failed = False
        reason = session.stop["reason"]
        self._report("session_stopped", "seq %d: %s" % (session.start["seq"], reason))
        return True

    async def _say_refused(self, why):
        self._plug_deadline_ms = None
        self.plug.open()
        self.face.message(screens.refused(why))

    async def _say_cancelled(self, _):
        await self._say_refused("cancelled")

    async def _say_in_use(self, _):
        self.face.message(screens.in_use(), 3)

    async def _say_finished(self, _):
        if self.plug.welded():
            self.post("fault", "TillFault")

    async def _say_fault(self, reason):
        self.plug.open()

    async def _say_available(self, _):
        self.face.clear()
