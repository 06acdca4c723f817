"""OCPP 2.1 TariffType (part 2, datatypes; section I) compiled to the same table as OCPI's Tariff,
and written back.

Where the two differ, the table holds OCPP's meaning too: prices are per minute and have no step;
fixed fees are looked up at the start only; durations of charging and of the present idle period
are conditions of their own, as are payment brand, payment recognition and the kind of EVSE; taxes
stack; a price range of negative power or current means discharging."""

from fractions import Fraction
from typing import Any

from evtill.core import tariff
from evtill.core.errors import TariffError

from .tariff_model import (
    Condition,
    Model,
    Rate,
    currency_code,
    day_text,
    exact,
    json_number,
    minute_of_day,
    minute_text,
    text,
    time_text,
    unix_day,
    unix_ms,
)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Field of TariffType -> dimension, name of its price, prices in an hour.
_FIELDS = {
    "energy": (tariff.ENERGY, "priceKwh", 1),
    "chargingTime": (tariff.TIME, "priceMinute", 60),
    "idleTime": (tariff.PARKING, "priceMinute", 60),
    "fixedFee": (tariff.FLAT, "priceFixed", 1),
    "reservationTime": (tariff.RES_TIME, "priceMinute", 60),
    "reservationFixed": (tariff.RES_FLAT, "priceFixed", 1),
}
_IGNORED = ("tariffId", "currency", "description", "validFrom", "minCost", "maxCost", "customData")
# Condition -> units of the table in one of OCPP's, in the order of the table's quantities.
_RANGES = {
    "Energy": 1000, "Time": 1, "Power": 1000, "Current": 1000, "ChargingTime": 1, "IdleTime": 1,
}  # fmt: skip
_SIGNED = ("Power", "Current")
_TEXTS = ("paymentBrand", "paymentRecognition")


def read(source: dict) -> Model:
    """The model of a TariffType. Raises TariffError."""
    model = Model(text(source["tariffId"], "tariffId", 60), currency_code(source.get("currency")))
    model.from_ocpp = True
    if source.get("validFrom") is not None:
        model.valid_from_s = unix_ms(source["validFrom"], "validFrom") // 1000
    model.limits = _cost(source, "minCost") + _cost(source, "maxCost")
    for key in source:
        if key not in _FIELDS and key not in _IGNORED:
            raise TariffError(f"tariff: unknown field {key!r}")
    for key, (dimension, price_key, per_hour) in _FIELDS.items():
        if source.get(key) is not None:
            _read_prices(model, source[key], key, dimension, price_key, per_hour)
    if not any(model.rules):
        raise TariffError("tariff: it has no prices")
    return model


def _read_prices(
    model: Model, priced: Any, where: str, dimension: int, price_key: str, per_hour: int
) -> None:
    if not isinstance(priced, dict) or not isinstance(priced.get("prices"), list):
        raise TariffError(f"tariff: {where} has no list of prices")
    vat = _tax(priced.get("taxRates"), where)
    for i, price in enumerate(priced["prices"]):
        here = f"{where}.prices[{i}]"
        if not isinstance(price, dict):
            raise TariffError(f"tariff: {here} is not an object")
        for key in price:
            if key not in (price_key, "conditions", "customData"):
                raise TariffError(f"tariff: {here}: unknown field {key!r}")
        micro = exact(price.get(price_key), 10**6 * per_hour, f"{here}.{price_key}", None)
        condition = _condition(price.get("conditions") or {}, f"{here}.conditions")
        model.add(dimension, condition, Rate(micro, vat, 0))


def _tax(rates: Any, where: str) -> int | None:
    """Stacked taxes as one rate in 1e-9: those of a level add up, levels multiply."""
    if not rates:
        return None
    levels: dict[int, int] = {}
    for i, rate in enumerate(rates):
        here = f"{where}.taxRates[{i}]"
        if not isinstance(rate, dict):
            raise TariffError(f"tariff: {here} is not an object")
        level = exact(rate.get("stack") or 0, 1, f"{here}.stack", 0, 100)
        levels[level] = levels.get(level, 0) + exact(rate.get("tax"), 10**7, f"{here}.tax", 0, 100)
    total = Fraction(1)
    for ppb in levels.values():
        total *= 1 + Fraction(ppb, 10**9)
    ppb_total = (total - 1) * 10**9
    if ppb_total.denominator != 1:
        raise TariffError(f"tariff: {where}.taxRates together are finer than 1e-7 percent")
    return int(ppb_total)


def _cost(source: dict, key: str) -> list[int | None]:
    price = source.get(key)
    if price is None:
        return [None, None]
    if not isinstance(price, dict):
        raise TariffError(f"tariff: {key} is not an object")
    found: list[int | None] = [
        None if price.get(k) is None else exact(price[k], 10**6, f"{key}.{k}", None, 10**9)
        for k in ("exclTax", "inclTax")
    ]
    vat = _tax(price.get("taxRates"), key)
    if found[0] is not None and found[1] is None and vat is not None:
        incl = Fraction(found[0]) * (10**9 + vat) / 10**9
        if incl.denominator != 1:
            raise TariffError(f"tariff: {key} with tax is finer than 1e-6 currency units")
        found[1] = int(incl)
    if found == [None, None]:
        raise TariffError(f"tariff: {key} has neither exclTax nor inclTax")
    return found


def _condition(conditions: Any, where: str) -> Condition:
    if not isinstance(conditions, dict):
        raise TariffError(f"tariff: {where} is not an object")
    given = {k: v for k, v in conditions.items() if v is not None and k != "customData"}
    window = None
    if "startTimeOfDay" in given or "endTimeOfDay" in given:
        start = minute_of_day(given.pop("startTimeOfDay", "00:00"), f"{where}.startTimeOfDay")
        end = minute_of_day(given.pop("endTimeOfDay", "00:00"), f"{where}.endTimeOfDay")
        window = (start, end) if start != end else None
    dates = [
        unix_day(given.pop(k), f"{where}.{k}") if k in given else None
        for k in ("validFromDate", "validToDate")
    ]
    days = None
    if "dayOfWeek" in given:
        named = given.pop("dayOfWeek")
        if not isinstance(named, list) or not named or any(d not in DAYS for d in named):
            raise TariffError(f"tariff: {where}.dayOfWeek is not a list of days: {named!r}")
        days = sum(1 << DAYS.index(d) for d in set(named))
        days = days if days != 127 else None
    ranges = tuple(_range(given, key, per, where) for key, per in _RANGES.items())
    texts = [text(given.pop(k), f"{where}.{k}", 20) if k in given else None for k in _TEXTS]
    kind = given.pop("evseKind", None)
    if kind not in (None, "AC", "DC"):
        raise TariffError(f"tariff: {where}.evseKind is neither AC nor DC: {kind!r}")
    if given:
        raise TariffError(f"tariff: {where}: unknown condition {sorted(given)[0]!r}")
    return Condition(window, dates[0], dates[1], days, ranges, False, texts[0], texts[1], kind)


def _range(given: dict, key: str, per: int, where: str) -> tuple[int | None, int | None]:
    most = 10**9
    low, high = (
        None if k not in given else exact(given.pop(k), per, f"{where}.{k}", None, most)
        for k in (f"min{key}", f"max{key}")
    )
    if (low or 0) >= 0 and (high or 0) >= 0:
        return (None if low == 0 and key not in _SIGNED else low), high
    if key not in _SIGNED:
        raise TariffError(f"tariff: {where}: a negative {key} needs an export register")
    if (low or 0) > 0 or (high or 0) > 0:
        raise TariffError(f"tariff: {where}: min{key} and max{key} have different signs")
    # Discharging: min is the bound closest to zero, inclusive; max the other one, exclusive.
    return (None if high is None else high + 1), (None if low is None else low + 1)


# --- and back ---------------------------------------------------------------------------------


def to_json(model: Model) -> dict:
    """A TariffType of the same meaning (taxes of several levels as the one they amount to)."""
    out: dict[str, Any] = {"tariffId": model.id, "currency": model.currency}
    if model.valid_from_s is not None:
        out["validFrom"] = time_text(model.valid_from_s)
    for key, (dimension, price_key, per_hour) in _FIELDS.items():
        rules = model.rules[dimension]
        if rules:
            prices = []
            for condition, rate in rules:
                price: dict[str, Any] = {price_key: json_number(rate.price_micro, 10**6 * per_hour)}
                if conditions := _conditions_json(condition):
                    price["conditions"] = conditions
                prices.append(price)
            out[key] = {"prices": prices}
            vat = rules[0][1].vat_ppb
            if vat is not None:
                out[key]["taxRates"] = [{"type": "VAT", "tax": json_number(vat, 10**7)}]
    for key, (excl, incl) in (("minCost", model.limits[:2]), ("maxCost", model.limits[2:])):
        pair = {
            k: json_number(v, 10**6)
            for k, v in (("exclTax", excl), ("inclTax", incl)) if v is not None
        }  # fmt: skip
        if pair:
            out[key] = pair
    return out


def _conditions_json(c: Condition) -> dict:
    out: dict[str, Any] = {}
    if c.window:
        out["startTimeOfDay"], out["endTimeOfDay"] = (minute_text(m) for m in c.window)
    for key, day in (("validFromDate", c.start_date), ("validToDate", c.end_date)):
        if day is not None:
            out[key] = day_text(day)
    if c.days is not None:
        out["dayOfWeek"] = [d for i, d in enumerate(DAYS) if c.days >> i & 1]
    for (key, per), (low, high) in zip(_RANGES.items(), c.ranges, strict=True):
        if (low or 0) < 0 or (high is not None and high <= 1):
            low, high = (None if n is None else n - 1 for n in (high, low))
        for side, n in (("min", low), ("max", high)):
            if n is not None:
                out[side + key] = json_number(n, per)
    for key, s in zip((*_TEXTS, "evseKind"), (c.brand, c.recognition, c.evse_kind), strict=True):
        if s is not None:
            out[key] = s
    return out
