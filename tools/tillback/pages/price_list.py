"""The price list of a compact tariff: every component, when it applies, and which of them do now.

Order of Regulation (EU) 2023/1804 (AFIR), Article 5(4): per kWh, per minute, per session, others.
Which rule applies says core's own lookup; what it costs, core.price_words."""

from dataclasses import dataclass, replace
from decimal import Decimal

from evtill.core import price_words, tariff
from evtill.core.pricing import Pricer
from tillback.language import Language
from tillback.pages.model import Live
from tillctl.tariff_model import ALWAYS, Condition, Model, Rate
from tillctl.tariff_table import parse

# The lists of rules in the order in which they are shown: name, what price_words calls such a
# price, unit, and its step's unit.
_GROUPS = {
    tariff.ENERGY: ("energy", "ENERGY", "kWh", "Wh"),
    tariff.TIME: ("time", "TIME", "min", "s"),
    tariff.PARKING: ("parking", "PARKING_TIME", "min", "s"),
    tariff.FLAT: ("session", "FLAT", "", ""),
    tariff.RES_TIME: ("reservation_time", "TIME", "min", "s"),
    tariff.RES_FLAT: ("reservation_fee", "FLAT", "", ""),
}
_NOW = (tariff.ENERGY, tariff.TIME, tariff.PARKING, tariff.FLAT)  # what a session may cost
_QUANTITIES = ("energy", "duration", "power", "current", "charging", "idle")
_POWER, _CURRENT = 2, 3
_HORIZON_S = 8 * 86400  # a price that holds so long has no end worth telling
_DAY_S = 86400


@dataclass(frozen=True)
class Line:
    """A price and when it applies, in words ("": always). `now`: of several it is the one in force,
    `until` when the clock changes that, as far as it can be known."""

    price: str
    unit: str
    when: str
    step: str = ""
    now: bool = False
    until: str = ""

    def full(self) -> str:
        """"0.58 €/kWh"."""
        return f"{self.price}/{self.unit}" if self.unit else self.price


@dataclass(frozen=True)
class Group:
    """The prices of one kind of component (`name`: a key of the words), the first that applies
    counts."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class PriceList:
    """`vat` says what the prices include."""

    groups: tuple[Group, ...]
    limits: tuple[tuple[str, str], ...]  # (key of the words, price)
    vat: str
    ordered: bool  # the order of lines matters

    def now(self, name: str) -> Line | None:
        """The line of a group that is in force."""
        return next((line for group in self.groups if group.name == name
                     for line in group.lines if line.now), None)  # fmt: skip


def read(table: bytes, now_s: int, language: Language, live: Live | None = None) -> PriceList:
    """The price list at `now_s`: before a session, or where a session stands. Raises TariffError
    for what is no table."""
    model = parse(table)
    watched = _Watched(table)
    moment, unknown = _moment(live)
    watched.place(moment, now_s)
    groups = []
    for dimension in _GROUPS:
        rules = model.rules[dimension]
        if rules:
            place = -1
            if dimension in _NOW and _knowable(dimension, rules, unknown, live):
                place = watched.place_of(dimension, moment)
            groups.append(_group(model, watched, dimension, place, now_s, language))
    ordered = any(sum(1 for c, _ in rules if c != ALWAYS) > 1 for rules in model.rules)
    return PriceList(tuple(groups), _limits(model, language), _vat(model, language), ordered)


def idle_fee_from_s(table: bytes, live: Live) -> int | None:
    """When standing without charging begins to cost something (Unix s), as far as it is known; in
    the past where it does already. Raises TariffError."""
    start_ms = live.at_s * 1000 - live.duration_ms
    pricer = Pricer(tariff.Tariff(table), start_ms, 0)
    pricer.sample(start_ms, 0, True)
    if live.idle_since_s is not None:
        idle_ms = min(max(live.idle_since_s * 1000, start_ms), live.at_s * 1000)
        pricer.sample(idle_ms, live.energy_wh, False, 0)
    pricer.sample(live.at_s * 1000, live.energy_wh, live.idle_since_s is None, live.power_w)
    left_ms = pricer.parking_in_ms()
    return None if left_ms is None else live.at_s + left_ms // 1000


def offset_s(table: bytes, unix_s: int) -> int:
    """Seconds east of UTC where the tariff's charger stands. Raises TariffError."""
    found: int = tariff.Tariff(table).offset_s_at(unix_s)
    return found


class _Watched(tariff.Tariff):
    """Knows at which rule a lookup stopped."""

    def __init__(self, table: bytes) -> None:
        self._reached = -1
        super().__init__(table)

    def rules(self, dimension):
        for self._reached, rule in enumerate(super().rules(dimension)):
            yield rule
        self._reached += 1

    def place_of(self, dimension: int, moment: tariff.Moment) -> int:
        """The place of the rule that applies, or their number when none does."""
        self._reached = -1
        self.find(dimension, moment)
        return self._reached


def _moment(live: Live | None) -> tuple[tariff.Moment, set[int]]:
    """Where a session stands, and which quantities of it nobody knows."""
    moment = tariff.Moment()
    unknown = {_POWER, _CURRENT}
    if live:
        idle_s = 0 if live.idle_since_s is None else max(0, live.at_s - live.idle_since_s)
        duration_s = live.duration_ms // 1000
        moment.low[0:2] = live.energy_wh * 1000, duration_s
        moment.low[4:6] = max(0, duration_s - idle_s), idle_s
        if live.power_w is not None:
            moment.low[_POWER] = live.power_w * 1000
            unknown.discard(_POWER)
    return moment, unknown


def _knowable(
    dimension: int, rules: list[tuple[Condition, Rate]], unknown: set[int], live: Live | None
) -> bool:
    """Whether it makes sense to say which of the rules applies now."""
    if any(c.ranges[q] != (None, None) for c, _ in rules for q in unknown):
        return False
    if live:
        return dimension != tariff.FLAT or len(rules) == 1  # which fee it is, its start has decided
    return rules == [(ALWAYS, rules[0][1])] or any(c.on_clock for c, _ in rules)


def _group(
    model: Model, watched: _Watched, dimension: int, place: int, now_s: int, language: Language
) -> Group:
    name, kind, unit, step_unit = _GROUPS[dimension]
    rules = model.rules[dimension]
    today = (now_s + watched.offset_s_at(now_s)) // _DAY_S
    if dimension == tariff.FLAT:
        unit = language.say("price.per_session")
    until = _until(watched, dimension, now_s, language) if place >= 0 else ""
    lines = []
    for i, (condition, rate) in enumerate(rules):
        if condition.end_date is not None and condition.end_date <= today:
            continue  # over for good
        priced = (kind, rate.price_micro, rate.vat_ppb and rate.vat_ppb // 1000, rate.step)
        _, amount = price_words.component(watched, priced, language)
        line = Line(amount, unit, _when(condition, language), now=i == place, until=until)
        if not rate.price_micro:
            line = replace(line, price=language.say("price.free"), unit="")
        elif rate.step > 1 and step_unit:
            step = language.duration(rate.step) if step_unit == "s" else _kwh(rate.step, language)
            line = replace(line, step=language.say("price.step", step=step))
        lines.append(line)
    if rules[-1][0] != ALWAYS:
        free = language.say("price.free")
        lines.append(Line(free, "", "", now=place == len(rules), until=until))
    if len(lines) > 1 and not lines[-1].when:
        lines[-1] = replace(lines[-1], when=language.say("when.otherwise"))
    return Group(name, tuple(lines))


def _kwh(wh: int, language: Language) -> str:
    return f"{language.number(Decimal(wh) / 1000)}\N{NO-BREAK SPACE}kWh"


def _when(c: Condition, language: Language) -> str:
    parts = []
    clock = [language.days(c.days)] if c.days is not None else []
    if c.window and c.window[0] != c.window[1]:
        clock.append("\N{EN DASH}".join(map(language.clock, c.window)))
    if clock:
        parts.append(" ".join(clock))
    if c.start_date is not None:
        parts.append(language.say("when.from_day", day=language.day(c.start_date)))
    if c.end_date is not None:
        parts.append(language.say("when.to_day", day=language.day(c.end_date - 1)))
    for q, (low, high) in enumerate(c.ranges):
        side = {(True, False): "from", (False, True): "below", (True, True): "between"}.get(
            (bool(low), high is not None)
        )
        if side:
            shown = {"low": _quantity(q, low or 0, language),
                     "high": _quantity(q, high or 0, language)}  # fmt: skip
            parts.append(language.say(f"when.{_QUANTITIES[q]}_{side}", **shown))
    if c.expires:
        parts.append(language.say("when.expires"))
    parts += [language.say("when.only", name=name)
              for name in (c.brand, c.recognition, c.evse_kind) if name is not None]  # fmt: skip
    return ", ".join(parts)


def _quantity(q: int, n: int, language: Language) -> str:
    if q in (1, 4, 5):
        return language.duration(n)
    return language.number(Decimal(n) / (1000 if q == _CURRENT else 10**6))


def _limits(model: Model, language: Language) -> tuple[tuple[str, str], ...]:
    found = []
    taxed = any(rate.vat_ppb for rules in model.rules for _, rate in rules)
    for key, (excl, incl) in (("at_least", model.limits[:2]), ("at_most", model.limits[2:])):
        micro = excl if incl is None else incl
        if micro is not None:
            price = language.amount(f"{Decimal(micro) / 10**6:f}", model.currency)
            if incl is None and taxed:
                price = language.say("price.excl_vat", price=price)
            found.append((key, price))
    return tuple(found)


def _vat(model: Model, language: Language) -> str:
    rates = {rate.vat_ppb for rules in model.rules for _, rate in rules if rate.price_micro}
    if not rates:
        return ""
    if rates == {None}:
        return language.say("price.vat_none")
    if None in rates:
        return language.say("price.vat_some")
    shown = [language.percent(Decimal(rate) / 10**9) for rate in sorted(filter(None, rates))]
    if not shown:  # of 0 %
        shown = [language.percent(Decimal(0))]
    return language.say("price.vat", rates=language.listed(shown))


def _until(watched: _Watched, dimension: int, now_s: int, language: Language) -> str:
    """When the clock has another rule apply: "20:00", with the day if that is far."""
    moment = tariff.Moment()
    at_s = now_s
    first = None
    while at_s < now_s + _HORIZON_S:
        watched.place(moment, at_s)
        place = watched.place_of(dimension, moment)
        if first is None:
            first = place
        if place != first:
            local_s = at_s + watched.offset_s_at(at_s)
            clock = language.clock(local_s % _DAY_S // 60)
            day = language.days(1 << (local_s // _DAY_S + 3) % 7)
            return clock if at_s - now_s < _DAY_S else f"{day} {clock}"
        at_s += moment.wait_s
    return ""
