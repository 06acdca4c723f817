"""Wall clock and monotonic clock of the charger, and how far the former is to be trusted.

Trust is OCMF's letter: "U" never set, "I" from the battery-backed clock (informative), "S"
synchronised over the network within the last SYNC_VALID_MS.
"""

import time

SYNC_VALID_MS = 172800000  # 48 h: a quartz of 20 ppm has drifted 3.5 s by then
STEP_MS = 2000  # a synchronisation that moves the clock by more is an event
_EARLIEST_S = 1735689600  # 2025-01-01: a clock that shows less was never set
_LATEST_S = 4102444800  # 2100-01-01


class Clock:
    """now_ms() is monotonic since boot and does not wrap; unix_ms() is Unix time or None."""

    def __init__(self, rtc_unix_s):
        """rtc_unix_s: function giving the battery-backed clock's Unix seconds, or None."""
        self._ticks = time.ticks_ms()
        self._now_ms = 0
        self._base_ms = None  # Unix ms at monotonic zero
        self._synced_at_ms = None
        self._rtc_unix_s = rtc_unix_s

    def now_ms(self):
        """Milliseconds since boot. Call it at least every six days: ticks wrap at twelve."""
        ticks = time.ticks_ms()
        self._now_ms += time.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._now_ms

    def look(self):
        """Takes the battery-backed clock while nothing better is known. Whether that set it."""
        if self._base_ms is not None or self._rtc_unix_s is None:
            return False
        seconds = self._rtc_unix_s()
        if not _EARLIEST_S <= seconds < _LATEST_S:
            return False
        self._base_ms = seconds * 1000 - self.now_ms()
        return True

    def synchronise(self, unix_ms):
        """The network says that it is `unix_ms` now. Returns by how many ms that moved the clock
        (0 when it was not set before), or None where the time is absurd."""
        if not _EARLIEST_S <= unix_ms // 1000 < _LATEST_S:
            return None
        now_ms = self.now_ms()
        moved = 0 if self._base_ms is None else unix_ms - now_ms - self._base_ms
        self._base_ms = unix_ms - now_ms
        self._synced_at_ms = now_ms
        return moved

    def trust(self):
        """"U", "I" or "S"."""
        if self._base_ms is None:
            return "U"
        synced = self._synced_at_ms
        if synced is None or self.now_ms() - synced > SYNC_VALID_MS:
            return "I"
        return "S"

    def unix_ms(self, at_ms=None):
        """Unix ms of the monotonic instant `at_ms` (default: now); None while never set."""
        if self._base_ms is None:
            return None
        return self._base_ms + (self.now_ms() if at_ms is None else at_ms)
