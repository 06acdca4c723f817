"""What an operator should know of a tariff before a driver finds out.

Rules are compared on a grid: one point for each combination of the stretches into which the
tariff's own boundaries divide the day, the week, the calendar and each measured quantity."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from evtill.core import tariff

from .tariff_compile import DAYS
from .tariff_model import ALWAYS, DIMENSIONS, Condition, Model, Rule, day_text, minute_text

_MOST_POINTS = 300_000
_STEP_WH = 10
_STEP_S = 60
_AD_HOC_KW = 50
_UNMEASURED = ("power", "current")
_NAMES = ("kWh", "duration", "power", "current", "charging time", "idle time")
# A point: minute of the day, day of the week, Unix day, six quantities (None: not measured).
Point = tuple[Any, ...]


def lint(model: Model, power_kw: float | None = None) -> list[str]:
    """Warnings, one line each; `power_kw` is the charging point's, if known."""
    found: list[str] = []
    for dimension, rules in enumerate(model.rules):
        found += _rules(DIMENSIONS[dimension], rules)
        found += _steps(DIMENSIONS[dimension], rules)
    return found + _gaps(model) + _displayed(model, power_kw)


# --- the grid ---------------------------------------------------------------------------------


def _axes(rules: list[Rule]) -> list[list[Any]]:
    conditions = [c for c, _ in rules]
    minutes = {0} | {m for c in conditions if c.window for m in c.window}
    days = range(7) if any(c.days is not None for c in conditions) else range(1)
    dates = {0} | {
        d for c in conditions for d in (c.start_date, c.end_date) if d is not None
    }  # fmt: skip
    axes: list[list[Any]] = [sorted(minutes), list(days), sorted(dates)]
    for q in range(6):
        limits = {n for c in conditions for n in c.ranges[q] if n is not None}
        values: list[Any] = sorted({0} | limits)
        if limits and q in (2, 3):
            values.append(None)
        axes.append(values)
    return axes


def _points(rules: list[Rule]) -> Iterator[Point] | None:
    """Every point that the rules tell apart, or None when there are too many."""
    axes = _axes(rules)
    count = len(rules)
    for axis in axes:
        count *= len(axis)
    return product(*axes) if count <= _MOST_POINTS else None


def _matches(c: Condition, point: Point) -> bool:
    minute, weekday, date = point[:3]
    if c.window is not None:
        start, end = c.window
        if not (start <= minute < end if start < end else minute >= start or minute < end):
            return False
    if c.days is not None and not c.days >> weekday & 1:
        return False
    if c.start_date is not None and date < c.start_date:
        return False
    if c.end_date is not None and date >= c.end_date:
        return False
    for value, (low, high) in zip(point[3:], c.ranges, strict=True):
        if low is not None and (value is None or value < low):
            return False
        if high is not None and (value is None or value >= high):
            return False
    return True


def _where(point: Point, axes: list[list[Any]]) -> str:
    parts = []
    if len(axes[0]) > 1:
        later = [m for m in axes[0] if m > point[0]] or [0]
        parts.append(f"{minute_text(point[0])}-{minute_text(later[0])}")
    if len(axes[1]) > 1:
        parts.append(DAYS[point[1]].capitalize())
    if len(axes[2]) > 1:
        parts.append(f"from {day_text(point[2])}" if point[2] else "before the first date")
    for q, value in enumerate(point[3:]):
        if len(axes[3 + q]) > 1:
            if value is None:
                parts.append(f"{_NAMES[q]} not measured")
            elif value:
                per = (10**6, 1, 10**6, 1000, 1, 1)[q]
                parts.append(f"{_NAMES[q]} from {value / per:g}")
    return ", ".join(parts) or "always"


# --- rules against each other -----------------------------------------------------------------


def _rules(name: str, rules: list[Rule]) -> list[str]:
    """Unreachable rules and overlaps of different prices, among rules of one dimension."""
    groups: dict[tuple, list[Rule]] = {}
    for rule in rules:
        c = rule[0]
        groups.setdefault((c.expires, c.brand, c.recognition, c.evse_kind), []).append(rule)
    found = []
    for group in groups.values():
        points = _points(group)
        if points is None:
            found.append(f"{name}: too many combinations to check for overlaps")
            continue
        reached: set[int] = set()
        overlaps: dict[tuple[int, int], str] = {}
        axes = _axes(group)
        for point in points:
            hits = [i for i, (c, _) in enumerate(group) if _matches(c, point)]
            reached.update(hits[:1])
            limited = [i for i in hits if group[i][0] != ALWAYS]
            if len(limited) > 1 and group[limited[0]][1] != group[limited[1]][1]:
                overlaps.setdefault((limited[0], limited[1]), _where(point, axes))
        for i in range(len(group)):
            if i not in reached:
                found.append(f"{name}: price {i + 1} of {len(group)} can never apply (unreachable)")
        for (i, j), where in overlaps.items():
            found.append(
                f"{name}: prices {i + 1} and {j + 1} overlap ({where}): the first one wins"
            )
    return found


def unreachable_components(source: Any) -> list[str]:
    """Components behind one of the same type that always applies: the compiler drops them."""
    found = []
    always: set[tuple] = set()
    for i, element in enumerate(source.get("elements") or []):
        restrictions = {k: v for k, v in (element.get("restrictions") or {}).items() if v}
        reservation = restrictions.pop("reservation", None)
        for component in element["price_components"]:
            key = (reservation, component["type"])
            if key in always:
                found.append(f"elements[{i}]: {component['type']} can never apply (unreachable)")
            elif not restrictions:
                always.add(key)
    return found


def _gaps(model: Model) -> list[str]:
    """When neither energy nor charging time has a price, though one of them has at other times."""
    rules = model.rules[tariff.ENERGY] + model.rules[tariff.TIME]
    if not rules:
        return [] if not model.rules[tariff.PARKING] else ["charging is always free"]
    axes = _axes(rules)
    free = [
        _where(point, axes)
        for point in _points(rules) or ()
        if not any(_matches(c, point) for c, _ in rules)
    ]
    if len(free) > 3:
        free[3:] = [f"and {len(free) - 3} more"]
    return [f"charging is free in a gap: {where}" for where in free]


def _steps(name: str, rules: list[Rule]) -> list[str]:
    found = []
    steps = {rate.step for _, rate in rules}
    if name in ("FLAT", "RESERVATION_FLAT"):
        return []
    unit, most = ("Wh", _STEP_WH) if name == "ENERGY" else ("s", _STEP_S)
    for step in sorted(steps):
        if step > most:
            found.append(f"{name}: steps of {step} {unit} may surprise a driver")
    if len(steps) > 1:
        listed = ", ".join(str(s) for s in sorted(steps))
        found.append(f"{name}: several steps ({listed} {unit}): only the last one used rounds up")
    return found


def _displayed(model: Model, power_kw: float | None) -> list[str]:
    """What AFIR (Regulation (EU) 2023/1804, Article 5(4)) and PAngV (section 14) ask for."""
    found = []
    has = [bool(rules) for rules in model.rules]
    if model.kind not in ("", "AD_HOC_PAYMENT"):
        return []
    if has[tariff.TIME] and not has[tariff.ENERGY]:
        found.append("charging is sold by time: AFIR and PAngV want a price per kWh displayed")
    if power_kw is not None and power_kw < _AD_HOC_KW:
        return found
    where = "at 50 kW and above AFIR allows ad hoc prices per kWh and an occupancy fee per minute"
    for dimension in (tariff.TIME, tariff.FLAT):
        if any(rate.price_micro for _, rate in model.rules[dimension]):
            found.append(f"{DIMENSIONS[dimension]}: {where} only")
    if model.limits[0] is not None or model.limits[1] is not None:
        found.append(f"min_price: {where} only")
    return found
