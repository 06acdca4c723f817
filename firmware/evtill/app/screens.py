"""What the driver reads: four lines of twenty characters for each state."""

from evtill.core.price_words import component


def money(minor, digits, currency):
    """Minor units as text: 605, 2, EUR -> "6.05 EUR"."""
    if not digits:
        return "%d %s" % (minor, currency)
    sign = "-" if minor < 0 else ""
    whole, rest = divmod(abs(minor), 10**digits)
    return "%s%d.%0*d %s" % (sign, whole, digits, rest, currency)


def duration(ms):
    """ms as h:mm:ss."""
    s = ms // 1000
    return "%d:%02d:%02d" % (s // 3600, s // 60 % 60, s % 60)


def energy(wh):
    """Wh as kWh with two decimals, cut off rather than rounded up: never more than was had."""
    return "%d.%02d kWh" % (wh // 1000, wh % 1000 // 10)


def idle(tariff, prices):
    """The price including VAT, in AFIR's order: per kWh, per minute, per session."""
    return ["Ready: tap your card"] + ([component(tariff, p) for p in prices] or ["free of charge"])


def checking(seconds=0):
    """seconds: until there will be an answer, where another has to be asked for it."""
    lines = ["One moment please", "checking your card"]
    return lines + ["%d s at most" % seconds] if seconds else lines


def plug_in():
    return ["Card accepted", "Plug in your car"]


def refused(why):
    return ["Not possible:"] + wrap(why, 3)


def charging(state, wh, ms, power_w, cost):
    head = "Charging " if state == "charging" else "Paused "
    tenths = (power_w + 50) // 100  # of a kW
    return [
        head + " " * (20 - len(head) - len(duration(ms))) + duration(ms),
        "%s  %d.%d kW" % (energy(wh), tenths // 10, tenths % 10),
        cost,
        "Tap card to stop",
    ]


def finished(wh, ms, cost, stop_reason):
    return ["Finished: %s" % stop_reason, energy(wh) + "  " + duration(ms), "Total " + cost,
            "Thank you. Unplug."]  # fmt: skip


def in_use():
    return ["In use", "Only the card that", "started can stop"]


def reserved(until):
    """until: hh:mm."""
    return ["Reserved", "until " + until]


def out_of_order(why):
    return ["Out of order"] + wrap(why, 3)


def wrap(text, lines, width=20):
    """`text` in up to `lines` lines of at most `width` characters, broken at spaces."""
    out = [""]
    for word in text.split(" "):
        if out[-1] and len(out[-1]) + 1 + len(word) > width:
            out.append("")
        out[-1] = (out[-1] + " " + word) if out[-1] else word
    return out[:lines]
