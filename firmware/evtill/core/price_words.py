"""The price in words for the driver, before and while charging.

Order of Regulation (EU) 2023/1804 (AFIR), Article 5: per kWh, per minute, per session, others.
Prices include VAT where it applies."""

from .bill import decimal

_UNITS = {"ENERGY": "/kWh", "TIME": "/min", "PARKING_TIME": "/min idle", "FLAT": "/session"}


def _money(tariff, n, d):
    """n / d currency units, to 1e-4 at most, with the currency's own decimals at least."""
    text = decimal(n, d, 4)
    if "." in text:
        short = tariff.minor_digits - len(text) + text.index(".") + 1
        text += "0" * max(0, short)
    return text + " " + tariff.currency


def component(tariff, price):
    """One of Pricer.price_now(): ("ENERGY", 490000, 190000, 1) -> "0.5831 EUR/kWh"."""
    kind, price_micro, vat_ppm, _ = price
    d = 10**12 * (60 if kind.endswith("TIME") else 1)
    return _money(tariff, price_micro * (10**6 + (vat_ppm or 0)), d) + _UNITS[kind]


def preview(pricer):
    """Lines of text: each price in force, what the session costs at least and at most, and until
    when that holds (local time), as far as it is known in advance."""
    tariff = pricer.tariff
    prices, change_ms = pricer.price_now()
    lines = [component(tariff, price) for price in prices] or ["free of charge"]
    for word, limit in (("at least ", tariff.min_price), ("at most ", tariff.max_price)):
        micro = limit[0] if limit[1] is None else limit[1]
        if micro is not None:
            lines.append(word + _money(tariff, micro, 10**6))
    if change_ms is not None:
        unix_s = change_ms // 1000
        minute = (unix_s + tariff.offset_s_at(unix_s)) // 60 % 1440
        lines.append("until %02d:%02d" % (minute // 60, minute % 60))
    return lines
