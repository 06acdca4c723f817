"""How much of a charger is taken: enough for any that works, too little to fill a disk with."""

import time
from collections.abc import Callable

# (at once, a minute): what is beyond is dropped unanswered; a charger sends its events again.
LIMITS = {
    "event": (2000, 6.0),
    "status": (1000, 6.0),
    "cmd/result": (300, 6.0),
    "meter": (120, 60.0),
    "refusal": (300, 30.0),
    "stranger": (100, 0.1),
}


class Limits:
    """A token bucket a charger and kind; this process's own."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # (tokens, when)

    def allow(self, charger: str, kind: str) -> bool:
        """Whether one more is taken; kinds without a limit always are."""
        if kind not in LIMITS:
            return True
        most, a_minute = LIMITS[kind]
        now_s = self._clock_s()
        left, since_s = self._left.get((charger, kind), (float(most), now_s))
        left = min(most, left + (now_s - since_s) * a_minute / 60)
        taken = left >= 1
        self._left[charger, kind] = left - taken, now_s
        return taken
