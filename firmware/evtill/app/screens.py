"""What the driver reads in each state, and how it is laid out.

A screen is (status, head, items): the status for light and buzzer; texts that stand in the first
lines; texts that follow, and take turns where they are more than the display holds. A text is in
English, which is looked up in the driver's language: text as it is, or a tuple of text with places
and what goes into them. At a tab the line is filled up, so that what follows ends at its right.
"""

from evtill.core.session import RUNNING

# Each stop reason of core.record in words.
_REASONS = """
Local:Stopped by card
Remote:Stopped remotely
DeAuthorized:Authorisation ended
EVDisconnected:Car was unplugged
EnergyLimitReached:Energy limit reached
TimeLimitReached:Time limit reached
CostLimitReached:Cost limit reached
EmergencyStop:Emergency stop
PowerLoss:Power failed
Reboot:Charger restarted
GroundFault:Ground fault
Other:Stopped
MeterFault:Meter failed
TillFault:Charger failed
"""


def duration(ms):
    """ms as h:mm:ss."""
    s = ms // 1000
    return "%d:%02d:%02d" % (s // 3600, s // 60 % 60, s % 60)


def energy(wh):
    """Wh as kWh with two decimals, cut off rather than rounded up: never more than was had."""
    return "%d.%02d" % (wh // 1000, wh % 1000 // 10)


def idle(prices, with_qr):
    """prices: price_words.preview(), in AFIR's order."""
    return "idle", ["Tap card or scan" if with_qr else "Ready: tap your card"], prices


def checking(seconds=0):
    """seconds: until there will be an answer, where another has to be asked for it."""
    more = [("%d s at most", seconds)] if seconds else []
    return "busy", ["One moment please", "checking your card"], more


def plug_in():
    return "plug", ["Card accepted", "Plug in your car"], []


def refused(why):
    return "refused", ["Not possible:"], [why]


def charging(state, language, wh, ms, power_w, cost, items):
    """cost: as money; items: the price now, and what else takes turns below."""
    tenths = (power_w + 50) // 100  # of a kW
    power = language.number("%d.%d" % (tenths // 10, tenths % 10))
    return state, [
        ("Charging\t%s" if state == RUNNING[0] else "Paused\t%s", duration(ms)),
        ("%s kWh\t%s kW", language.number(energy(wh)), power),
        ("Cost\t%s", cost),
    ], items  # fmt: skip


def near(limits):
    """The text that says which limit is near: it has less than a tenth left. limits: (used, limit
    or None, limit as text) of each. None where none is."""
    for used, limit, text in limits:
        if limit is not None and used * 10 >= limit * 9:
            return "Ends at %s", text
    return None


def finished(language, wh, ms, cost, stop_reason, receipt):
    """receipt: where it is to be had, or ""."""
    at = _REASONS.find("\n" + stop_reason + ":") + len(stop_reason) + 2
    items = [("%s kWh", language.number(energy(wh))), _REASONS[at : _REASONS.find("\n", at)]]
    if receipt:
        items.append(("Receipt: %s", receipt))
    head = [("Finished\t%s", duration(ms)), ("Total\t%s", cost)]
    return "finished", head, items + ["Thank you. Unplug."]


def in_use():
    return "refused", ["In use"], ["Only the card that started can stop"]


def reserved(until):
    """until: hh:mm."""
    return "reserved", ["Reserved"], [("until %s", until)]


def out_of_order(why):
    return "fault", ["Out of order"], [why]


def lay_out(say, screen, columns, rows, turn=0):
    """(lines, turns): the screen as up to `rows` lines of at most `columns` characters, and how
    many turns there are before all was shown. say: gives an English text in another language."""
    lines = []
    for text in screen[1]:
        lines += wrap(_spell(say, text, columns), columns)
    room = max(1, rows - len(lines))
    pages = [[]]
    for text in screen[2]:
        part = wrap(_spell(say, text, columns), columns)
        while part:
            if len(part) <= room - len(pages[-1]):
                pages[-1] += part
                break
            if pages[-1]:
                pages.append([])  # a text that fits one page does not stand on two
            if len(part) > room:
                pages[-1] = part[:room]
                part = part[room:]
    return lines + pages[turn % len(pages)], len(pages)


def _spell(say, text, columns):
    """A screen's text in words."""
    if not isinstance(text, str):
        english = text[0]
        try:
            text = say(english) % text[1:]
        except (TypeError, ValueError):  # of another version than this code
            text = english % text[1:]
    else:
        text = say(text)
    if "\t" in text:
        left, right = text.split("\t")
        text = left + " " * max(1, columns - len(left) - len(right)) + right
    return text


def wrap(text, width):
    """`text` in lines of at most `width` characters, broken at spaces where there are any."""
    if len(text) <= width:
        return [text]
    out = [""]
    for word in text.split(" "):
        if out[-1] and len(out[-1]) + 1 + len(word) > width:
            out.append("")
        while len(word) > width:
            out[-1] = word[:width]
            word = word[width:]
            out.append("")
        out[-1] = (out[-1] + " " + word) if out[-1] else word
    return out
