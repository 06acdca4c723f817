"""One connector: carries out what core.session decides, with the board's parts and the till."""

import asyncio
import binascii

from evtill.app import screens
from evtill.app.till import FAULTY, FULL, SILENT
from evtill.core import session as states
from evtill.core import tokens as lists
from evtill.core.errors import (
    JournalError,
    JournalFull,
    MeterError,
    ModbusError,
    ModbusTimeout,
    ReaderError,
    SignatureError,
    TariffError,
)
from evtill.core.meter_trust import UNFIT, MeterTrust
from evtill.drivers.pn532 import TapDetector

_TRIES = 3  # readings asked for before a start is refused, or an end goes without
_IDLE_READ_MS = 10000  # between readings while nobody charges: is the meter still there?
_PLUG_MS = 250
_CARD_MS = 100  # between looks at a card that lies on the reader
_NO_CARD_MS = 30000  # the reader itself waits for a card for so long
_ON_EDGE_MS = 500  # a reading so late still counts as taken where the price changes
_RETRY_MS = 5000  # between attempts at what flash or the meter refuses
_CONTACT_MS = 100  # contacts have moved by then
_REBOOT_MS = 3000
_TICK_MS = 1000  # on the clock's whole seconds, whatever the work between them took
_QUEUE = 16


class ChargePoint:
    """parts: {"meter", "reader", "contactor", "display", "plugged", "reset", "recovery"};
    report(name, detail): an event; beat(task name): the supervisor's."""

    def __init__(self, config, parts, till, tokens, clock, report, beat):
        self._config = config
        self._meter = parts["meter"]
        self._reader = parts["reader"]
        self._contactor = parts["contactor"]
        self._display = parts["display"]
        self._plugged = parts["plugged"]
        self._reset = parts["reset"]
        self._recovery = parts["recovery"]
        self.ask = None  # Uplink.authorise where there is a payment API
        self._till = till
        self._tokens = tokens
        self._token_key = binascii.unhexlify(config["token_key"])
        self._clock = clock
        self._report = report
        self._beat = beat
        self._proof = None
        if config["card_key"]:
            from evtill.app.card_proof import CardProof

            self._proof = CardProof(config, tokens)
        self._tapped = (None, None)  # (token, assurance) of the last tap
        self.state = states.INITIAL
        if self._recovery.why:
            self.state = states.step(states.INITIAL, "fault")[0]
        self._trust = MeterTrust(config["max_power_w"], self._meter.step_wh, self._meter.modulus_wh)
        self._flowed = None  # whether power flowed at the last reading with the contactor open
        self.reading = None
        self._read_at_ms = 0
        self._meter_lost = None  # why, once it is known
        self._queue = []
        self._wake = asyncio.Event()
        self._started = asyncio.Event()  # the meter is read more often from now on
        self._message_until_ms = 0
        self._plug_deadline_ms = None
        self._checkpoint_ms = 0
        self._journal_failed = False
        self._reboot_ms = None
        self._retry_ms = 0  # when to try again what flash or the meter refused
        self._claim = None  # (auth as in the record, limits, auth_method) of who is authorised
        self._free = 0  # ... and whether it is to cost him nothing
        self._offline = False  # ... and whether the backend could not be asked
        self._short = None  # why a ceiling is too low, for the display
        self._ended = None  # (reason, monotonic ms) of a session without its final reading yet
        self._continues = config["meter_loss"] == "continue"
        self._loss_ms = config["meter_loss_s"] * 1000
        self._idle_lines = None
        self._idle_until_ms = 0
        self._effects = {
            "authorise": self._authorise, "claim": self._take_claim, "ask_plug": self._ask_plug,
            "start": self._start, "stop": self._stop,
            "say_refused": self._say_refused,
            "say_cancelled": self._say_cancelled, "say_in_use": self._say_in_use,
            "say_finished": self._say_finished, "say_fault": self._say_fault,
            "say_available": self._say_available, "say_unavailable": self._say_unavailable,
        }  # fmt: skip

    # -- events in ----------------------------------------------------------------------------

    def post(self, event, detail=None):
        """Queues an event for the session; a full queue drops it (a driver taps again)."""
        if len(self._queue) < _QUEUE:
            self._queue.append((event, detail))
            self._wake.set()

    def remote_start(self, auth, limits):
        """Starts a session that the backend has authorised: `auth` as in the record, limits as
        Till.start() takes them. Returns why not, None when it is on its way."""
        why = self._recovery.why or self._till.why_not()
        if why is None and self.state[0] != "available":
            why = self.state[0]
        if why is None:
            # Whose card may stop it: nobody's has a ref for its token.
            token = binascii.unhexlify(auth["token"]) if auth["token"] else auth["ref"]
            self.post("remote", (token, auth, limits))
        return why

    def reboot_soon(self):
        """Once what is to be said of it had time to go out."""
        self._reboot_ms = self._clock.now_ms() + _REBOOT_MS

    async def run_session(self):
        """Task: takes the events one by one and carries out what follows.

        Begun anew by the supervisor, it may find a session whose end died halfway: what is
        durable of it is in the journal, and a boot settles it from there."""
        if self._till.session and self.state[0] not in states.RUNNING:
            self._contactor.open()
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
        if event == "tap" and detail != self.state[1] and self._is_of_group(detail):
            detail = self.state[1]  # whoever of a group may charge also stops for it
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
        if name == "authorised" and self._plug_deadline_ms is not None:
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
            elif not self._continues and now_ms - self._read_at_ms > self._loss_ms:
                await self._handle("stop", "MeterFault")
            elif now_ms - self._checkpoint_ms >= self._config["checkpoint_s"] * 1000:
                self._checkpoint_ms = now_ms
                self._checkpoint()
        self._refresh(now_ms)

    async def _retry(self, name):
        """What flash or the meter refused before: a session's end, or one that was left behind."""
        if name == "finishing":
            if await self._finish():
                await self._handle("closed", None)
        elif self._recovery.why and await self._recovery.settle():
            await self._handle("cleared", None)

    def _checkpoint(self):
        """Whether it is durable. A session goes on while flash takes none: the next one may be."""
        try:
            self._meter.keep_now()  # first: a count may not be behind what is billed by it
            self._till.checkpoint()
            self._journal_failed = False
        except (JournalError, MeterError) as e:
            self._journal_fault(e)
        return not self._journal_failed

    def _journal_fault(self, e):
        if not self._journal_failed:
            self._journal_failed = True
            self._report("journal_fault", str(e))

    # -- tasks --------------------------------------------------------------------------------

    async def run_reader(self):
        """Task: cards on the reader become taps. A reader that fails is begun again."""
        taps = TapDetector()
        lost = False
        while True:
            self._beat("reader")
            try:
                await self._reader.begin()
                if lost:
                    lost = False
                    self._report("reader_back", "")
                await self._watch_reader(taps)
            except ReaderError as e:
                if not lost:
                    lost = True
                    self._report("reader_fault", str(e))
                await asyncio.sleep_ms(2000)

    async def _watch_reader(self, taps):
        """Turns cards into taps until a ReaderError."""
        while True:
            self._beat("reader")
            # A card that lay there is looked for again; else the reader itself waits for one.
            uid = await self._reader.read_uid(_CARD_MS if taps.held else _NO_CARD_MS)
            tap = taps.update(uid, self._clock.now_ms())
            # The reader's checksum is an 8-bit sum: a UID counts when it was read twice alike.
            if tap and await self._reader.read_uid(_CARD_MS) == tap:
                await self._card(tap)
            if taps.held:
                await asyncio.sleep_ms(_CARD_MS)
            else:
                await self._reader.check()

    async def _card(self, uid):
        """A card becomes a tap if it proves as much as is asked of it; else the driver reads why
        not. So a copy of a UID neither starts nor stops a session of one that must prove itself."""
        assurance, why = "uid", lists.anonymous(uid)
        if self._proof:
            uid, assurance, why = await self._proof.look(self._reader, uid, self._clock.now_ms())
        token = lists.token_of(self._token_key, uid)
        if not why:
            self._tapped = (token, assurance)
            self.post("tap", token)
            return
        if why is True:
            why = "card_anonymous", "phone or hidden card number"
        if why[0]:
            self._report(why[0], _hex(token))
        self._show(screens.refused(why[1]), 3)

    async def run_plug(self):
        """Task: the plug's state, taken for true once it was the same twice."""
        known = False
        before = False
        while True:
            self._beat("plug")
            now = self._plugged()
            if now == before and now != known:
                known = now
                self.post("plugged" if now else "unplugged")
            before = now
            await asyncio.sleep_ms(_PLUG_MS)

    async def run_meter(self):
        """Task: reads the meter, prices what it says while a session runs."""
        while True:
            self._beat("meter")
            began_ms = self._clock.now_ms()
            await self._sample()
            if self.state[0] in states.RUNNING:
                took_ms = self._clock.now_ms() - began_ms
                wait_ms = max(0, self._config["meter_period_ms"] - took_ms)
                edge_ms = self._till.next_edge_ms()
                if edge_ms is not None:  # where the price changes, the meter is read
                    left_ms = edge_ms - self._clock.now_ms()
                    wait_ms = left_ms if 0 <= left_ms < wait_ms else wait_ms
                await asyncio.sleep_ms(wait_ms)
            else:
                self._started.clear()
                try:
                    await asyncio.wait_for_ms(
                        self._started.wait(), 1000 if self._meter_lost else _IDLE_READ_MS
                    )
                except asyncio.TimeoutError:
                    pass

    async def _sample(self):
        try:
            reading = await self._read()
        except (ModbusError, MeterError):
            return
        if self._till.session is None:
            self._look_for_leaks(reading)
        if self.state[0] not in states.RUNNING or self._till.session is None:
            return
        charging = reading.power_w >= self._config["idle_power_w"]
        at_ms = self._read_at_ms
        edge_ms = self._till.next_edge_ms()
        if edge_ms is not None and 0 <= at_ms - edge_ms <= _ON_EDGE_MS:
            at_ms = edge_ms  # asked for on the edge: the answer takes a moment
        self._till.sample(
            at_ms, reading.energy_wh + self._till.session.rolled_wh, charging, reading.power_w,
            sum(reading.current_ma),
        )  # fmt: skip
        if charging != (self.state[0] == "charging"):
            self.post("active" if charging else "idle")

    def _look_for_leaks(self, reading):
        """Energy that flows although the contactor is open: it is welded, and nobody may charge."""
        flows = reading.power_w >= self._config["idle_power_w"] and self._flowed
        if self._flowed is not None and (flows or self._trust.leaks(reading.energy_wh)):
            if self.state[0] == "available":
                self._report("contactor_welded", "%d W, open" % reading.power_w)
                self.post("fault", "TillFault")
        self._flowed = reading.power_w >= self._config["idle_power_w"]
        self._trust.begin(self._read_at_ms, reading.energy_wh, reading.power_w)

    async def _read(self):
        """A reading that can be true, or ModbusError, MeterError. Lost and found are reported."""
        try:
            reading = await self._meter.read()
            if self._meter_lost is not None and self._till.session:
                await self._check_same()
            self._check(reading)
        except (ModbusError, MeterError) as e:
            if self._meter_lost is None:
                self._meter_lost = str(e)
                silent = isinstance(e, ModbusTimeout)
                self._report("meter_silent" if silent else "meter_fault", str(e))
            raise
        if self._meter_lost is not None:
            self._meter_lost = None
            self._report("meter_back", "")
            if self._till.session:
                self._till.session.flag("meter_gap")
        self.reading = reading
        self._read_at_ms = self._clock.now_ms() - reading.age_ms()
        return reading

    async def _check_same(self):
        """Refuses another meter in the place of the one that the session began with."""
        session = self._till.session
        serial = await self._meter.read_serial()
        if serial != session.start["serial"]:
            if "meter_replaced" not in session.flags:
                session.flag("meter_replaced")
                self._report("meter_foreign", serial)
            raise MeterError("the meter is %s now" % serial)

    def _check(self, reading):
        """Refuses a register that nobody can be billed by; flags what is odd about it."""
        session = self._till.session
        if session is None:
            return
        at_ms = self._clock.now_ms() - reading.age_ms()
        flag = self._trust.judge(at_ms, reading.energy_wh, reading.power_w)
        if flag is None:
            return
        if flag == "meter_rollover":
            session.rolled_wh += self._meter.modulus_wh
        if flag not in session.flags:
            session.flag(flag)
            self._report(flag, "register %d Wh, %d W" % (reading.energy_wh, reading.power_w))
        if flag in UNFIT:
            raise MeterError("%s: register %d Wh" % (flag, reading.energy_wh))

    async def _patiently(self, ask):
        """What `ask()` gives, asked for _TRIES times. Raises the last ModbusError, MeterError."""
        for i in range(_TRIES):
            try:
                return await ask()
            except (ModbusError, MeterError):
                if i == _TRIES - 1:
                    raise
                await asyncio.sleep_ms(200)

    # -- effects of core.session --------------------------------------------------------------

    async def _authorise(self, token):
        self._offline = False
        assurance = self._tapped[1] if self._tapped[0] == token else "uid"
        self._show(screens.checking())
        try:
            found = self._tokens.find(token)
        except (OSError, lists.TokenListError) as e:
            self._report("start_refused", "%s %s" % (FAULTY, e))
            return "refused", FAULTY
        if self.ask and (found is None or found[1] & (lists.ASK | lists.BLOCKED) == lists.ASK):
            outcome = await self._ask(token, assurance, found)
            if outcome:
                return outcome
        why = lists.why_not(found, self._unix_s())
        if why:
            self._report(why[0], _hex(token))
            return "refused", why[1]
        return self._accept(token, assurance, found[1], None, found[3], "WHITELIST")

    def _accept(self, token, assurance, flags, ref, ceiling, how):
        """The outcome for a card that may charge, if what is owed offline leaves it anything."""
        self._free = flags & lists.FREE
        self._short = None
        if self._offline and not self._free:
            try:
                ceiling, self._short = self._exposure("bound", token, ceiling)
            except (JournalError, OSError) as e:
                self._report("start_refused", "%s %s" % (FAULTY, e))
                return "refused", FAULTY
            if self._short and ceiling <= 0:
                self._report("start_refused", self._short)
                return "refused", self._short
        auth = {"method": "prepaid" if flags & lists.PREPAID else "rfid", "token": _hex(token),
                "assurance": assurance, "ref": ref, "ceiling_minor": ceiling}  # fmt: skip
        self._claim = (auth, (None, None), how)
        return "accepted", None

    def _exposure(self, job, token, ceiling):
        """exposure.bound(), or exposure.owe() for the session that is about to start."""
        from evtill.app import exposure
        from evtill.app.compose import forget

        till = self._till
        folder = self._tokens.folder
        try:
            if job == "bound":
                return exposure.bound(self._config, folder, token, till.waits, ceiling)
            if exposure.is_bounded(self._config):
                exposure.owe(folder, token, till.next_seq(), ceiling, till.waits)
        finally:
            forget("exposure")

    async def _take_claim(self, claim):
        self._claim = claim[1:] + ("COMMAND",)
        self._free = 0
        self._offline = False
        self._short = None

    def _is_of_group(self, token):
        """Whether another token may charge and is of the group of the one whose session it is."""
        if not isinstance(self.state[1], bytes):
            return False  # nobody's, or no card's
        try:
            other = self._tokens.find(token)
            if lists.why_not(other, self._unix_s()) or not other[0]:
                return False
            mine = self._tokens.find(self.state[1])
        except (OSError, lists.TokenListError):
            return False
        return mine is not None and mine[0] == other[0]

    def _unix_s(self):
        unix_ms = self._clock.unix_ms()
        return None if unix_ms is None else unix_ms // 1000

    async def _ask(self, token, assurance, found):
        """The payment API says; while it is away, what it said last, or the configuration. None
        then for a card that is listed (`found` is what the list has): the list says."""
        waiting = asyncio.create_task(self._count_down(self._config["payment_s"]))
        try:
            answer = await self.ask(
                _hex(token), self._till.tariff.currency if self._till.tariff else None
            )
        finally:
            waiting.cancel()
        how = "WHITELIST" if answer is None else "AUTH_REQUEST"
        self._offline = answer is None
        policy = self._config["offline"]
        if self._offline and policy == "refuse":
            self._report("token_unknown", "%s: the backend is away" % _hex(token))
            return "refused", "card cannot be checked now"
        answer = self._remember(token, answer)
        if answer is None:
            if found:
                return None
            floor_minor = self._config["offline_floor_minor"] if policy == "floor" else 0
            answer = (floor_minor > 0, "card is not known", None, floor_minor)
        allowed, text, ref, ceiling = answer
        if not allowed:
            self._report("token_unknown", "%s: %s" % (_hex(token), text))
            return "refused", text
        return self._accept(token, assurance, found[1] if found else 0, ref, ceiling, how)

    def _remember(self, token, answer):
        """auth_cache.settle() of the payment API's answer."""
        from evtill.app import auth_cache
        from evtill.app.compose import forget

        try:
            life_s = self._config["auth_cache_s"]
            return auth_cache.settle(self._tokens.folder, token, self._unix_s(), life_s, answer)
        except OSError:
            return answer  # flash fails: nothing is remembered
        finally:
            forget("auth_cache")

    async def _count_down(self, seconds):
        """What a driver has to wait at most."""
        for left in range(seconds, 0, -1):
            self._show(screens.checking(left))
            await asyncio.sleep_ms(_TICK_MS)

    async def _ask_plug(self, _):
        self._plug_deadline_ms = self._clock.now_ms() + self._config["plug_timeout_s"] * 1000
        self._show(screens.plug_in(), self._config["plug_timeout_s"])

    async def _start(self, _):
        """Commit, check, then act: reading, durable start, contactor."""
        self._plug_deadline_ms = None
        self._message_until_ms = 0
        self._till.pick_tariff()
        why = self._till.why_not(True)
        if why:
            return self._start_refused(why)
        try:
            serial = await self._serial()
            if self._meter.signs:
                why = await self._seal(True)
                if why:
                    return self._start_refused("meter does not sign", why)
            reading = await self._patiently(self._read)
            auth, limits, how = self._claim
            ceiling = auth["ceiling_minor"]
            if ceiling is not None and ceiling < self._till.least_minor():
                return self._start_refused(self._short or "not enough credit")
            if self._offline and not self._free:
                self._exposure("owe", binascii.unhexlify(auth["token"]), ceiling)
            doubt = self._till.start(auth, serial, reading.energy_wh, limits, how)
            self._trust.begin(self._read_at_ms, reading.energy_wh, reading.power_w)
            self._flowed = None
            if self._free:
                self._till.session.flag("free")  # durable with the checkpoint below
            if self._meter.signs:
                self._till.session.flag("meter_unsigned")  # until it has
        except (ModbusError, MeterError) as e:
            return self._start_refused(SILENT, str(e))
        except JournalFull:
            return self._start_refused(FULL)
        except (JournalError, TariffError, OSError) as e:
            return self._start_refused(FAULTY, str(e))
        self._contactor.close()
        if not self._checkpoint():  # which says that energy may have flowed
            self._contactor.open()
            self._till.session = None
            self._recovery.why = FAULTY
            self.post("fault", "TillFault")
            return self._start_refused(FAULTY)
        await asyncio.sleep_ms(_CONTACT_MS)
        self._read_at_ms = self._checkpoint_ms = self._clock.now_ms()
        self._started.set()
        self._report("session_started", "seq %d" % self._till.session.start["seq"])
        if doubt:
            self._report(doubt, "register %d Wh of %s" % (reading.energy_wh, serial))
        if not self._contactor.agrees():
            self._report("contactor_fault", "does not close")
            self.post("fault", "TillFault")
        return "started", None

    async def _seal(self, begins):
        """app.meter_seal's begin() or end(), whose code a session needs twice."""
        from evtill.app import meter_seal
        from evtill.app.compose import forget

        try:
            if begins:
                return await meter_seal.begin(
                    self._meter, self._config["charger_id"], self._claim[0], self._clock.unix_ms()
                )  # fmt: skip
            return await meter_seal.end(self._meter)
        finally:
            forget("meter_seal")
            forget("iskra", "evtill.drivers")

    async def _serial(self):
        await self._patiently(self._meter.identify)
        serial = await self._patiently(self._meter.read_serial)
        bound = self._config["meter_serial"]
        if bound and serial != bound:
            self._report("meter_foreign", serial)
            raise MeterError("the meter is %s, not %s" % (serial, bound))
        return serial

    def _start_refused(self, why, detail=""):
        if why == FULL:
            self._report("journal_full", "")
        self._report("start_refused", "%s %s" % (why, detail) if detail else why)
        return "start_failed", why

    async def _stop(self, reason):
        """Energy off first, then the final reading, then everything durable."""
        self._contactor.open()
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
            register_wh = (await self._patiently(self._read)).energy_wh + session.rolled_wh
            if late_ms > _RETRY_MS:
                session.flag("end_reading_late")
        except (ModbusError, MeterError):
            if self._continues and late_ms < self._loss_ms:
                return False
            register_wh = session.register_wh
            session.flag("end_reading_missing")
        if self._contactor.welded():
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
        cost = self._money(session.pricer.bill()["incl_minor"])
        energy_wh = register_wh - session.start["wh"]
        self._show(screens.finished(energy_wh, session.stop["duration"], cost, reason),
                   self._config["message_s"])  # fmt: skip
        return True

    def _settle(self):
        """Whether the ended session's record is durable; if not, to be tried again."""
        session = self._till.session
        try:
            self._meter.keep_now()
            self._till.settle()
        except (JournalError, MeterError) as e:
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
        self._show(screens.refused(why), self._config["message_s"])

    async def _say_cancelled(self, _):
        await self._say_refused("cancelled")

    async def _say_in_use(self, _):
        self._show(screens.in_use(), 3)

    async def _say_finished(self, _):
        if self._contactor.welded():
            self.post("fault", "TillFault")

    async def _say_fault(self, reason):
        self._contactor.open()

    async def _say_available(self, _):
        self._message_until_ms = 0

    async def _say_unavailable(self, _):
        self._message_until_ms = 0

    # -- display ------------------------------------------------------------------------------

    def _show(self, lines, seconds=1):
        self._message_until_ms = self._clock.now_ms() + seconds * 1000
        self._display.show(lines)

    def _money(self, minor):
        tariff = self._till.tariff
        return screens.money(minor, tariff.minor_digits, tariff.currency)

    def _refresh(self, now_ms):
        """The screen of the present state, unless a message still stands."""
        if now_ms < self._message_until_ms:
            return
        name = self.state[0]
        if name in states.RUNNING and self._till.session:
            wh, ms, cost = self._till.running()
            power_w = self.reading.power_w
            self._display.show(screens.charging(name, wh, ms, power_w, self._money(cost)))
        elif name == "finishing":
            self._display.show(screens.out_of_order(SILENT if self._ended else FAULTY))
        elif name == "faulted" or name == "unavailable":
            why = self._recovery.why or "please call us"
            self._display.show(screens.out_of_order(why))
        elif name == "authorised":
            self._display.show(screens.plug_in())
        elif name == "available":
            if self._idle_lines is None or now_ms >= self._idle_until_ms:
                self._till.pick_tariff()
                self._idle_lines = None
            why = SILENT if self._meter_lost else self._till.why_not()
            self._display.show(screens.out_of_order(why) if why else self._idle_screen())

    def _idle_screen(self):
        """Looked up once a minute: a tariff's prices may change with the hour."""
        if self._idle_lines is None:
            self._idle_until_ms = self._clock.now_ms() + 60000
            self._idle_lines = screens.idle(self._till.tariff, self._till.prices())
        return self._idle_lines


def _hex(data):
    return "".join(["%02x" % byte for byte in data])

