"""Prices prepared sessions with core.pricing: the part of `tariff price` that also runs on
MicroPython. Standard input: a JSON job a line (see tariff_cases.job); output: a result a line."""

import json
import sys

from evtill.core import bill, tariff
from evtill.core.errors import EvtillError
from evtill.core.pricing import CHARGING, EXPIRED, FLAG_NAMES, IDLE, RESERVED, Pricer

_GROUPS = ("energy", "time", "parking", "fixed", "reservation", "reservation")
_NS = 1000000


class PeriodPricer(Pricer):
    """Prices a session that is split already (a CDR): conditions are looked up once a period.

    It is compiled together with the firmware, which keeps the base's private names in step; its
    own attributes are public, as a shortened private one might meet another of the base's."""

    def __init__(self, tariff, start_unix_ms, context):
        Pricer.__init__(self, tariff, start_unix_ms, 0, 1, context)
        self._moment.high = list(self._moment.low)
        self.energy_n = 0
        self.reserved_from = None
        self.was = None

    def period(self, start, volumes, lows, highs, expired):
        """Volumes: nWh, ns of charging, of parking, of a reservation (None where the period has
        no such dimension); lowest and highest power mW and current mA."""
        energy, charging, parking, reserved = volumes
        m = self._moment
        m.low[2:4] = lows
        m.high[2:4] = highs
        done = False
        for state, time in ((RESERVED, reserved), (CHARGING, charging), (IDLE, parking)):
            if time is not None or (state == CHARGING and not done and parking is None):
                if state == RESERVED:
                    state = EXPIRED if expired else RESERVED
                self.part(start, state, time or 0, 0 if state >= RESERVED else energy)
                if state < RESERVED:
                    energy = 0
                done = True

    def part(self, start, state, time, energy):
        if state >= RESERVED:
            if self.reserved_from is None:
                self.reserved_from = start
            origin, self._origin = self._origin, self.reserved_from
        if state != IDLE or self.was != IDLE:
            self._mark = start
        self.was = self._state = state
        self._moment.expired = state == EXPIRED
        self._cut_t = start * _NS
        self._cut_e = self.energy_n
        looked = self._looked
        self._period = -1
        self._look()
        if state >= RESERVED:
            self._origin = origin
            self._looked = looked
        self._settle(self._cut_t + time, self._cut_e + energy)
        self.energy_n += energy
        if state == CHARGING:
            self._charged += time // _NS

    def _scan(self, t_ns, e_nwh):
        Pricer._scan(self, t_ns, e_nwh)
        m = self._moment
        for q in (0, 1, 4, 5):
            m.high[q] = m.low[q]

    def bill(self):
        return bill.itemise(self)  # volumes are settled already

    def energy_wh(self):
        return self.energy_n // 10**9


def _price_periods(job, table):
    pricer = PeriodPricer(table, job["start_ms"], job["context"])
    pricer._origin = job["origin"]
    for period in job["periods"]:
        start, volumes, lows, highs = period
        pricer.period(start, volumes, lows, highs, job["expired"])
    return pricer


def _price_samples(job, table):
    samples = job["samples"]
    pricer = Pricer(table, job["start_ms"], samples[0][1], job["per_wh"], job["context"])
    for t, register, state, power_mw, current_ma in samples:
        pricer.tick(t, register - pricer.register_wh, state, power_mw, current_ma)
    pricer.finish(job["start_ms"] + samples[-1][0], samples[-1][1])
    return pricer


def _money(excl, incl):
    return {
        "excl": bill.decimal(excl, bill.ONE),
        "incl": bill.decimal(incl, bill.ONE * bill.VAT_ONE),
    }


def _costs(pricer):
    sums: dict = {}
    for line in bill.lines(pricer):
        group = _GROUPS[line[1]]
        excl, incl = sums.get(group, (0, 0))
        sums[group] = (excl + line[5], incl + line[6])
    return {group: _money(*sums.get(group, (0, 0))) for group in _GROUPS}


def run(job):
    """The result of one job: a dict fit for JSON. Raises EvtillError."""
    buf = bytes.fromhex(job["table"])
    if job["kind"] is None:
        table = tariff.load(buf)
    else:
        table = tariff.choose(buf, job["start_ms"] // 1000, job["kind"])
    pricer = (_price_periods if "periods" in job else _price_samples)(job, table)
    net, gross = bill.totals(pricer)[2:4]
    itemised = pricer.bill()
    flags = [name for i, name in enumerate(FLAG_NAMES) if pricer.flags >> i & 1]
    return {
        "name": job["name"],
        "total_cost": _money(net, gross),
        "cost": _costs(pricer),
        "billed": {"excl": itemised["excl_minor"], "incl": itemised["incl_minor"]},
        "periods": itemised["periods"],
        "flags": flags,
        "tariff": table.id,
    }


def attempt(job):
    """run(), with a refusal as {name, error}."""
    try:
        return run(job)
    except EvtillError as e:
        return {"name": job["name"], "error": str(e)}


def main():
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        print(json.dumps(attempt(json.loads(line))))


if __name__ == "__main__":
    main()
