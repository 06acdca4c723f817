"""The reservation in force: who may use it, how it ends, and that it is billed once.

How it is read back from flash, and what one costs that came to no session, is in app.reservation,
which is loaded only then."""

import json
from binascii import unhexlify

from evtill.app import files

FILE = "/reservation.json"
_RETRY_MS = 5000  # between attempts at what flash or the meter refuses


class Bookings:
    """folder: of the data partition; same_group(token, owner): Access's.

    booking: as app.reservation keeps it, or None."""

    def __init__(self, folder, till, metering, clock, report, same_group):
        self._folder = folder
        self._till = till
        self._metering = metering
        self._clock = clock
        self._report = report
        self._same_group = same_group
        self.booking = None
        self._used = False  # one that flash still has, by a session that is durable
        self._retry_ms = 0

    def find(self):
        """Takes up what flash has kept. Raises OSError."""
        from evtill.app import reservation
        from evtill.app.compose import forget

        try:
            self.booking = reservation.load(self._folder)
        except ValueError as e:
            self._report("reservation_lost", str(e))
            files.remove(self._folder + FILE)
        finally:
            forget("reservation")

    def _keep(self, booking):
        """Makes a reservation durable. Raises OSError."""
        files.write(self._folder + FILE, json.dumps(booking).encode())
        self.booking = booking

    def make(self, booking):
        """Reserves the charger, durably; or gives the same reservation another end. Returns why
        not, or None. Raises OSError."""
        before = self.booking
        if before:
            if before["ref"] != booking["ref"] or _over(before, booking["from_ms"]):
                return "reserved"
            booking["from_ms"] = before["from_ms"]
        self._keep(booking)
        self._report("reserved", booking["ref"])
        return None

    def cancel(self, ref):
        """Ends it, durably; look() bills it. Returns why not, or None. Raises OSError."""
        booking = self.booking
        unix_ms = self._clock.unix_ms()
        if booking is None or booking["ref"] != ref or _over(booking, unix_ms):
            return "no reservation with this ref"
        booking = dict(booking)
        booking["ended_ms"] = unix_ms
        self._keep(booking)
        self._retry_ms = 0
        return None

    def lets(self, token, ref):
        """Whether whoever this is may charge as far as a reservation is concerned."""
        booking = self.booking
        if booking is None or ref == booking["ref"]:
            return True
        if booking["token"] is None or not isinstance(token, bytes):
            return False
        booked = unhexlify(booking["token"])
        return token == booked or self._same_group(token, booked)

    def until_s(self):
        """Unix seconds up to which the charger is reserved, or None."""
        return self.booking["expires_s"] if self.booking else None

    # -- its end ------------------------------------------------------------------------------

    def before(self, auth):
        """What Till.start() is to know of the reservation that this session uses up, or None. Gives
        `auth` its ref, unless it has one."""
        booking = self.booking
        unix_ms = self._clock.unix_ms()
        if booking is None or unix_ms is None:
            return None
        if auth["ref"] is None:
            auth["ref"] = booking["ref"]
        return _span(booking, unix_ms, False)

    def use(self):
        """The session is durable, and the reservation in force no more. Raises OSError: tidy() is
        to be asked again before that session's record is made."""
        self._used = self.booking is not None
        self.booking = None
        self.tidy()

    def tidy(self):
        """Has flash forget the one that a session has used up. Raises OSError."""
        if self._used:
            files.remove(self._folder + FILE)
            self._used = False

    async def look(self):
        """Bills and drops one that is over. Raises EvtillError, OSError: it is tried again."""
        booking = self.booking
        unix_ms = self._clock.unix_ms()
        now_ms = self._clock.now_ms()
        if booking is None or unix_ms is None or now_ms < self._retry_ms:
            return
        if not _over(booking, unix_ms):
            return
        expired = "ended_ms" not in booking
        to_ms = booking["expires_s"] * 1000 if expired else booking["ended_ms"]
        reserved = _span(booking, to_ms, expired)
        self._retry_ms = now_ms + _RETRY_MS
        from evtill.app import reservation
        from evtill.app.compose import forget

        try:
            await reservation.close(
                booking, reserved, self._folder, self._till, self._metering, unix_ms, self._report
            )  # fmt: skip
            self.booking = None
        finally:
            forget("reservation")


def _over(booking, unix_ms):
    """Whether it was cancelled or has expired: what it costs is settled, if not yet billed."""
    return "ended_ms" in booking or unix_ms >= booking["expires_s"] * 1000


def _span(booking, to_ms, expired):
    """What a START says of the reservation before it: [from, to in Unix ms, expired, ref]."""
    return [min(booking["from_ms"], to_ms), to_ms, int(expired), booking["ref"]]
