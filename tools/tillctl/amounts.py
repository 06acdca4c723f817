"""Integers of a record as people read them."""

from evtill.core.bill import decimal
from tillctl.tariff_model import minor_digits

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}


def money(minor: int, currency: str) -> str:
    """`7.20 EUR`, with the currency's own number of decimals."""
    return f"{_fixed(minor, minor_digits(currency))} {currency}"


def money_sign(minor: int, currency: str) -> str:
    """`€ 7.20` where the currency has a sign of its own, else as money()."""
    sign = _SYMBOLS.get(currency)
    amount = _fixed(minor, minor_digits(currency))
    return f"{sign}\N{NO-BREAK SPACE}{amount}" if sign else f"{amount}\N{NO-BREAK SPACE}{currency}"


def price(micro: int) -> str:
    """`0.49`, `0.495`: 1e-6 of a currency unit, with two decimals or as many as it needs."""
    whole, _, decimals = decimal(micro, 10**6).partition(".")
    return f"{whole}.{decimals:0<2}"


def energy(wh: int) -> str:
    """`12.345 kWh`."""
    return f"{_fixed(wh, 3)} kWh"


def duration(ms: int) -> str:
    """`1:17:42`, in hours; started seconds are not counted."""
    s = ms // 1000
    return f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}"


def percent(ppb: int) -> str:
    """`19 %`, `5.5 %`: a rate in 1e-9."""
    return f"{decimal(ppb, 10**7)} %"


def _fixed(n: int, digits: int) -> str:
    whole, rest = divmod(abs(n), 10**digits)
    text = f"{whole:,}".replace(",", "\N{NARROW NO-BREAK SPACE}" if whole >= 10**5 else "")
    sign = "-" if n < 0 else ""
    return sign + (f"{text}.{rest:0{digits}}" if digits else text)
