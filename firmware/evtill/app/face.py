"""What the driver sees: the screen of the state that the charger is in, and messages over it."""

import asyncio

from evtill.app import screens
from evtill.core.session import RUNNING
from evtill.core.text import civil

_IDLE_MS = 60000  # a tariff's prices may change with the hour


class Face:
    """why: function giving why nobody can charge although the state is available, or None."""

    def __init__(self, config, display, till, clock):
        self._config = config
        self._display = display
        self._till = till
        self._clock = clock
        self._until_ms = 0  # a message stands
        self._idle_lines = None
        self._idle_until_ms = 0
        self.booked_until_s = None  # Unix

    def message(self, lines, seconds=None):
        """Shows `lines` for so long (by default the configuration's message_s), whatever the state
        is; the next message takes their place."""
        if seconds is None:
            seconds = self._config["message_s"]
        self._until_ms = self._clock.now_ms() + seconds * 1000
        self._display.show(lines)

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
        energy_wh = session.stop["wh"] - session.start["wh"]
        cost = _money(session, incl_minor)
        stop = session.stop
        self.message(screens.finished(energy_wh, stop["duration"], cost, stop["reason"]))

    def refresh(self, name, power_w, why):
        """The screen of the state `name`, unless a message still stands. power_w: the last reading;
        why: function giving why nobody can charge, as the driver reads it, or None."""
        now_ms = self._clock.now_ms()
        if now_ms < self._until_ms:
            return
        if name == "available" and (self._idle_lines is None or now_ms >= self._idle_until_ms):
            self._till.pick_tariff()
            self._idle_lines = None
        session = self._till.session
        if name in RUNNING and session:
            wh, ms, cost = self._till.running()
            lines = screens.charging(name, wh, ms, power_w, _money(session, cost))
        elif name == "authorised":
            lines = screens.plug_in()
        elif name in ("available", "finishing", "faulted", "unavailable"):
            said = why()
            if said:
                lines = screens.out_of_order(said)
            elif self.booked_until_s is not None:
                lines = screens.reserved(self._local(self.booked_until_s))
            else:
                lines = self._idle(now_ms)
        else:
            return
        self._display.show(lines)

    def _local(self, unix_s):
        """hh:mm of Unix seconds, in the tariff's time zone."""
        return civil(unix_s + self._till.tariff.offset_s_at(unix_s))[11:16]

    def _idle(self, now_ms):
        if self._idle_lines is None or now_ms >= self._idle_until_ms:
            self._idle_until_ms = now_ms + _IDLE_MS
            self._idle_lines = screens.idle(self._till.tariff, self._till.prices())
        return self._idle_lines


def _money(session, minor):
    tariff = session.pricer.tariff
    return screens.money(minor, tariff.minor_digits, tariff.currency)
