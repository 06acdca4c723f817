"""Compact tables written from the model of a tariff, and read back into it.

The layout is described in evtill/core/tariff.py, which reads tables on the board."""

import binascii
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import gcd
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from evtill.core import tariff
from evtill.core.errors import TariffError

from .tariff_model import ALWAYS, DAY_ZERO, Condition, Model, Rate, minor_digits

YEARS_AHEAD = 11

# --- the time zone ----------------------------------------------------------------------------


def _offset_minutes(zone: ZoneInfo, minute: int) -> int:
    offset = (DAY_ZERO + timedelta(minutes=minute)).astimezone(zone).utcoffset() or timedelta()
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
    start = (datetime(first_year, 1, 1, tzinfo=UTC) - DAY_ZERO).days * 1440
    end = (datetime(last_year + 1, 1, 1, tzinfo=UTC) - DAY_ZERO).days * 1440
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
            tariff.put(out, (datetime(year, 1, 1, tzinfo=UTC) - DAY_ZERO).days)
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
    named = [(DAY_ZERO + timedelta(days=d)).year for d in days]
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
