"""The price in words for the driver, before and while charging.

Order of Regulation (EU) 2023/1804 (AFIR), Article 5: per kWh, per minute, per session, others.
Prices include VAT where it applies. A text is English, or a tuple of English with places and what
goes into them: what shows it translates it."""

from .bill import decimal

FREE = "free of charge"
_UNITS = {"ENERGY": "%s/kWh", "TIME": "%s/min", "PARKING_TIME": "%s/min idle", "FLAT": "%s/session"}


def _money(tariff, language, n, d):
    """n / d currency units, to 1e-4 at most, with the currency's own decimals at least."""
    text = decimal(n, d, 4)
    if "." in text:
        short = tariff.minor_digits - len(text) + text.index(".") + 1
        text += "0" * max(0, short)
    return language.amount(text, tariff.currency)


def component(tariff, price, language):
    """One of Pricer.price_now(): ("ENERGY", 490000, 190000, 1) -> ("%s/kWh", "0.5831 EUR")."""
    kind, price_micro, vat_ppm, _ = price
    d = 10**12 * (60 if kind.endswith("TIME") else 1)
    return _UNITS[kind], _money(tariff, language, price_micro * (10**6 + (vat_ppm or 0)), d)


def local_time(tariff, unix_s):
    """hh:mm of Unix seconds, in the tariff's time zone."""
    minute = (unix_s + tariff.offset_s_at(unix_s)) // 60 % 1440
    return "%02d:%02d" % (minute // 60, minute % 60)


def rates(pricer, language):
    """Each price in force, and until when that holds (local time), as far as it is known."""
    tariff = pricer.tariff
    prices, change_ms = pricer.price_now()
    texts = [component(tariff, price, language) for price in prices] or [FREE]
    if change_ms is not None:
        texts.append(("until %s", local_time(tariff, change_ms // 1000)))
    return texts


def preview(pricer, language):
    """What rates() says, and ahead of its end what the session costs at least and at most."""
    tariff = pricer.tariff
    texts = rates(pricer, language)
    at = len(texts) - (texts[-1][0] == "until %s")
    for text, limit in (("at least %s", tariff.min_price), ("at most %s", tariff.max_price)):
        micro = limit[0] if limit[1] is None else limit[1]
        if micro is not None:
            texts.insert(at, (text, _money(tariff, language, micro, 10**6)))
            at += 1
    return texts
