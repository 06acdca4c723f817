"""A tariff as the compact table sees it, and the table written from it.

Both OCPI and OCPP tariffs are compiled to this model, and `show` reads tables back into it.
"""

import binascii
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from math import gcd
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from evtill.core import tariff
from evtill.core.errors import TariffError

DIMENSIONS = ("ENERGY", "TIME", "PARKING_TIME", "FLAT", "RESERVATION_TIME", "RESERVATION_FLAT")
QUANTITIES = ("energy", "duration", "power", "current", "charging", "idle")
YEARS_AHEAD = 11
# ISO 4217: currencies whose minor unit is not a hundredth.
_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DAY_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


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
        day = (datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC) - _DAY_ZERO).days
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
    micro = (moment - _DAY_ZERO) // timedelta(microseconds=1)
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
    return (_DAY_ZERO + timedelta(days=day)).strftime("%Y-%m-%d")


def time_text(unix_s: int) -> str:
    return (_DAY_ZERO + timedelta(seconds=unix_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the time zone ----------------------------------------------------------------------------


def _offset_minutes(zone: ZoneInfo, minute: int) -> int:
    offset = (_DAY_ZERO + timedelta(minutes=minute)).astimezone(zone).utcoffset() or timedelta()
    minutes, rest = divmod(offset, timedelta(minutes=1))
    if rest:
        raise TariffError(f"tariff: {zone.key} is not a whole number of minutes off UTC")
    return minutes


def transitions(timezone: str, first_year: int, last_year: int) -> tuple[list[int], list[int]]:
    """Offsets from UTC in minutes, one more than the instants (Unix minutes) between them, from
    the start of `first_year` to the end of `last_year`."""
    try:
        zone = ZoneInfo(str(timezone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TariffError(f"tariff: unknown time zone {timezone!r}") from None
    start = (datetime(first_year, 1, 1, tzinfo=UTC) - _DAY_ZERO).days * 1440
    end = (datetime(last_year + 1, 1, 1, tzinfo=UTC) - _DAY_ZERO).days * 1440
    offsets, instants = [_offset_minutes(zone, start)], []
    for low in range(start, end, 1440):
        high = low + 1440
        while _offset_minutes(zone, high) != offsets[-1]:  # no zone changes twice in a day
            while high - low > 1:
                middle = (low + high) // 2
                if _offset_minutes(zone, middle) == offsets[-1]:
                    low = middle
                else:
                    high = middle
            instants.append(high)
            offsets.append(_offset_minutes(zone, high))
            low, high = high, low // 1440 * 1440 + 1440
    return offsets, instants


def _zone_bytes(timezone: str, first_year: int, last_year: int) -> bytes:
    offsets, instants = transitions(timezone, first_year, last_year)
    cycle = next(
        n for n in range(1, len(offsets) + 1)
        if all(offsets[i] == offsets[i % n] for i in range(len(offsets)))
    )  # fmt: skip
    out = bytearray()
    tariff.put(out, cycle)
    for offset in offsets[:cycle]:
        tariff.put(out, 2 * offset if offset >= 0 else -2 * offset - 1)
    tariff.put(out, len(instants))
    if instants:
        deltas = [b - a for a, b in pairwise(instants)]
        unit = gcd(*deltas) or 1
        for year in (first_year, last_year + 1):
            tariff.put(out, (datetime(year, 1, 1, tzinfo=UTC) - _DAY_ZERO).days)
        tariff.put(out, unit)
        tariff.put(out, instants[0])
        for delta in deltas:
            tariff.put(out, delta // unit)
    return bytes(out)


# --- the table --------------------------------------------------------------------------------


def _decimal_code(n: int) -> int:
    exponent = 0
    while n and n % 10 == 0 and exponent < 9:
        n //= 10
        exponent += 1
    return n * 10 + exponent


def _put_dec(out: bytearray, n: int) -> None:
    tariff.put(out, _decimal_code(abs(n)) * 2 + (n < 0))


def _put_text(out: bytearray, s: str) -> None:
    tariff.put(out, len(s))
    out += s.encode("ascii")


def _condition_bytes(c: Condition) -> bytes:
    mask, out = 0, bytearray()
    if c.window is not None:
        mask |= 1
        tariff.put(out, c.window[0])
        tariff.put(out, c.window[1])
    for bit, n in ((2, c.start_date), (4, c.end_date), (8, c.days)):
        if n is not None:
            mask |= bit
            tariff.put(out, n)
    bit = 16
    for low, high in c.ranges:
        for n in (low, high):
            if n is not None:
                mask |= bit
                _put_dec(out, n)
            bit <<= 1
    mask |= bit * c.expires
    for s in (c.brand, c.recognition, c.evse_kind):
        bit <<= 1
        if s is not None:
            mask |= bit
            _put_text(out, s)
    head = bytearray()
    tariff.put(head, mask)
    return bytes(head + out)


def _rate_bytes(r: Rate) -> bytes:
    out = bytearray()
    _put_dec(out, r.price_micro)
    tariff.put(out, 0 if r.vat_ppb is None else 1 + _decimal_code(r.vat_ppb))
    tariff.put(out, r.step)
    return bytes(out)


class _Pool:
    """Byte strings, each kept once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.places: dict[bytes, int] = {}

    def place(self, item: bytes) -> int:
        if item not in self.places:
            self.places[item] = len(self.data)
            self.data += item
        return self.places[item]


def years(model: Model, year: int) -> tuple[int, int]:
    """The years whose offsets a table compiled in `year` holds: whatever the tariff names too."""
    days = [d for rules in model.rules for c, _ in rules for d in (c.start_date, c.end_date) if d]
    days += [s // 86400 for s in (model.valid_from_s, model.valid_to_s) if s]
    named = [(_DAY_ZERO + timedelta(days=d)).year for d in days]
    named = [y for y in named if year - 30 < y < year + 20]
    return min([year, *named]) - 1, max([year, *named]) + YEARS_AHEAD


def write(model: Model, timezone: str, first_year: int, last_year: int) -> bytes:
    """The table. Raises TariffError for what it cannot hold."""
    flags = minor_digits(model.currency)
    flags |= (model.valid_from_s is not None) << 3 | (model.valid_to_s is not None) << 4
    flags |= model.needs_clock << 5 | model.from_ocpp << 6 | model.from_ocpp << 7
    limits = tariff.KINDS.index(model.kind) << 4
    for k, n in enumerate(model.limits):
        limits |= (n is not None) << k
    out = bytearray(b"ET" + bytes([tariff.VERSION, 0, 0, flags, limits]))
    out += model.currency.encode("ascii")
    _put_text(out, model.id)
    _put_text(out, model.owner)
    for s in (model.valid_from_s, model.valid_to_s):
        if s is not None:
            tariff.put(out, s)
    for n in model.limits:
        if n is not None:
            _put_dec(out, n)
    out += _zone_bytes(timezone, first_year, last_year)
    conditions, rates = _Pool(), _Pool()
    for rules in model.rules:
        tariff.put(out, len(rules))
        for condition, rate in rules:
            place = 0 if condition == ALWAYS else conditions.place(_condition_bytes(condition)) + 1
            tariff.put(out, place)
            tariff.put(out, rates.place(_rate_bytes(rate)))
    tariff.put(out, len(rates.data))
    out += rates.data + conditions.data
    size = len(out) + 4
    if size > 0xFFFF:
        raise TariffError(f"tariff: too large: {size} bytes of table")
    out[3:5] = size.to_bytes(2, "little")
    return bytes(out) + binascii.crc32(out).to_bytes(4, "little")


# --- and back ---------------------------------------------------------------------------------


def parse(table: bytes) -> Model:
    """The model of a table. Raises TariffError."""
    loaded = tariff.Tariff(table)
    model = Model(
        loaded.id, loaded.currency, loaded.owner, loaded.kind, loaded.valid_from_s,
        loaded.valid_to_s, [*loaded.min_price, *loaded.max_price],
    )  # fmt: skip
    model.from_ocpp = loaded.from_ocpp
    for dimension in range(6):
        for place, rate in loaded.rules(dimension):
            condition = _parse_condition(table, place) if place else ALWAYS
            model.rules[dimension].append((condition, Rate(*loaded.rate(rate))))
    return model


def _parse_condition(table: bytes, place: int) -> Condition:
    c = tariff.Cursor(table, place)
    mask = c.u()
    window = (c.u(), c.u()) if mask & 1 else None
    start, end, days = (c.u() if mask & bit else None for bit in (2, 4, 8))
    ranges = tuple(
        (c.dec() if mask >> 4 + 2 * q & 1 else None, c.dec() if mask >> 5 + 2 * q & 1 else None)
        for q in range(6)
    )
    brand, recognition, kind = (c.text() if mask >> 17 + k & 1 else None for k in range(3))
    return Condition(
        window, start, end, days, ranges, bool(mask >> 16 & 1), brand, recognition, kind
    )
