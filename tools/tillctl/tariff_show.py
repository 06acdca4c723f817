"""A compact table printed back: as a readable price list, or as a tariff with the same meaning."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from evtill.core import tariff

from . import tariff_ocpp
from .tariff_compile import DAYS, RANGES
from .tariff_model import (
    Condition,
    Model,
    Rate,
    Rule,
    day_text,
    json_number,
    minute_text,
    time_text,
)
from .tariff_table import parse

_HEADINGS = ("Energy", "Charging time", "Parking (not charging)", "Per session", "Reservation",
             "Per reservation")  # fmt: skip
_UNITS = ("kWh", "h", "h", "session", "h", "reservation")
_STEPS = ("Wh", "s", "s", "", "s", "")
_QUANTITIES = (
    ("kWh charged", 10**6), ("s", 1), ("kW", 10**6), ("A", 1000), ("s of charging", 1),
    ("s of this idle period", 1),
)  # fmt: skip


def _plain(n: int, per: int) -> str:
    return f"{Decimal(n) / per:f}"


# --- JSON -------------------------------------------------------------------------------------


def to_json(table: bytes) -> dict:
    """An OCPI 2.2.1 Tariff of the same meaning (an OCPP TariffType, if the table is made from
    one): compiled again, it gives the same table."""
    model = parse(table)
    if model.from_ocpp:
        return tariff_ocpp.to_json(model)
    out: dict[str, Any] = {"id": model.id, "currency": model.currency}
    if model.owner:
        out |= {"country_code": model.owner[:2], "party_id": model.owner[2:]}
    if model.kind:
        out["type"] = model.kind
    for key, (excl, incl) in (("min_price", model.limits[:2]), ("max_price", model.limits[2:])):
        if excl is not None:
            out[key] = {"excl_vat": json_number(excl, 10**6)}
            if incl is not None:
                out[key]["incl_vat"] = json_number(incl, 10**6)
    out["elements"] = [
        _element(dimension, rule) for dimension, rules in enumerate(model.rules) for rule in rules
    ]
    for key, s in (("start_date_time", model.valid_from_s), ("end_date_time", model.valid_to_s)):
        if s is not None:
            out[key] = time_text(s)
    return out


def _element(dimension: int, rule: Rule) -> dict:
    condition, rate = rule
    kind = {tariff.RES_TIME: "TIME", tariff.RES_FLAT: "FLAT"}.get(dimension)
    component: dict[str, Any] = {
        "type": kind or ("ENERGY", "TIME", "PARKING_TIME", "FLAT")[dimension],
        "price": json_number(rate.price_micro, 10**6),
    }
    if rate.vat_ppb is not None:
        component["vat"] = json_number(rate.vat_ppb, 10**7)
    component["step_size"] = rate.step
    restrictions = _restrictions(condition)
    if kind:
        restrictions["reservation"] = "RESERVATION_EXPIRES" if condition.expires else "RESERVATION"
    element: dict[str, Any] = {"price_components": [component]}
    if restrictions:
        element["restrictions"] = restrictions
    return element


def _restrictions(c: Condition) -> dict:
    out: dict[str, Any] = {}
    if c.window:
        out["start_time"], out["end_time"] = (minute_text(m) for m in c.window)
    for key, day in (("start_date", c.start_date), ("end_date", c.end_date)):
        if day is not None:
            out[key] = day_text(day)
    if c.days is not None:
        out["day_of_week"] = [d for i, d in enumerate(DAYS) if c.days >> i & 1]
    for (key, per), pair in zip(RANGES.items(), c.ranges, strict=False):
        for side, n in zip(("min", "max"), pair, strict=True):
            if n is not None:
                out[f"{side}_{key}"] = json_number(n, per)
    return out


# --- words ------------------------------------------------------------------------------------


def words(table: bytes) -> str:
    """The price list: what a rule costs and when, in order of precedence."""
    model = parse(table)
    loaded = tariff.Tariff(table)
    kind = model.kind or "any session"
    lines = [
        f"Tariff {model.id}{f' of {model.owner}' if model.owner else ''}, {model.currency}, {kind}",
        f"  {len(table)} bytes, sha256 {loaded.sha256}",
    ]
    if model.valid_from_s is not None:
        lines.append(f"  valid from {time_text(model.valid_from_s)}")
    if model.valid_to_s is not None:
        lines.append(f"  valid until {time_text(model.valid_to_s)}")
    for dimension, rules in enumerate(model.rules):
        if rules:
            lines.append(_HEADINGS[dimension] + (": the first that applies" if rules[1:] else ""))
        lines += [f"  {_price(model, dimension, r)}{_when(c)}" for c, r in rules]
    for name, (excl, incl) in (("At least", model.limits[:2]), ("At most", model.limits[2:])):
        if excl is not None or incl is not None:
            parts = [
                f"{_plain(n, 10**6)} {model.currency} {side} VAT"
                for n, side in ((excl, "excl."), (incl, "incl.")) if n is not None
            ]  # fmt: skip
            lines.append(f"{name}: {' and '.join(parts)} a session")
    if model.from_ocpp:
        lines.append("Fees per session are those in force at its start (OCPP)")
    lines.append(_zone(loaded))
    return "\n".join(lines)


def _price(model: Model, dimension: int, rate: Rate) -> str:
    money = f"{_plain(rate.price_micro, 10**6)} {model.currency}/{_UNITS[dimension]}"
    if rate.vat_ppb is None:
        money += ", no VAT"
    else:
        gross = Decimal(rate.price_micro) * (10**9 + rate.vat_ppb) / 10**15
        money += f" + {_plain(rate.vat_ppb, 10**7)} % VAT ({gross.normalize():f} incl.)"
    if rate.step > 1 or (rate.step == 0 and _STEPS[dimension] and not model.from_ocpp):
        money += f", in steps of {rate.step} {_STEPS[dimension]}" if rate.step else ", no steps"
    return money


def _when(c: Condition) -> str:
    parts = []
    if c.days is not None:
        parts.append("/".join(d[:3].capitalize() for i, d in enumerate(DAYS) if c.days >> i & 1))
    if c.window:
        parts.append("-".join(minute_text(m) for m in c.window))
    if c.start_date is not None:
        parts.append(f"from {day_text(c.start_date)}")
    if c.end_date is not None:
        parts.append(f"before {day_text(c.end_date)}")
    for (unit, per), (low, high) in zip(_QUANTITIES, c.ranges, strict=True):
        if low is not None:
            parts.append(f"from {_plain(low, per)} {unit}")
        if high is not None:
            parts.append(f"below {_plain(high, per)} {unit}")
    if c.expires:
        parts.append("if the reservation expires")
    for name, s in (("brand", c.brand), ("payment", c.recognition), ("EVSE", c.evse_kind)):
        if s is not None:
            parts.append(f"{name} {s}")
    return f": {', '.join(parts)}" if parts else ""


def _zone(loaded: tariff.Tariff) -> str:
    now = int(datetime.now(UTC).timestamp())
    offset = loaded.offset_s_at(now) // 60
    sign = "-" if offset < 0 else "+"
    span = loaded.span
    held = f", offsets held until {day_text(span[1])}" if span else ""
    return f"Local time: now UTC{sign}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}{held}"
