"""The session without a record that an earlier boot, or flash that failed, has left behind.

It is settled before a new one may start, from what is durable of it and the meter's register.
"""

from evtill.app import files, tariff_files
from evtill.app.bookings import FILE
from evtill.app.till import FAULTY, SILENT, came_to_nothing
from evtill.core.errors import EvtillError, MeterError, ModbusError

# So long a silent meter is waited for, before the last durable reading ends the session. One that
# has no such reading waits until the meter answers: without it no new session could start anyway.
_PATIENCE_MS = 600000


class Recovery:
    """folder: of the tariff files; report(name, detail): an event; reason: why a session that was
    running has ended, a stop reason. why: what settling waits for, as the driver reads it; None
    when nothing is left."""

    def __init__(self, folder, till, meter, clock, report, reason):
        self._folder = folder
        self._till = till
        self._meter = meter
        self._clock = clock
        self._report = report
        self._reason = reason
        self._silent_ms = None  # since when the meter has been asked in vain
        self._failed = None  # what was reported last
        self.why = "restarting"

    async def settle(self):
        """Whether nothing is left. If not, `why` says what is waited for: to be asked again."""
        try:
            found = self._till.unfinished()
            if found is not None and not await self._settled(found):
                return False
            tariff_files.keep(self._folder, self._till.tables)
        except (EvtillError, OSError) as e:
            self._till.session = None  # what is durable of it is read again
            self.why = FAULTY
            if str(e) != self._failed:
                self._failed = str(e)
                self._report("journal_fault", self._failed)
            return False
        self._silent_ms = self._failed = self.why = None
        return True

    async def _settled(self, found):
        start, checkpoint, stop = found
        register_wh = None
        is_same = True  # meter
        if stop is None:
            try:
                is_same = await self._meter.read_serial() == start["serial"]
                if is_same:
                    register_wh = await self._meter.read_energy_wh()
            except (MeterError, ModbusError) as e:
                if self._silent_ms is None:
                    self._silent_ms = self._clock.now_ms()
                    self._report("meter_silent", str(e))
                waited_ms = self._clock.now_ms() - self._silent_ms
                if checkpoint is None or waited_ms < _PATIENCE_MS:
                    self.why = SILENT
                    return False
        if "reserved" in start and not came_to_nothing(found, register_wh):
            files.remove(self._folder + FILE)  # the reservation: it is billed with what follows
        tariffs = tariff_files.read(self._folder)
        bill = self._till.recover(found, tariffs, register_wh, self._reason, is_same)
        if bill:
            self._report("session_closed_at_boot", "seq %d: %d minor units" % (
                start["seq"], bill["incl_minor"]))  # fmt: skip
        return True
