"""OCPI 2.2.1 tariffs (mod_tariffs) compiled to the compact table; OCPP ones go through
tariff_ocpp. What the table cannot hold exactly is refused with the reason."""

from datetime import UTC, datetime
from typing import Any

from evtill.core import tariff
from evtill.core.errors import TariffError

from .tariff_model import (
    Condition,
    Model,
    Rate,
    currency_code,
    exact,
    minute_of_day,
    text,
    unix_day,
    unix_ms,
)
from .tariff_table import write, years

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_DIMENSIONS = {
    "ENERGY": tariff.ENERGY,
    "TIME": tariff.TIME,
    "PARKING_TIME": tariff.PARKING,
    "FLAT": tariff.FLAT,
}
_RESERVATION = {"TIME": tariff.RES_TIME, "FLAT": tariff.RES_FLAT}
# Restriction -> units of the table in one of OCPI's (mWh in a kWh, s, mW in a kW, mA in an A). The
# last two are not OCPI's: seconds of charging, and of standing without it since it last ended, as
# OCPP 2.1's conditions have them. So `min_idle_duration` on PARKING_TIME is a time of grace.
RANGES = {
    "kwh": 10**6, "duration": 1, "power": 10**6, "current": 1000,
    "charging_duration": 1, "idle_duration": 1,
}  # fmt: skip
_TEN_YEARS_S = 10 * 366 * 86400


def compile_tariff(
    source: Any, timezone: str, year: int | None = None, until: int | None = None
) -> bytes:
    """The compact table of an OCPI 2.2.1 Tariff or an OCPP 2.1 TariffType (a dict), or a file of
    several (a list of them, the tariffs that are offered side by side).

    Offsets of `timezone` (IANA) are held from before `year` (default: this one) to ten years after
    `until` (default: `year`). Raises TariffError."""
    if isinstance(source, list):
        if not source:
            raise TariffError("tariff: an empty list")
        return b"".join(compile_tariff(one, timezone, year, until) for one in source)
    model = read(source)
    first, last = years(model, year or datetime.now(UTC).year)
    return write(model, timezone, first, max(last, (until or 0) + 1))


def read(source: Any) -> Model:
    """The model of an OCPI or OCPP tariff. Raises TariffError."""
    if not isinstance(source, dict):
        raise TariffError("tariff: not a JSON object")
    if "tariffId" in source:
        from . import tariff_ocpp

        return tariff_ocpp.read(source)
    return _read_ocpi(source)


def _read_ocpi(source: dict) -> Model:
    for key in ("id", "currency", "elements"):
        if key not in source:
            raise TariffError(f"tariff: {key} is missing")
    model = Model(text(source["id"], "id", 36), currency_code(source["currency"]))
    if source.get("country_code") is not None and source.get("party_id") is not None:
        country = text(source["country_code"], "country_code", 2)
        model.owner = country + text(source["party_id"], "party_id", 3)
    if source.get("tax_included", "NO") != "NO":
        raise TariffError("tariff: prices that include VAT (tax_included) are not OCPI 2.2.1")
    model.kind = source.get("type") or ""
    if not isinstance(model.kind, str) or model.kind not in tariff.KINDS:
        raise TariffError(f"tariff: unknown type {model.kind!r}")
    if source.get("start_date_time") is not None:
        model.valid_from_s = unix_ms(source["start_date_time"], "start_date_time") // 1000
    if source.get("end_date_time") is not None:
        model.valid_to_s = unix_ms(source["end_date_time"], "end_date_time") // 1000
    model.limits = _limit(source, "min_price") + _limit(source, "max_price")
    elements = source["elements"]
    if not isinstance(elements, list) or not elements:
        raise TariffError("tariff: elements is not a list of at least one")
    read_elements = [_element(e, f"elements[{i}]") for i, e in enumerate(elements)]
    # What an expired reservation costs goes before what any reservation costs (mod_tariffs,
    # ReservationRestrictionType), whatever the order of the elements.
    read_elements.sort(key=lambda e: not e[0].expires)
    for condition, reserved, components in read_elements:
        for kind, rate, where in components:
            dimensions = _RESERVATION if reserved else _DIMENSIONS
            if kind not in dimensions:
                raise TariffError(f"tariff: {where}: a reservation has no {kind} component")
            model.add(dimensions[kind], condition, rate)
    return model


def _limit(source: dict, key: str) -> list[int | None]:
    price = source.get(key)
    if price is None:
        return [None, None]
    if not isinstance(price, dict) or price.get("excl_vat") is None:
        raise TariffError(f"tariff: {key} is not a Price with excl_vat")
    excl = exact(price["excl_vat"], 10**6, f"{key}.excl_vat", None, 10**9)
    if price.get("incl_vat") is None:
        return [excl, None]
    return [excl, exact(price["incl_vat"], 10**6, f"{key}.incl_vat", None, 10**9)]


def _element(element: Any, where: str) -> tuple[Condition, bool, list]:
    if not isinstance(element, dict) or not isinstance(element.get("price_components"), list):
        raise TariffError(f"tariff: {where} has no list of price_components")
    if not element["price_components"]:
        raise TariffError(f"tariff: {where}.price_components is empty")
    restrictions = element.get("restrictions") or {}
    if not isinstance(restrictions, dict):
        raise TariffError(f"tariff: {where}.restrictions is not an object")
    condition, reserved = _condition(restrictions, f"{where}.restrictions")
    components = [
        _component(c, f"{where}.price_components[{i}]")
        for i, c in enumerate(element["price_components"])
    ]
    return condition, reserved, components


def _component(component: Any, where: str) -> tuple[str, Rate, str]:
    if not isinstance(component, dict):
        raise TariffError(f"tariff: {where} is not an object")
    kind = component.get("type")
    if not isinstance(kind, str) or kind not in _DIMENSIONS:
        raise TariffError(f"tariff: {where}: unknown component type {kind!r}")
    for key in component:
        if key not in ("type", "price", "vat", "step_size"):
            raise TariffError(f"tariff: {where}: unknown key {key!r}")
    price = exact(component.get("price"), 10**6, f"{where}.price", None)
    vat = component.get("vat")
    if vat is not None:
        vat = exact(vat, 10**7, f"{where}.vat", 0, 100)
    step = exact(component.get("step_size", 1), 1, f"{where}.step_size", 0, 10**8)
    return kind, Rate(price, vat, 0 if kind == "FLAT" else step), where


def _condition(restrictions: dict, where: str) -> tuple[Condition, bool]:
    given = {k: v for k, v in restrictions.items() if v is not None and v != []}
    window = None
    if "start_time" in given or "end_time" in given:
        start = minute_of_day(given.pop("start_time", "00:00"), f"{where}.start_time")
        end = minute_of_day(given.pop("end_time", "00:00"), f"{where}.end_time")
        window = (start, end) if start != end else None  # equal ends: the whole day
    dates = [
        unix_day(given.pop(key), f"{where}.{key}") if key in given else None
        for key in ("start_date", "end_date")
    ]
    days = _days(given.pop("day_of_week"), where) if "day_of_week" in given else None
    ranges = [_range(given, key, per, where) for key, per in RANGES.items()]
    reservation = given.pop("reservation", None)
    if reservation not in (None, "RESERVATION", "RESERVATION_EXPIRES"):
        raise TariffError(f"tariff: {where}.reservation: unknown {reservation!r}")
    if given:
        raise TariffError(f"tariff: {where}: unknown restriction {sorted(given)[0]!r}")
    expires = reservation == "RESERVATION_EXPIRES"
    condition = Condition(
        window, dates[0], dates[1], days, tuple(ranges), expires
    )
    return condition, reservation is not None


def _days(value: Any, where: str) -> int | None:
    if not isinstance(value, list):
        raise TariffError(f"tariff: {where}.day_of_week is not a list")
    mask = 0
    for day in value:
        if day not in DAYS:
            raise TariffError(f"tariff: {where}.day_of_week: unknown day {day!r}")
        mask |= 1 << DAYS.index(day)
    return mask if mask != 127 else None


def _range(given: dict, key: str, per: int, where: str) -> tuple[int | None, int | None]:
    low, high = given.pop(f"min_{key}", None), given.pop(f"max_{key}", None)
    most = _TEN_YEARS_S if key.endswith("duration") else 10**6
    if low is not None:
        low = exact(low, per, f"{where}.min_{key}", 0, most)
        # From nothing on is always, but of power and current only where they are measured.
        low = low if low or key in ("power", "current") else None
    if high is not None:
        high = exact(high, per, f"{where}.max_{key}", 0, most)
    return low, high
