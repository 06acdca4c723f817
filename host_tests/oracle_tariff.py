"""What a session costs, written from the text of OCPI 2.2.1 alone, with exact fractions.

An oracle for the tests: it shares no code with the firmware or the tools, and works another way.
It cuts a session at every instant at which anything might change (each boundary of each window on
each local day under each offset in use, each threshold), looks all restrictions up afresh in the
middle of each piece, and sums up fractions. Sources: mod_tariffs (Tariff, TariffElement,
TariffRestrictions, PriceComponent, step_size examples), mod_cdrs (step_size).
"""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

DAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
GROUPS = {"ENERGY": "energy", "TIME": "time", "PARKING_TIME": "parking", "FLAT": "fixed"}
HOUR = 3600
KWH = 1000


def number(value):
    return Fraction(str(value))


def instant(text):
    """Seconds since 1970 as a fraction."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return Fraction((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), 10**6)


def local(second, zone):
    return datetime.fromtimestamp(int(second // 1), UTC).astimezone(zone)


# --- does an element apply? -------------------------------------------------------------------


def clock_applies(r, now):
    """Restrictions on the local wall clock; `now` is a local datetime."""
    clock = now.strftime("%H:%M:%S")
    start, end = r.get("start_time"), r.get("end_time")
    if start is not None or end is not None:
        start, end = (start or "00:00") + ":00", (end or "00:00") + ":00"
        if start < end:
            if not start <= clock < end:
                return False
        elif start > end and end <= clock < start:  # around midnight; equal is the whole day
            return False
    date = now.strftime("%Y-%m-%d")
    if r.get("start_date") is not None and date < r["start_date"]:
        return False
    if r.get("end_date") is not None and date >= r["end_date"]:
        return False
    return not r.get("day_of_week") or DAYS[now.weekday()] in r["day_of_week"]


def between(r, name, low, high):
    least, most = r.get("min_" + name), r.get("max_" + name)
    if least is not None and (low is None or low < number(least)):
        return False
    return most is None or (high is not None and high < number(most))


def applies(r, at):
    """`at`: {now, kwh, seconds, power: (low, high), current: (low, high)}."""
    return (
        clock_applies(r, at["now"])
        and between(r, "kwh", at["kwh"], at["kwh"])
        and between(r, "duration", at["seconds"], at["seconds"])
        and between(r, "power", *at["power"])
        and between(r, "current", *at["current"])
    )


def component(tariff, kind, at, reservation=None):
    """The first element with a component of this kind whose restrictions match."""
    for element in tariff["elements"]:
        r = element.get("restrictions") or {}
        if r.get("reservation") == reservation:
            for candidate in element["price_components"]:
                if candidate["type"] == kind and applies(r, at):
                    return candidate
    return None


# --- adding up --------------------------------------------------------------------------------


class Till:
    """Consumed chunks per dimension: (component, volume in Wh or seconds)."""

    def __init__(self, tariff):
        self.tariff = tariff
        self.chunks = {"ENERGY": [], "TIME": [], "PARKING_TIME": [], "RESERVATION": []}
        self.flat = self.reservation_flat = None

    def use(self, kind, found, volume):
        if found is not None and volume > 0:
            self.chunks[kind].append([found, volume])

    def round_up(self, kind):
        chunks = self.chunks[kind]
        if chunks:
            step = chunks[-1][0].get("step_size", 1)
            total = sum(volume for _, volume in chunks)
            if step:
                chunks[-1][1] += -(-total // step) * step - total

    def settle(self):
        self.round_up("ENERGY")
        self.round_up("PARKING_TIME" if self.chunks["PARKING_TIME"] else "TIME")
        self.round_up("RESERVATION")
        cost = {g: [Fraction(0), Fraction(0)] for g in [*GROUPS.values(), "reservation"]}

        def charge(group, found, units):
            excl = number(found["price"]) * units
            vat = found.get("vat")
            cost[group][0] += excl
            cost[group][1] += excl * (1 + number(vat) / 100) if vat is not None else excl

        for kind, chunks in self.chunks.items():
            for found, volume in chunks:
                unit = KWH if kind == "ENERGY" else HOUR
                charge(GROUPS.get(kind, "reservation"), found, volume / unit)
        if self.flat is not None:
            charge("fixed", self.flat, 1)
        if self.reservation_flat is not None:
            charge("reservation", self.reservation_flat, 1)
        total = [sum(c[0] for c in cost.values()), sum(c[1] for c in cost.values())]
        for i, side in enumerate(("excl_vat", "incl_vat")):
            for key, pick in (("min_price", max), ("max_price", min)):
                limit = (self.tariff.get(key) or {}).get(side)
                if limit is not None:
                    total[i] = pick(total[i], number(limit))
        return {"total": tuple(total), "cost": {g: tuple(c) for g, c in cost.items()}}


# --- a session given as samples ---------------------------------------------------------------


def _offsets(zone, start, end):
    hours = range(int(start // HOUR) - 1, int(end // HOUR) + 2)
    found = {local(h * HOUR, zone).utcoffset().total_seconds() for h in hours}
    return {int(offset) for offset in found}


def _instants(tariff, zone, start, end):
    """Every instant in between at which a wall-clock restriction might begin or end."""
    minutes = {0}
    for element in tariff["elements"]:
        r = element.get("restrictions") or {}
        for key in ("start_time", "end_time"):
            if r.get(key):
                minutes.add(int(r[key][:2]) * 60 + int(r[key][3:]))
    found = set()
    for offset in _offsets(zone, start, end):
        for day in range(int((start + offset) // 86400) - 1, int((end + offset) // 86400) + 2):
            found |= {Fraction(day * 86400 + 60 * m - offset) for m in minutes}
    for quarter in range(int(start // 900), int(end // 900) + 2):  # offsets change on quarters
        before, after = (local(900 * quarter + d, zone).utcoffset() for d in (-1, 0))
        if before != after:
            found.add(Fraction(900 * quarter))
    return {t for t in found if start < t < end}


def _thresholds(tariff, name, scale):
    found = set()
    for element in tariff["elements"]:
        r = element.get("restrictions") or {}
        for key in ("min_" + name, "max_" + name):
            if r.get(key) is not None:
                found.add(number(r[key]) * scale)
    return found


def _pieces(instants, energies, origin, a, b):
    """The piece between samples a and b, (seconds, Wh) each, cut wherever it might matter."""
    (t0, e0), (t1, e1) = a, b
    cuts = {Fraction(0), Fraction(1)}  # as a share of the way from a to b
    if t1 > t0:
        cuts |= {(t - t0) / (t1 - t0) for t in instants if t0 < t < t1}
    if e1 > e0:
        cuts |= {(origin + e - e0) / (e1 - e0) for e in energies if e0 < origin + e < e1}
    ordered = sorted(cuts)
    for u, v in pairwise(ordered):
        yield tuple((t0 + w * (t1 - t0), e0 + w * (e1 - e0)) for w in (u, v))


def price_samples(tariff, timezone, samples):
    """{total: (excl, incl), cost: {group: (excl, incl)}} as fractions."""
    zone = ZoneInfo(timezone)
    till = Till(tariff)
    points, highest = [], None
    for s in samples:
        register = number(s["register_wh"])
        highest = register if highest is None else max(highest, register)
        points.append((instant(s["at"]), highest))
    start, origin = points[0]
    instants = _instants(tariff, zone, start, points[-1][0])
    instants |= {start + t for t in _thresholds(tariff, "duration", 1)}
    energies = _thresholds(tariff, "kwh", KWH)

    def look(sample, t, e):
        power, current = (
            None if sample.get(key) is None else number(sample[key]) / 1000
            for key in ("power_w", "current_ma")
        )
        return {
            "now": local(t, zone), "kwh": (e - origin) / KWH, "seconds": t - start,
            "power": (power, power), "current": (current, current),
        }  # fmt: skip

    moved = False
    for sample, a, b in zip(samples, points, points[1:], strict=False):
        for (t, e), (t2, e2) in _pieces(instants, energies, origin, a, b):
            if (t, e) == (t2, e2):
                continue
            moved = True
            at = look(sample, (t + t2) / 2, (e + e2) / 2)
            kind = "TIME" if sample["state"] == "charging" else "PARKING_TIME"
            till.use("ENERGY", component(tariff, "ENERGY", at), e2 - e)
            till.use(kind, component(tariff, kind, at), t2 - t)
            till.flat = till.flat or component(tariff, "FLAT", at)
    if not moved:  # a session without any extent still began
        till.flat = component(tariff, "FLAT", look(samples[-1], start, origin))
    return till.settle()


# --- a session given as periods (a CDR) -------------------------------------------------------


def _volumes(period):
    found = {}
    for d in period["dimensions"]:
        if d["type"] == "ENERGY" and d.get("mwh") is not None:
            found["ENERGY"] = Fraction(d["mwh"], 1000)
        elif d["type"].endswith("TIME") and d.get("ms") is not None:
            found[d["type"]] = Fraction(d["ms"], 1000)
        else:
            unit = {"ENERGY": KWH, "TIME": HOUR, "PARKING_TIME": HOUR, "RESERVATION_TIME": HOUR}
            found[d["type"]] = number(d["volume"]) * unit.get(d["type"], 1)
    return found


def price_periods(tariff, timezone, session):
    """As price_samples; conditions are those at each period's start."""
    zone = ZoneInfo(timezone)
    till = Till(tariff)
    begin = instant(session["start"])
    reserved = [p for p in session["periods"] if "RESERVATION_TIME" in _volumes(p)]
    in_use = [p for p in session["periods"] if p not in reserved]
    if reserved and in_use:
        begin = instant(in_use[0]["start"])
    wh = Fraction(0)
    for period in session["periods"]:
        start, volumes = instant(period["start"]), _volumes(period)
        origin = instant(reserved[0]["start"]) if period in reserved else begin
        at = {
            "now": local(start, zone), "kwh": wh / KWH, "seconds": start - origin,
            "power": (volumes.get("MIN_POWER"), volumes.get("MAX_POWER")),
            "current": (volumes.get("MIN_CURRENT"), volumes.get("MAX_CURRENT")),
        }  # fmt: skip
        if period in reserved:
            _reserve(till, tariff, at, volumes, session.get("reservation_expired"))
            continue
        for kind in ("ENERGY", "TIME", "PARKING_TIME"):
            till.use(kind, component(tariff, kind, at), volumes.get(kind, 0))
        till.flat = till.flat or component(tariff, "FLAT", at)
        wh += volumes.get("ENERGY", 0)
    return till.settle()


def _reserve(till, tariff, at, volumes, expired):
    """An expired reservation costs what RESERVATION_EXPIRES says, else what RESERVATION does."""
    kinds = ["RESERVATION_EXPIRES", "RESERVATION"] if expired else ["RESERVATION"]
    for kind in ("TIME", "FLAT"):
        found = next(filter(None, (component(tariff, kind, at, k) for k in kinds)), None)
        if kind == "TIME":
            till.use("RESERVATION", found, volumes["RESERVATION_TIME"])
        else:
            till.reservation_flat = till.reservation_flat or found
