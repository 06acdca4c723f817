"""The itemised bill of a priced session: step sizes, VAT, clamps, and lines that add up.

Money is exact until the end: excl is counted in 1 / ONE currency units, incl in 1 / (ONE *
VAT_ONE). Totals are rounded half-up to minor units, lines by largest remainder so that they add
up to them. Semantics: OCPI 2.2.1 mod_cdrs (step_size), mod_tariffs (min_price, max_price).
"""

from .tariff import ENERGY, FLAT, PARKING, RES_FLAT, RES_TIME, TIME

TYPES = ("ENERGY", "TIME", "PARKING_TIME", "FLAT", "RESERVATION_TIME", "RESERVATION_FLAT")
# The dimension that time in a state (idle, charging, reserved, reservation expired) belongs to.
TIME_DIMENSION = (PARKING, TIME, RES_TIME, RES_TIME)
# 1e-6 / kWh * 1e-9 Wh, 1e-6 / h * 1e-9 s and 1e-6 are these many parts of ONE.
ONE = 18 * 10**18
_PARTS = (18, 5, 5, 18 * 10**12, 5, 18 * 10**12)
VAT_ONE = 10**9
_NANO = 10**9
_UNIT = (_NANO, 10**6, 10**6, 1, 10**6, 1)  # of volumes, in their nano parts: Wh, ms, sessions
_STEP_SLACK = 100  # so little (1e-9 units) above a whole step is due to the rounding of cuts


def half_up(n, d):
    """n / d to the nearest integer, halves away from zero."""
    return -((d - 2 * n) // (2 * d)) if n < 0 else (2 * n + d) // (2 * d)


def decimal(n, d, places=12):
    """n / d as a decimal string, half-up at `places`, zeros trimmed."""
    n = half_up(n * 10**places, d)
    sign = "-" if n < 0 else ""
    n = abs(n)
    rest = str(n % 10**places)
    rest = ("0" * (places - len(rest)) + rest).rstrip("0")
    return sign + str(n // 10**places) + ("." + rest if rest else "")


def _extra(pricer, dimension):
    """What the step size adds to a dimension's volume, in its last period."""
    last = pricer.final[dimension]
    if last < 0:
        return 0
    column = 2 if dimension == ENERGY else 3
    volume = 0
    for p in pricer.periods:
        if p[column] >= 0 and (dimension == ENERGY or TIME_DIMENSION[p[1]] == dimension):
            volume += p[column + 2]
    step = pricer.tariff.rate(pricer.periods[last][column])[2] * _NANO
    if not step:
        return 0
    return max(0, -(-(volume - _STEP_SLACK) // step) * step - volume)


def lines(pricer):
    """Yields (period's index, dimension, volume in 1e-9 Wh, s or sessions, price, VAT, excl, incl)
    for whatever has a price, and for all energy."""
    final = pricer.final
    timed = TIME if final[PARKING] < 0 else PARKING  # parking wins over time
    tariff = pricer.tariff
    fees = pricer.fees
    for i in range(len(pricer.periods)):
        _, state, energy_rate, time_rate, energy, time = pricer.periods[i]
        dimension = TIME_DIMENSION[state]
        found = []
        if fees[3] == i:
            found.append((RES_FLAT, fees[2], 1))
        if fees[1] == i:
            found.append((FLAT, fees[0], 1))
        if energy:
            if i == final[ENERGY]:
                energy += _extra(pricer, ENERGY)
            found.append((ENERGY, energy_rate, energy))
        if time_rate >= 0 and time:
            if i == final[dimension] and dimension in (timed, RES_TIME):
                time += _extra(pricer, dimension)
            found.append((dimension, time_rate, time))
        for dimension, rate, volume in found:
            price, vat, _ = (0, None, 0) if rate < 0 else tariff.rate(rate)
            excl = price * volume * _PARTS[dimension]
            yield i, dimension, volume, price, vat, excl, excl * (VAT_ONE + (vat or 0))


def _clamp(value, low, high, one):
    if low is not None:
        value = max(value, low * one)
    if high is not None:
        value = min(value, high * one)
    return value


def clamped(tariff, excl, incl):
    """Exact (excl, incl) within the tariff's min_price and max_price; the latter wins."""
    low, high = tariff.min_price, tariff.max_price
    micro = ONE // 10**6
    return (
        _clamp(excl, low[0], high[0], micro),
        _clamp(incl, low[1], high[1], micro * VAT_ONE),
    )


def totals(pricer):
    """(excl, incl) in minor units, then both exact, and what came on top of the lines or off them:
    a list of (type, excl, incl), exact. A CEILING takes off what is above `pricer.ceiling_minor`
    (incl, in minor units; None: there is none), VAT and net in proportion."""
    excl = incl = 0
    for line in lines(pricer):
        excl += line[5]
        incl += line[6]
    net, gross = clamped(pricer.tariff, excl, incl)
    moved = []
    if net != excl or gross != incl:
        up = net > excl or gross > incl
        moved.append(("MIN_PRICE" if up else "MAX_PRICE", net - excl, gross - incl))
    scale = 10**pricer.tariff.minor_digits
    limit = pricer.ceiling_minor
    if limit is not None and half_up(gross * scale, ONE * VAT_ONE) > limit:
        limit *= ONE * VAT_ONE // scale
        cut = half_up(net * limit, gross)
        moved.append(("CEILING", cut - net, limit - gross))
        net, gross = cut, limit
    return half_up(net * scale, ONE), half_up(gross * scale, ONE * VAT_ONE), net, gross, moved


def _shares(parts, total, scale, one):
    """`parts` (exact) in minor units that add up to `total`, by largest remainder."""
    floors = [n * scale // one for n in parts]
    short = total - sum(floors)
    order = sorted(range(len(parts)), key=lambda i: (-(parts[i] * scale % one), i))
    for i in order[:short]:
        floors[i] += 1
    return floors


def itemise(pricer):
    """The bill: periods with their lines, totals in minor units, and what was counted.

    {"periods": [{"start_ms": Unix ms, "dimensions": [{"type", "volume" (Wh, ms, or 1),
    "price_micro" (per kWh, h, or session), "vat_ppm" (None: not applicable), "excl_minor",
    "incl_minor"}]}], "excl_minor", "incl_minor", "exact_excl", "energy_wh", "time_ms",
    "parking_ms"}. A volume that a cut left broken has "rest_nano" besides (1e-9 Wh or s), a VAT
    rate finer than 1e-6 "vat_ppb". Lines of type MIN_PRICE, MAX_PRICE and CEILING end the last
    period."""
    tariff = pricer.tariff
    scale = 10**tariff.minor_digits
    found = list(lines(pricer))
    excl_minor, incl_minor, net, _, moved = totals(pricer)
    last = max(0, len(pricer.periods) - 1)
    for kind, excl, incl in moved:
        found.append((last, kind, 1, 0, None, excl, incl))
    excls = _shares([f[5] for f in found], excl_minor, scale, ONE)
    incls = _shares([f[6] for f in found], incl_minor, scale, ONE * VAT_ONE)
    periods = []
    at = -1
    for k in range(len(found)):
        i, dimension, volume, price, vat, _, _ = found[k]
        if i != at:
            at = i
            start = pricer.periods[i][0] if pricer.periods else 0
            periods.append({"start_ms": pricer.start_ms + start, "dimensions": []})
        unit = 1
        if isinstance(dimension, int):
            unit = _UNIT[dimension]
            dimension = TYPES[dimension]
        line = {
            "type": dimension, "volume": volume // unit, "price_micro": price,
            "vat_ppm": None if vat is None else vat // 1000,
            "excl_minor": excls[k], "incl_minor": incls[k],
        }  # fmt: skip
        if volume % unit:
            line["rest_nano"] = volume % unit
        if vat is not None and vat % 1000:
            line["vat_ppb"] = vat
        periods[-1]["dimensions"].append(line)
    spent = [0, 0, 0, 0]
    for p in pricer.periods:
        spent[p[1]] += p[5]
    return {
        "periods": periods, "excl_minor": excl_minor, "incl_minor": incl_minor,
        "exact_excl": decimal(net, ONE), "energy_wh": pricer.energy_wh(),
        "time_ms": spent[1] // 10**6, "parking_ms": spent[0] // 10**6,
    }  # fmt: skip
