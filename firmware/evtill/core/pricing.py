"""What a session costs, by a compact tariff table: exact integers, sample by sample.

Between two samples energy is linear in time; state, power and current hold until the next sample.
A segment is cut where a price may change: at edges of the wall clock and of durations, where the
energy is interpolated, and at energy thresholds, where the time is. Cuts are rounded to 1e-9 Wh
and 1e-9 s, all else is exact: volumes are summed up per period, and money is divided once, when
a bill is asked for. Semantics: OCPI 2.2.1 mod_tariffs and mod_cdrs (step_size).
"""

from array import array

from . import bill
from .bill import TIME_DIMENSION
from .errors import TariffError
from .tariff import ENERGY, FLAT, PARKING, RES_FLAT, TIME, UNKNOWN, Cursor, Moment, put

IDLE, CHARGING, RESERVED, EXPIRED = 0, 1, 2, 3
REGISTER_BACKWARDS, CLOCK_BACKWARDS, EDGE_INTERPOLATED = 1, 2, 4
FLAG_NAMES = ("register_backwards", "clock_backwards", "edge_interpolated")

_PAST = -(1 << 30) + 1  # an edge behind everything: look the prices up again
_FAR_MS = 400000000  # an edge farther off than this is only the lookups' own horizon
_NS = 1000000  # nanoseconds in a millisecond, nanowatt-hours in a milliwatt-hour
# Chronological periods up to here; then volumes go to an earlier period of the same prices.
_MAX_PERIODS = 32
# A period: start in ms, state, rates of energy and time (-1: free), volumes in nWh and ns.
_STATE = 1
_ENERGY_RATE = 2
_TIME_RATE = 3
_ENERGY_N = 4
_TIME_N = 5

_small = array("i", [0])


def _narrow(n):
    """`n`, as a small integer where it fits: from Unix milliseconds MicroPython's arithmetic gets
    a big one, however small its value is."""
    if not _PAST < n < -_PAST:
        return n
    _small[0] = n
    return _small[0]


class Pricer:
    """Prices one session from its first sample on.

    `register_wh` counts Wh, or 1 / `per_wh` Wh of a finer meter. `context` is (payment brand,
    payment recognition, kind of EVSE), as OCPP's conditions name them. `flags` collects
    REGISTER_BACKWARDS and CLOCK_BACKWARDS (such samples are priced as standstill), and
    EDGE_INTERPOLATED when the energy at a change of price was worked out, not read. It
    is idle until the first sample() says otherwise. Raises TariffError when the tariff does not
    cover the start."""

    def __init__(self, tariff, start_unix_ms, register_wh, per_wh=1, context=None):
        if not tariff.covers(start_unix_ms // 1000):
            raise TariffError("tariff %s: not valid at the session's start" % tariff.id)
        self.tariff = tariff
        self.start_ms = start_unix_ms
        self.register_wh = register_wh
        self.per_wh = per_wh
        self.ceiling_minor = None  # see bill.totals()
        self.flags = 0
        self.periods = []
        self._moment = Moment(context)
        self._unit = 10**9 // per_wh  # nWh in a step of the register
        self._t = self._e = 0  # the last sample: ms and register steps since the first
        self._cut_t = self._cut_e = 0  # up to here volumes are in periods: ns and nWh
        self._edge_t = self._edge_e = _PAST  # ms and register steps at which to look again
        self._limit_mwh = 0  # the energy edge, exact
        self._state = IDLE
        self._period = -1
        self._origin = 0  # ms from which durations count
        self._mark = 0  # ms of the last change of state
        self._charged = 0  # ms of charging before that
        self.fees = [-1, -1, -1, -1]  # rate and period of the session's fee, of the reservation's
        self.final = [-1] * 6  # the last period that used a component of each dimension
        self._looked = False

    # --- samples ------------------------------------------------------------------------------

    def sample(self, unix_ms, register_wh, charging, power_w=None, current_ma=None):
        """A meter reading; state, power and current (summed over the phases; None: not measured)
        hold from it until the next sample."""
        self.tick(
            _narrow(unix_ms - self.start_ms),
            register_wh - self.register_wh,
            CHARGING if charging else IDLE,
            UNKNOWN if power_w is None else 1000 * power_w,
            UNKNOWN if current_ma is None else current_ma,
        )

    def tick(self, t, e, state, power_mw, current_ma):
        """sample() in small integers: ms and register steps since the first sample."""
        if t < self._t:
            self.flags |= CLOCK_BACKWARDS
            t = self._t
        if e < self._e:
            self.flags |= REGISTER_BACKWARDS
            e = self._e
        if t >= self._edge_t or e >= self._edge_e:
            self._cross(t, e)
        self._t = t
        self._e = e
        m = self._moment
        if (
            state != self._state
            or not m.down[2] <= power_mw < m.up[2]
            or not m.down[3] <= current_ma < m.up[3]
            or t >= self._edge_t
            or e >= self._edge_e
        ):
            self._turn(state)
        m.low[2] = power_mw
        m.low[3] = current_ma

    def finish(self, unix_ms, register_wh):
        """The last reading."""
        m = self._moment
        self.tick(
            unix_ms - self.start_ms, register_wh - self.register_wh,
            self._state, m.low[2], m.low[3],
        )  # fmt: skip
        if not self._looked:  # a session without any extent
            self._look()
        self._settle(self._t * _NS, self._e * self._unit)

    def reserve(self, from_unix_ms, to_unix_ms, expired=False):
        """A reservation ahead of the first sample. Call it before any sample."""
        self._origin = self._t = from_unix_ms - self.start_ms
        self._cut_t = self._t * _NS
        self._moment.expired = expired
        self._state = EXPIRED if expired else RESERVED
        t = to_unix_ms - self.start_ms
        self._cross(t, 0)
        self._t = t
        self._settle(t * _NS, 0)
        self._t = self._origin = self._cut_t = 0
        self._moment.expired = self._looked = False
        self._period = -1
        self._turn(IDLE)

    def shift(self, delta_ms):
        """Puts the start's wall clock right (only where the tariff does not need the clock)."""
        self.start_ms += delta_ms

    # --- what it costs ------------------------------------------------------------------------

    def running(self):
        """(excl, incl) in minor units: the bill if the session ended at the last sample."""
        self._settle(self._t * _NS, self._e * self._unit)
        return bill.totals(self)[:2]

    def ahead(self, ms, steps):
        """What it would cost incl. VAT in minor units, whatever the ceiling, `ms` and so many steps
        of the register after the last sample, if prices stay as they are."""
        self._settle(self._t * _NS, self._e * self._unit)
        if self._edge_t == _PAST:
            self._look()
        ceiling_minor = self.ceiling_minor
        period = self.periods[self._period]
        self.ceiling_minor = None
        period[_TIME_N] += ms * _NS
        period[_ENERGY_N] += steps * self._unit
        cost_minor = bill.totals(self)[1]
        period[_TIME_N] -= ms * _NS
        period[_ENERGY_N] -= steps * self._unit
        self.ceiling_minor = ceiling_minor
        return cost_minor

    def bill(self):
        """The itemised bill up to the last sample (see core/bill.py)."""
        self._settle(self._t * _NS, self._e * self._unit)
        return bill.itemise(self)

    def energy_wh(self):
        return self._e // self.per_wh

    def next_edge_ms(self):
        """Unix ms of the next instant known in advance at which the price may change, or None:
        read the meter on it."""
        if self._edge_t == _PAST:
            return self.price_now()[1]
        return self._next(self._edge_t)

    def _next(self, edge_t):
        return None if edge_t - self._t > _FAR_MS else self.start_ms + edge_t

    def price_now(self):
        """The components in force at the last sample, in AFIR's order (per kWh, per minute, per
        session), as (type, price 1e-6 per kWh, h or session, VAT in 1e-6 or None, step in Wh or
        s), and the Unix ms of the next change known in advance, or None."""
        t = self._t
        m = self._moment
        self._scan(t * _NS, self._e * self._unit)
        found = []
        for dimension in (ENERGY, TIME, PARKING, FLAT):
            rate = self.fees[0] if dimension == FLAT else -1
            if rate < 0:
                rate = self.tariff.find(dimension, m)
            if rate >= 0:
                price, vat, step = self.tariff.rate(rate)
                vat = None if vat is None else vat // 1000
                found.append((bill.TYPES[dimension], price, vat, step))
        return found, self._next(self._edge(t))

    def parking_in_ms(self):
        """0 where time without charging has a price now, or would have it; in how many ms it will
        while the car goes on standing idle; None where nothing is known of that."""
        for component in self.price_now()[0]:
            if component[0] == "PARKING_TIME" and component[1]:
                return 0
        m = self._moment
        if self._state != IDLE or m.up[5] >= _FAR_MS // 1000:
            return None
        idle_s = m.low[5]
        m.low[5] = m.up[5]
        rate = self.tariff.find(PARKING, m)
        left_ms = self._mark + m.low[5] * 1000 - self._t
        m.low[5] = idle_s
        return left_ms if rate >= 0 and self.tariff.rate(rate)[0] else None

    # --- cutting ------------------------------------------------------------------------------

    def _turn(self, state):
        """Ends the present conditions at the last sample; the next stretch looks prices up."""
        self._settle(self._t * _NS, self._e * self._unit)
        if state != self._state:
            if self._state == CHARGING:
                self._charged += self._t - self._mark
            self._mark = self._t
            self._state = state
        self._edge_t = self._edge_e = _PAST

    def _cross(self, t, e):
        """Cuts the segment from the last sample to (t, e) at every edge strictly before its end."""
        dt = t - self._t
        de = (e - self._e) * self._unit
        if not dt and not de:
            return
        if self._edge_t == _PAST:
            self._look()
        t0 = self._t * _NS
        e0 = self._e * self._unit
        while True:
            limit = self._limit_mwh * _NS
            edge = self._edge_t * _NS
            by_time = t > self._edge_t
            by_energy = e0 + de > limit
            if not by_time and not by_energy:
                return
            if by_time and by_energy:
                energy_first = (limit - e0) * dt * _NS - (edge - t0) * de
                by_time = energy_first >= 0
                by_energy = energy_first <= 0
            if by_time:
                cut_t = edge
                cut_e = limit if by_energy else e0 + bill.half_up(de * (edge - t0), dt * _NS)
            else:
                cut_t = t0 + bill.half_up((limit - e0) * dt * _NS, de)
                cut_e = limit
            period = self._period
            self._settle(cut_t, cut_e)
            self._look()
            if period != self._period and t0 < edge and de and by_time and not by_energy:
                self.flags |= EDGE_INTERPOLATED

    # --- periods ------------------------------------------------------------------------------

    def _settle(self, cut_t, cut_e):
        """Adds what passed since the last cut to the open period."""
        if self._period >= 0:
            p = self.periods[self._period]
            p[_TIME_N] += cut_t - self._cut_t
            p[_ENERGY_N] += cut_e - self._cut_e
            if cut_e > self._cut_e and p[_ENERGY_RATE] >= 0:
                self.final[ENERGY] = self._period
            if cut_t > self._cut_t and p[_TIME_RATE] >= 0:
                self.final[TIME_DIMENSION[p[_STATE]]] = self._period
        self._cut_t = cut_t
        self._cut_e = cut_e

    def _look(self):
        """Looks the prices in force at the last cut up, and until when they hold."""
        m = self._moment
        tariff = self.tariff
        reserved = self._state >= RESERVED
        self._scan(self._cut_t, self._cut_e)
        energy = -1 if reserved else tariff.find(ENERGY, m)
        self._open(energy, tariff.find(TIME_DIMENSION[self._state], m))
        fee = 2 if reserved else 0
        if self.fees[fee] < 0 and not (self._looked and tariff.flat_at_start):
            rate = tariff.find(RES_FLAT if reserved else FLAT, m)
            if rate >= 0:
                self.fees[fee] = rate
                self.fees[fee + 1] = self._period
        self._looked = True
        self._edge_t = _narrow(self._edge(self._cut_t // _NS))
        self._limit_mwh = m.up[0]
        self._edge_e = _narrow(-(-m.up[0] * self.per_wh // 1000))

    def _scan(self, t_ns, e_nwh):
        """Puts the moment to a point of the session, ready for lookups."""
        m = self._moment
        t = t_ns // _NS
        self.tariff.place(m, (self.start_ms + t) // 1000)
        here = t - self._mark
        m.low[0] = e_nwh // _NS
        m.low[1] = (t - self._origin) // 1000
        m.low[4] = (self._charged + (here if self._state == CHARGING else 0)) // 1000
        m.low[5] = here // 1000 if self._state == IDLE else 0

    def _edge(self, t):
        """ms at which what the lookups at `t` said ends, as far as it is known in advance."""
        m = self._moment
        edge = (self.start_ms + t) // 1000 * 1000 - self.start_ms + m.wait_s * 1000
        edge = min(edge, self._origin + m.up[1] * 1000)
        if self._state == CHARGING:
            edge = min(edge, self._mark + m.up[4] * 1000 - self._charged)
        elif self._state == IDLE:
            edge = min(edge, self._mark + m.up[5] * 1000)
        return edge

    def _open(self, energy_rate, time_rate):
        """Goes on in the open period, in an earlier one of the same prices, or in a new one."""
        key = [self._state, energy_rate, time_rate]
        periods = self.periods
        i = self._period
        if i < 0 or periods[i][1:4] != key:
            count = len(periods)
            i = 0 if count >= _MAX_PERIODS else count
            while i < count and periods[i][1:4] != key:
                i += 1
            if i == count:
                periods.append([self._cut_t // _NS] + key + [0, 0])
            self._period = i

    # --- journal ------------------------------------------------------------------------------

    def state(self):
        """Everything that resume() needs, some 40 bytes and 20 a period."""
        self._settle(self._t * _NS, self._e * self._unit)
        m = self._moment
        out = bytearray(self.tariff.table[-4:])  # its CRC
        head = [
            self.start_ms, self.register_wh, self.per_wh, self.flags, self._t, self._e,
            self._state, self._period, self._mark, self._charged, int(self._looked),
            m.low[2], m.low[3], len(self.periods),
        ]  # fmt: skip
        for numbers in [head, self.fees, self.final] + self.periods:
            for n in numbers:
                put(out, 2 * n if n >= 0 else -2 * n - 1)
        return bytes(out)

    @classmethod
    def resume(cls, tariff, state, context=None):
        """The pricer that state() was called on. Raises TariffError for another tariff's state."""
        if state[:4] != tariff.table[-4:]:
            raise TariffError("tariff %s: the journalled state is another tariff's" % tariff.id)
        c = Cursor(state, 4)
        try:
            start_ms, register_wh, per_wh = c.s(), c.s(), c.s()
            pricer = cls(tariff, start_ms, register_wh, per_wh, context)
            pricer._restore(c)
        except IndexError:
            raise TariffError("tariff: the journalled state is cut short") from None
        return pricer

    def _restore(self, c):
        self.flags, self._t, self._e, self._state = c.s(), c.s(), c.s(), c.s()
        self._period, self._mark, self._charged, looked = c.s(), c.s(), c.s(), c.s()
        self._looked = bool(looked)
        m = self._moment
        m.low[2], m.low[3], count = c.s(), c.s(), c.s()
        self.fees = [c.s() for _ in range(4)]
        self.final = [c.s() for _ in range(6)]
        self.periods = [[c.s() for _ in range(6)] for _ in range(count)]
        self._cut_t = self._t * _NS
        self._cut_e = self._e * self._unit
