"""Events: what happened, for the backend; kept in flash until it has acknowledged them."""

import json

from evtill.core.text import civil


class Events:
    """report() never raises: an event that cannot be kept is counted by the ring."""

    def __init__(self, ring, clock, charger, boot):
        self.ring = ring
        self._clock = clock
        self._prefix = "%s-e%d-" % (charger, boot)
        self._boot = boot
        self._n = 0

    def report(self, name, detail):
        """Keeps an event; `name` is one of core.record.EVENTS."""
        now_ms = self._clock.now_ms()
        unix_ms = self._clock.unix_ms(now_ms)
        self._n += 1
        event_id = self._prefix + str(self._n)
        event = {
            "id": event_id, "name": name, "detail": detail[:160], "boot": self._boot, "ms": now_ms,
            "at": None if unix_ms is None else civil(unix_ms // 1000) + "Z",
        }  # fmt: skip
        print("event:", name, detail)
        self.ring.put(event_id, json.dumps(event).encode(), now_ms)
