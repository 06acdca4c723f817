"""The money side of one session: what is durable when, and the signed record at its end.

Order of things: START is in the journal before the contactor closes; CHECKPOINTs while it runs;
STOP, with the final reading and the priced state, before anything is signed; the RECORD before it
is published. A boot that finds a START without its RECORD makes it from what is there.
"""

import gc
import json

from evtill.app import signed_record, tariff_files
from evtill.core import journal as log
from evtill.core import tariff as tariffs
from evtill.core.bill import lines
from evtill.core.errors import JournalError, TariffError
from evtill.core.pricing import EDGE_INTERPOLATED, Pricer

FULL = "memory is full"
FAULTY = "memory fault"
SILENT = "meter does not answer"
_FILLING_PCT = 70  # of the journal: an event, and another only after it was below:
_EMPTIER_PCT = 60
# By so much the meter's register may be above the last record's end. It lags what has flowed by
# up to 2 s (12 Wh at 22 kW), and a float32 of kWh has steps of 16 Wh above 131 MWh.
_UNRECORDED_WH = 100
_UNSAVED_S = 60  # on top of two checkpoints' time: so long a session may have gone on unsaved
_STOP_MS = 1000  # from a reading until the contactor has opened because of it, and some



class Session:
    """A running session: `start` is what the journal's START frame says of it, but for a ceiling
    that was raised since."""

    def __init__(self, start, pricer):
        self.start = start
        self.pricer = pricer
        pricer.ceiling_minor = start["auth"]["ceiling_minor"]
        self.flags = list(start.get("flags", ()))
        self.register_wh = start["wh"]
        self.at_ms = start["mono"]  # of the last reading
        self.rolled_wh = 0  # what the meter's register has lost by rolling over
        self.stop = None  # once it has ended: what the journal's STOP frame says of it

    def flag(self, name):
        if name not in self.flags:
            self.flags.append(name)


class Till:
    """config, identity, clock as their modules say. `tables`: bytes of the tariff file in force
    (one table or several), or None; `tariff`: the one that a session would get now, or None."""

    def __init__(self, config, identity, clock, journal, outbox, boot):
        self._config = config
        self._identity = identity
        self._clock = clock
        self._journal = journal
        self._outbox = outbox
        self._boot = boot
        self.tables = self.tariff = None
        self.session = None
        self._filling = False

    # -- start --------------------------------------------------------------------------------

    def pick_tariff(self):
        """Looks up which of the tables a session would get now."""
        unix_ms = self._clock.unix_ms()
        self.tariff = None
        try:
            if self.tables:
                self.tariff = tariffs.choose(self.tables, 0 if unix_ms is None else unix_ms // 1000)
        except TariffError:
            pass  # none is valid now: why_not() says so

    def why_not(self, fresh=False):
        """Why no session can start now, in words for the display; None if one can. fresh: with
        the room measured anew, for when one is to start; else this is cheap to poll."""
        is_set = self._clock.unix_ms() is not None
        if self.tariff is None:
            return "no valid tariff" if is_set or not self.tables else "clock is not set"
        if self.tariff.needs_clock and not is_set:
            return "clock is not set"
        try:
            return None if self._journal.room(fresh=fresh) else FULL
        except JournalError:
            return FAULTY

    def filling(self):
        """Percentage of the journal that is used when it has just become much; else None."""
        try:
            pct = self._journal.used_pct()
        except JournalError:
            return None  # why_not() says so
        was = self._filling
        self._filling = pct >= (_EMPTIER_PCT if was else _FILLING_PCT)
        return pct if self._filling and not was else None

    def least_minor(self, reserved=None):
        """What the least session would cost now, in minor units incl. VAT: FLAT, a step of all else
        that has a price, min_price, a reservation before it. Raises TariffError."""
        pricer = _pricer(self.tariff, self._clock.unix_ms() or 0, 0, reserved)
        pricer.sample(pricer.start_ms, 0, True)
        return pricer.ahead(1, 1)

    def has_fee(self, reserved):
        """Whether a reservation that came to no session costs anything. Raises TariffError."""
        return any(lines(_pricer(self.tariff, reserved[1], 0, reserved)))

    def next_seq(self):
        """The seq that the next session's record is to have. Raises JournalError."""
        return self._journal.chain()[0]

    def waits(self, seq):
        """Whether the backend has not confirmed that record yet. Raises JournalError."""
        return self._journal.next_waiting(seq) == seq

    def start(
        self, auth, meter_serial, register_wh, limits=(None, None), how="WHITELIST", reserved=None,
        comes=True,
    ):  # fmt: skip
        """Makes the start durable. auth: {method, token, assurance, ref, ceiling_minor} as in the
        record. limits: at most so many Wh, so many ms. how: the record's auth_method. reserved: of
        the reservation before it, as Bookings.before() gives it; comes: whether somebody came for
        it. Raises JournalError, TariffError: then there is no session. Returns the name of the
        event that the meter's register is, or None."""
        now_ms = self._clock.now_ms()
        unix_ms = self._clock.unix_ms(now_ms)
        if self._journal.boots() < self._boot:  # there was no room for it at boot
            self._journal.append(log.BOOT, json.dumps({"boot": self._boot}).encode())
        seq, prev, pagination = self._journal.chain()
        event, flag = self._doubt(meter_serial, register_wh)
        flags = [flag] if flag else []
        if unix_ms is None:
            flags.append("clock_unset")
        start = {
            "seq": seq, "prev": prev, "pg": pagination, "auth": auth, "serial": meter_serial,
            "wh": register_wh, "mono": now_ms, "unix_ms": now_ms if unix_ms is None else unix_ms,
            "clock": self._clock.trust(), "boot": self._boot, "tariff": self.tariff.sha256,
            "flags": flags, "limits": limits, "how": how,
        }  # fmt: skip
        if reserved:
            start["reserved"] = reserved
        pricer = _pricer(self.tariff, start["unix_ms"], register_wh, reserved)
        if comes:
            pricer.sample(start["unix_ms"], register_wh, True)
        self._journal.append(log.START, json.dumps(start).encode())
        self.session = Session(start, pricer)
        return event

    def bill_reservation(self, auth, meter_serial, register_wh, reserved, flag):
        """One that came to no session: makes durable that it is billed, without any energy;
        settle() makes the record. Raises JournalError, TariffError: nothing of it is durable, or a
        boot goes on with it."""
        self.start(auth, meter_serial, register_wh, (None, None), "COMMAND", reserved, False)
        s = self.session
        s.flag(flag)
        s.stop = self._stopped("Other", register_wh, s.start["mono"], s.start["unix_ms"])
        self._keep_stop()

    def _doubt(self, serial, register_wh):
        """(event, flag) that the register is after what the last record ended with; or Nones.

        Nothing is refused for it: the driver of today is billed from today's register, and
        whether a meter was swapped or a flash image put back is for people to find out. Above
        the last end, that driver's record has nothing to be flagged for; below it, it has."""
        memo = self._journal.memo
        if not memo:
            return None, None  # no record yet, or one of before there were memos
        end_wh, before = str(memo, "ascii").split(" ", 1)
        if before != serial[: len(before)]:
            return "meter_foreign", "meter_replaced"
        if register_wh < int(end_wh):
            return "meter_rollback", "meter_rollback"
        if register_wh > int(end_wh) + _UNRECORDED_WH:
            return "rollback_suspected", None
        return None, None

    def next_edge_ms(self):
        """The monotonic instant at which the price may change next, or None."""
        s = self.session
        edge_ms = s.pricer.next_edge_ms() if s else None
        return None if edge_ms is None else edge_ms - s.start["unix_ms"] + s.start["mono"]

    # -- while it runs ------------------------------------------------------------------------

    def sample(self, at_ms, register_wh, charging, power_w, current_ma):
        """Prices a reading taken at the monotonic `at_ms`."""
        s = self.session
        unix_ms = s.start["unix_ms"] + at_ms - s.start["mono"]
        s.pricer.sample(unix_ms, register_wh, charging, power_w, current_ma)
        s.register_wh = register_wh
        s.at_ms = at_ms

    def limit(self):
        """The stop reason of the limit that the session might break before it is looked at again,
        or None."""
        s = self.session
        ahead_ms = self._clock.now_ms() - s.at_ms + self._config["meter_period_ms"] + _STOP_MS
        ahead_wh = self._config["max_power_w"] * ahead_ms // 3600000 + 1
        wh, ms = s.start["limits"]
        if s.pricer.ceiling_minor is not None:
            if s.pricer.ahead(ahead_ms, ahead_wh) > s.pricer.ceiling_minor:
                return "CostLimitReached"
        if wh is not None and s.register_wh - s.start["wh"] + ahead_wh > wh:
            return "EnergyLimitReached"
        if ms is not None and s.at_ms - s.start["mono"] + ahead_ms > ms:
            return "TimeLimitReached"
        return None

    def raise_ceiling(self, ceiling_minor):
        """Raises the running session's ceiling, durably. Raises JournalError: it is as before."""
        s = self.session
        before = s.pricer.ceiling_minor
        s.start["auth"]["ceiling_minor"] = s.pricer.ceiling_minor = ceiling_minor
        try:
            self.checkpoint()
        except JournalError:
            s.start["auth"]["ceiling_minor"] = s.pricer.ceiling_minor = before
            raise

    def checkpoint(self):
        """Makes what has been priced so far durable."""
        s = self.session
        head = json.dumps({
            "mono": s.at_ms, "wh": s.register_wh, "flags": s.flags,
            "ceiling": s.pricer.ceiling_minor, "rolled": s.rolled_wh,
        })  # fmt: skip
        self._journal.append(log.CHECKPOINT, _join(head, s.pricer.state()))

    def running(self):
        """(energy in Wh, ms since the start, cost including VAT in minor units)."""
        s = self.session
        return (
            s.register_wh - s.start["wh"],
            s.at_ms - s.start["mono"],
            s.pricer.running()[1],
        )

    # -- end ----------------------------------------------------------------------------------

    def stop(self, reason, at_ms, register_wh):
        """Ends the session at the monotonic `at_ms` with the final register; settle() is next."""
        s = self.session
        at_ms = max(at_ms, s.at_ms)
        if reason.endswith("LimitReached"):
            s.flag("ceiling")
        end_unix_ms = s.start["unix_ms"] + at_ms - s.start["mono"]
        s.pricer.finish(end_unix_ms, register_wh)
        if s.pricer.flags & EDGE_INTERPOLATED:
            s.flag("edge_interpolated")
        late_ms = None
        if s.start["clock"] == "U" and s.start["boot"] == self._boot:
            late_ms = self._clock.unix_ms(s.start["mono"])
        if late_ms is not None:
            s.pricer.shift(late_ms - s.start["unix_ms"])
            end_unix_ms += late_ms - s.start["unix_ms"]
            s.flags = [flag for flag in s.flags if flag != "clock_unset"]
            s.flag("clock_set_late")
        s.stop = self._stopped(reason, register_wh, at_ms, end_unix_ms)
        if late_ms is not None:
            s.stop["clock"] = self._clock.trust()

    def _stopped(self, reason, register_wh, at_ms, end_unix_ms):
        """What the journal's STOP frame says."""
        s = self.session
        return {
            "reason": reason, "wh": register_wh, "flags": s.flags,
            "rolled": s.rolled_wh, "duration": at_ms - s.start["mono"], "end_ms": end_unix_ms,
            # The end is the start plus elapsed monotonic time: as trustworthy as the start.
            "clock": s.start["clock"],
        }  # fmt: skip

    def _keep_stop(self):
        s = self.session
        self._journal.append(log.STOP, _join(json.dumps(s.stop), s.pricer.state()))

    def settle(self):
        """Makes the end of a stopped session durable, signs and queues its record. Returns the
        bill. Raises JournalError while flash fails: to be called again."""
        s = self.session
        found = self._journal.open_session()
        if found is None:  # flash had failed to say that the record is durable
            bill = s.pricer.bill()
            self.session = None
            return bill
        if found[2] is None:
            self._keep_stop()
        found = None
        return self._settle(s.start, s.stop, s.pricer)

    def _settle(self, start, stop, pricer):
        """Signs the record of a session whose STOP is durable, and queues it."""
        gc.collect()
        bill = pricer.bill()
        name, content = signed_record.make(
            self._config, self._identity, start, stop, pricer, bill
        )  # fmt: skip
        # What _doubt() compares the next session's meter with; a memo has at most 32 bytes.
        end_wh = stop["wh"] - stop.get("rolled", 0)
        memo = b"%d %s" % (end_wh, start["serial"][:20].encode())
        self._outbox.put(name, content, memo=memo)
        self.session = None
        return bill

    # -- after a boot -------------------------------------------------------------------------

    def unfinished(self):
        """What the journal holds of a session without a record: (start, checkpoint, stop) with
        stop None while it was running; None when there is none."""
        found = self._journal.open_session()
        if found is None:
            return None
        start, checkpoint, stop = found
        return json.loads(start), checkpoint, stop

    def recover(self, found, files, register_wh, reason, is_same_meter=True):
        """Ends the session that was left without a record; `found` as unfinished() gave it.

        files: tariff files, one of which holds the session's own table. register_wh: the meter's
        register now, or None when it does not answer or is another one's: then the last durable
        reading ends the session, and a flag says so. Returns the bill, None for a session whose
        contactor never closed. Raises TariffError where no file holds the table."""
        start, checkpoint, stop = found
        if came_to_nothing(found, register_wh):
            self._journal.abandon()
            return None
        tariff = tariff_files.find(files, start["tariff"])
        head = state = None
        if checkpoint is not None:
            head, state = _split(checkpoint)
            if "ceiling" in head:  # written by an older firmware, it is not
                start["auth"]["ceiling_minor"] = head["ceiling"]
        if stop is not None:
            stop, state = _split(stop)
            session = Session(start, Pricer.resume(tariff, state))
            return self._settle(start, stop, session.pricer)
        if head is None:
            reserved = start.get("reserved")
            session = Session(start, _pricer(tariff, start["unix_ms"], start["wh"], reserved))
            session.pricer.sample(start["unix_ms"], start["wh"], True)
        else:
            session = Session(start, Pricer.resume(tariff, state))
            session.at_ms = head["mono"]
            session.register_wh = head["wh"]
            session.flags = head["flags"]
            session.rolled_wh = head.get("rolled", 0)
        if start["boot"] != self._boot:
            session.flag("closed_at_boot")
        if not is_same_meter:
            session.flag("meter_replaced")
        if reason == "PowerLoss":
            session.flag("power_cut")
        self.session = session
        if register_wh is None:
            session.flag("end_reading_missing")
            register_wh = session.register_wh
        else:
            register_wh = self._believed(register_wh + session.rolled_wh)
        # The instant of the cut is not known: time ends with the last durable reading, energy
        # with the register, which cannot have moved since the contactor fell open.
        self.stop(reason, session.at_ms, register_wh)
        return self.settle()

    def _believed(self, register_wh):
        """The register with which a session that was left ends: the meter's now, or where that
        cannot be (an older flash image's session, say) the last durable one, flagged."""
        s = self.session
        most_s = 2 * self._config["checkpoint_s"] + _UNSAVED_S
        most_wh = self._config["max_power_w"] * most_s // 3000 + _UNRECORDED_WH
        if register_wh < s.register_wh:
            s.flag("meter_rollback")
        elif register_wh > s.register_wh + most_wh:
            s.flag("meter_jump")
        else:
            return register_wh
        return s.register_wh


def came_to_nothing(found, register_wh):
    """Whether there was no session, of which unfinished() says `found`: the first checkpoint is
    made as the contactor has closed, so it never did, and nothing has flowed."""
    start, checkpoint, stop = found
    return checkpoint is None and stop is None and (register_wh or 0) <= start["wh"]


def _pricer(tariff, unix_ms, register_wh, reserved):
    """For a session that begins now, after a reservation or without one (None)."""
    pricer = Pricer(tariff, unix_ms, register_wh)
    if reserved:
        pricer.reserve(reserved[0], reserved[1], bool(reserved[2]))
    return pricer


def _join(head, tail):
    head = head.encode()
    return bytes((len(head) >> 8, len(head) & 255)) + head + tail


def _split(payload):
    end = 2 + (payload[0] << 8 | payload[1])
    return json.loads(bytes(payload[2:end])), bytes(payload[end:])
