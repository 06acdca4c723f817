"""A tariff as the compact table sees it, and the table written from it.

Both OCPI and OCPP tariffs are compiled to this model, and `show` reads tables back into it.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from evtill.core.errors import TariffError

DIMENSIONS = ("ENERGY", "TIME", "PARKING_TIME", "FLAT", "RESERVATION_TIME", "RESERVATION_FLAT")
QUANTITIES = ("energy", "duration", "power", "current", "charging", "idle")
# ISO 4217: currencies whose minor unit is not a hundredth.
_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DAY_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Condition:
    """When a rule applies. Times are minutes of the local day, dates Unix days, `days` a mask
    (bit 0 Monday), `ranges` (low, high) of each quantity in mWh, s, mW, mA, s, s."""

    window: tuple[int, int] | None = None
    start_date: int | None = None
    end_date: int | None = None
    days: int | None = None
    ranges: tuple[tuple[int | None, int | None], ...] = ((None, None),) * 6
    expires: bool = False
    brand: str | None = None
    recognition: str | None = None
    evse_kind: str | None = None

    @property
    def on_clock(self) -> bool:
        return any(x is not None for x in (self.window, self.start_date, self.end_date, self.days))


ALWAYS = Condition()


@dataclass(frozen=True)
class Rate:
    """Price in 1e-6 per kWh, hour or session, VAT in 1e-9 or None, step in Wh or s."""

    price_micro: int
    vat_ppb: int | None
    step: int


Rule = tuple[Condition, Rate]


@dataclass
class Model:
    id: str
    currency: str
    owner: str = ""
    kind: str = ""
    valid_from_s: int | None = None
    valid_to_s: int | None = None
    # min excl, min incl, max excl, max incl, in 1e-6 currency units
    limits: list[int | None] = field(default_factory=lambda: [None] * 4)
    # by dimension
    rules: list[list[Rule]] = field(default_factory=lambda: [[] for _ in DIMENSIONS])
    from_ocpp: bool = False

    def add(self, dimension: int, condition: Condition, rate: Rate) -> None:
        """Appends a rule, unless one that always applies goes before it."""
        rules = self.rules[dimension]
        if not rules or rules[-1][0] != ALWAYS:
            rules.append((condition, rate))

    @property
    def needs_clock(self) -> bool:
        return any(c.on_clock for rules in self.rules for c, _ in rules)


def minor_digits(currency: str) -> int:
    for digits, codes in _DIGITS.items():
        if currency in codes.split():
            return digits
    return 2


# --- values -----------------------------------------------------------------------------------


def exact(value: Any, per_unit: int, what: str, low: int | None = 0, high: int = 10**6) -> int:
    """`value` (a JSON number) in 1 / per_unit. Raises TariffError when that is no whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TariffError(f"tariff: {what} is not a number: {value!r}")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise TariffError(f"tariff: {what} is not a number: {value!r}") from None
    if not number.is_finite() or number > high or number < (-high if low is None else low):
        raise TariffError(f"tariff: {what} is out of range: {value}")
    scaled = number * per_unit
    if scaled != scaled.to_integral_value():
        raise TariffError(f"tariff: {what} {value} cannot be held exactly (1/{per_unit} at best)")
    return int(scaled)


def text(value: Any, what: str, most: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise TariffError(f"tariff: {what} is not a text of 1 to {most} characters: {value!r}")
    if not value.isascii() or not value.isprintable():
        raise TariffError(f"tariff: {what} is not printable ASCII: {value!r}")
    return value


def currency_code(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Z]{3}", value):
        raise TariffError(f"tariff: currency is not an ISO 4217 code: {value!r}")
    return value


def minute_of_day(value: Any, what: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise TariffError(f"tariff: {what} is not a time HH:MM: {value!r}")
    return int(value[:2]) * 60 + int(value[3:])


def unix_day(value: Any, what: str) -> int:
    try:
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            raise ValueError
        day = (datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC) - DAY_ZERO).days
    except ValueError:
        raise TariffError(f"tariff: {what} is not a date YYYY-MM-DD: {value!r}") from None
    if day < 0:
        raise TariffError(f"tariff: {what} is before 1970: {value!r}")
    return day


def unix_ms(value: Any, what: str) -> int:
    """An RFC 3339 time; OCPI leaves the Z out at will, and it is UTC then."""
    try:
        if not isinstance(value, str):
            raise ValueError
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise TariffError(f"tariff: {what} is not a date and time: {value!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micro = (moment - DAY_ZERO) // timedelta(microseconds=1)
    if micro < 0:
        raise TariffError(f"tariff: {what} is before 1970: {value!r}")
    return (micro + 500) // 1000


def json_number(n: int, per_unit: int) -> int | float:
    """n / per_unit as a JSON number that reads back exactly."""
    value = Decimal(n) / per_unit
    return int(value) if value == value.to_integral_value() else float(value)


def minute_text(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def day_text(day: int) -> str:
    return (DAY_ZERO + timedelta(days=day)).strftime("%Y-%m-%d")


def time_text(unix_s: int) -> str:
    return (DAY_ZERO + timedelta(seconds=unix_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
