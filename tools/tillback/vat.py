"""How much of what was charged is VAT."""

from fractions import Fraction
from typing import Any

from evtill.core.bill import half_up
from tillctl import reprice

CLAMPS = ("MIN_PRICE", "MAX_PRICE", "CEILING")  # lines that only change the sum
_ONE = 10**9
_UNIT_NANO = {"ENERGY": 10**12, "TIME": 3600 * _ONE, "PARKING_TIME": 3600 * _ONE,
              "RESERVATION_TIME": 3600 * _ONE}  # fmt: skip


def split_vat(record: dict[str, Any], gross_minor: int) -> list[tuple[int | None, int, int]]:
    """(VAT rate in 1e-9 or None, gross, VAT of it) in minor units, for each rate in the record.

    `gross_minor` is what is charged: split over the rates by largest remainder (a clamp pro rata),
    VAT = gross x r / (100 + r) half-up."""
    lines = [
        line for period in record["charging_periods"] for line in period["dimensions"]
        if line["type"] not in CLAMPS and line["price_micro"] and reprice.volume_nano(line)
    ]  # fmt: skip
    rates = {reprice.vat_nano(line) for line in lines}
    minor = {rates.pop(): gross_minor} if len(rates) == 1 else _shares(lines, gross_minor)
    return [
        (rate, gross, half_up(gross * (rate or 0), _ONE + (rate or 0)))
        for rate, gross in minor.items()
    ]


def _shares(lines: list[dict[str, Any]], total: int) -> dict[int | None, int]:
    """`total` over the rates, by what the lines cost with VAT."""
    parts: dict[int | None, Fraction] = {}
    for line in lines:
        rate = reprice.vat_nano(line)
        net = Fraction(line["price_micro"] * reprice.volume_nano(line),
                       _UNIT_NANO.get(line["type"], 1))  # fmt: skip
        parts[rate] = parts.get(rate, Fraction(0)) + net * (_ONE + (rate or 0))
    if not parts:
        return {None: total}
    whole = sum(parts.values())
    rates = sorted(parts, key=lambda rate: -1 if rate is None else rate)
    exact = [parts[rate] * total / whole for rate in rates]
    minor = [part.numerator // part.denominator for part in exact]
    order = sorted(range(len(rates)), key=lambda i: (minor[i] - exact[i], i))
    for i in order[: total - sum(minor)]:
        minor[i] += 1
    return dict(zip(rates, minor, strict=True))
