"""What the driver sees and hears: the screen of the state that the charger is in, messages over it,
light and buzzer. It alone moves the display."""

import asyncio

from evtill.app import screens
from evtill.core import price_words
from evtill.core.errors import TariffError
from evtill.core.pricing import Pricer
from evtill.core.session import RUNNING

_RATES_MS = 10000  # a session's prices may have changed
_IDLE_MS = 60000  # ... and a tariff's, with the hour
_TURN_MS = 3000  # what takes turns
_BEAT_MS = 125  # of light and buzzer
_LOST_MS = 2000  # between attempts at a display that does not answer
_ANEW_MS = 60000  # set up anew: one that lost its memory, as displays do, looks well from here


class Face:
    """parts: {"display", "signals"}: light and buzzer, as far as there are; language:
    core.language.Language. is_up: function saying whether the backend can be reached; receipt:
    where receipts are to be had."""

    def __init__(self, config, parts, language, till, clock, report, beat):
        self._config = config
        self._display = parts["display"]
        self._signals = parts["signals"]
        self._language = language
        self._till = till
        self._clock = clock
        self._report = report
        self._beat = beat
        self.receipt = config["receipt_hint"]
        self.is_up = None
        self._until_ms = 0  # a message stands
        self._message = None
        self._prices = None
        self._prices_until_ms = 0
        self._near = None
        self._turn_ms = 0  # when the present screen's first turn began
        self._status = None  # of the screen
        self._qr = None  # (size, bits), until when (Unix seconds)
        self._sending = False  # a task is at it
        self._next_ms = 0  # a display that does not answer is not tried before
        self._anew_ms = 0
        self._lost = False
        self.booked_until_s = None  # Unix

    # -- what is to be seen -------------------------------------------------------------------

    def message(self, screen, seconds=None):
        """Shows `screen` for so long (by default the configuration's message_s), whatever the state
        is; the next message takes its place."""
        now_ms = self._clock.now_ms()
        if screen[0] == "refused":
            for signal in self._signals:
                signal.tick(None)  # each time anew
        turns = self._see(screen, now_ms)
        if seconds is None:
            seconds = max(self._config["message_s"], turns * _TURN_MS // 1000)
        self._message = screen
        self._until_ms = now_ms + seconds * 1000

    def clear(self):
        """The message has stood long enough."""
        self._until_ms = 0

    async def count_down(self, seconds):
        """What a driver whose card is asked for has to wait at most. Cancel it."""
        for left in range(seconds, 0, -1):
            self.message(screens.checking(left), 1)
            await asyncio.sleep_ms(1000)

    def finished(self, session, incl_minor):
        """The session has ended and costs so much."""
        stop = session.stop
        energy_wh = stop["wh"] - session.start["wh"]
        cost = self._money(session, incl_minor)
        self.message(screens.finished(
            self._language, energy_wh, stop["duration"], cost, stop["reason"], self.receipt
        ))  # fmt: skip

    def shows_qr(self):
        """Whether the display can."""
        return self._display.room(True) is not None

    def offer(self, qr, expires_s=None):
        """Shows a QR code while nobody charges, until it is taken away, used or expired (Unix
        seconds); None for none."""
        self._qr = (qr, expires_s) if qr else None

    def qr_expires(self):
        """Until when there is a QR code, in Unix seconds, or None."""
        if self._qr:
            unix_ms = self._clock.unix_ms()
            if unix_ms is None or unix_ms >= self._qr[1] * 1000:
                self._qr = None
        return self._qr[1] if self._qr else None

    def _may_offer(self):
        """Whether a QR code is to be seen: there is one, room for it, and somebody to pay at."""
        return self.qr_expires() and self.shows_qr() and self.is_up and self.is_up()

    def refresh(self, name, power_w, why):
        """The screen of the state `name`, unless a message still stands. power_w: the last reading;
        why: function giving why nobody can charge, as the driver reads it, or None."""
        now_ms = self._clock.now_ms()
        if name not in ("available", "faulted", "unavailable"):
            self._qr = None  # used: whoever comes next gets another one
        if now_ms < self._until_ms:
            self._see(self._message, now_ms)
            return
        if name == "available" and (self._prices is None or now_ms >= self._prices_until_ms):
            self._till.pick_tariff()
            self._prices = None
        session = self._till.session
        qr = None
        if name in RUNNING and session:
            screen = self._charging(name, session, power_w, now_ms)
        elif name == "authorised":
            screen = screens.plug_in()
        elif name in ("available", "finishing", "faulted", "unavailable"):
            said = why()
            if said:
                screen = screens.out_of_order(said)
            elif self.booked_until_s is not None:
                until = price_words.local_time(self._till.tariff, self.booked_until_s)
                screen = screens.reserved(until)
            else:
                if self._may_offer():
                    qr = self._qr[0]
                screen = screens.idle(self._idle_prices(now_ms), qr is not None)
        else:
            return
        self._see(screen, now_ms, qr)

    def _charging(self, name, session, power_w, now_ms):
        wh, ms, cost = self._till.running()
        start = session.start
        max_wh, max_ms = start["limits"]
        ceiling = session.pricer.ceiling_minor
        if self._prices is None or now_ms >= self._prices_until_ms:
            language = self._language
            self._prices_until_ms = now_ms + _RATES_MS
            near = screens.near((
                (cost, ceiling, ceiling and self._money(session, ceiling)),
                (wh, max_wh, max_wh and language.number(screens.energy(max_wh)) + " kWh"),
                (ms, max_ms, max_ms and screens.duration(max_ms)),
            ))  # fmt: skip
            rates = price_words.rates(session.pricer, language)
            first = ([near] if near else []) + self._parking(name, session.pricer)
            self._prices = first + rates + ["Tap card to stop"]
            self._near = near
        status, head, items = screens.charging(
            name, self._language, wh, ms, power_w, self._money(session, cost), self._prices
        )  # fmt: skip
        return "near" if self._near else status, head, items

    def _parking(self, name, pricer):
        """A warning, or none, to whose car stands without charging."""
        left_ms = pricer.parking_in_ms() if name == RUNNING[1] else None
        if left_ms is None:
            return []
        if not left_ms:
            return ["Parking costs now"]
        unix_ms = self._clock.unix_ms()
        if unix_ms is None:
            return [("Parking costs in %s", screens.duration(left_ms))]
        begins_s = (unix_ms + left_ms) // 1000
        return [("Parking costs from %s", price_words.local_time(pricer.tariff, begins_s))]

    def _idle_prices(self, now_ms):
        if self._prices is None or now_ms >= self._prices_until_ms:
            self._prices_until_ms = now_ms + _IDLE_MS
            try:
                pricer = Pricer(self._till.tariff, self._clock.unix_ms() or 0, 0)
                self._prices = price_words.preview(pricer, self._language)
            except TariffError:
                self._prices = []
        return self._prices

    def _money(self, session, minor):
        tariff = session.pricer.tariff
        return self._language.money(minor, tariff.minor_digits, tariff.currency)

    def _see(self, screen, now_ms, qr=None):
        """Returns how many turns the screen takes."""
        status = screen[0]
        if status != self._status:
            self._status = status
            self._prices = None
            self._turn_ms = now_ms
        columns, rows = self._display.room(qr)
        turn = (now_ms - self._turn_ms) // _TURN_MS
        lines, turns = screens.lay_out(self._language.say, screen, columns, rows, turn)
        if now_ms >= self._anew_ms:
            self._anew_ms = now_ms + _ANEW_MS
            self._display.anew()
        if self._display.show(lines, qr):
            self._send(now_ms)
        return turns

    # -- how it gets there --------------------------------------------------------------------

    def _send(self, now_ms):
        """The first slice of what changed at once; the others by a task of their own, so that
        nobody has to wait for more than one."""
        if not self._sending and now_ms >= self._next_ms:
            wait_ms = self._slice(now_ms)
            if wait_ms is not None:
                self._sending = True
                asyncio.create_task(self._send_on(wait_ms))

    async def _send_on(self, wait_ms):
        try:
            while wait_ms is not None:
                await asyncio.sleep_ms(wait_ms)
                wait_ms = self._slice(self._clock.now_ms())
        finally:
            self._sending = False

    def _slice(self, now_ms):
        """Ms to wait until the next one, or None. A display that does not answer is told of once,
        and tried again later."""
        try:
            wait_ms = self._display.step()
        except OSError as e:
            if not self._lost:
                self._lost = True
                self._report("display_fault", "does not answer: %s" % e)
            self._next_ms = now_ms + _LOST_MS
            return None
        if wait_ms is None and self._lost:
            self._lost = False
            self._report("display_back", "")
        return wait_ms

    async def run(self):
        """Task: light and buzzer, on a board that has them."""
        while True:
            self._beat("face")
            for signal in self._signals:
                signal.tick(self._status)
            await asyncio.sleep_ms(_BEAT_MS)
