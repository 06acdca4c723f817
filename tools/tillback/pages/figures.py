"""What of a page changes while it is open, as text: shown at first, and sent as news."""

from decimal import Decimal

from evtill.core.bill import half_up
from tillback.language import Language
from tillback.pages import price_list
from tillback.pages.model import Live, PayPage
from tillback.pages.price_list import PriceList

_STALE_S = 60  # a reading older than this is said to be old; one is due every 10 s
_MAY_BREAK = "\N{ZERO WIDTH SPACE}"
_SPOKEN_WH = 5000  # whoever listens to the page hears of so much energy


def key(page: PayPage) -> str:
    """What the page is laid out for: when it changes, the page is loaded anew."""
    parts = [page.state]
    if page.state == "starting" and page.plugged:
        parts.append("plugged")
    if page.settled:
        parts.append("open" if page.settled.captured_minor is None else "settled")
    if page.state == "not_started":
        parts.append(page.hold_state)
    return "-".join(parts)


def heading(page: PayPage, language: Language) -> str:
    """What goes on, in one or two words."""
    name = page.state
    if name == "starting" and page.plugged:
        name = "starting_plugged"
    if page.state == "charging" and page.live and page.live.idle_since_s is not None:
        name = "paused"
    return language.say(f"heading.{name}")


def live(page: PayPage, prices: PriceList | None, language: Language) -> dict[str, str]:
    """The figures and sentences that change, by their places in the page."""
    said = {"heading": heading(page, language)}
    if page.state == "starting" and page.plug_in_by_s is not None:
        left_s = max(0, page.plug_in_by_s - page.now_s)
        said["left"] = language.duration(left_s if left_s < 60 else -(-left_s // 60) * 60)
    if page.state == "charging" and page.live and prices:
        one = page.live
        now = prices.now("energy")
        said |= {
            "cost": language.money(one.cost_minor, page.currency),
            "energy": _kwh(one.energy_wh, 2, language),
            "power": "\N{EN DASH}" if one.power_w is None else
                     language.number(Decimal(half_up(one.power_w, 100)) / 10, 1),
            "duration": duration(one.duration_ms, language),
            "price": now.full().replace("/", _MAY_BREAK + "/") if now else "",
            "notice": _notice(page, one, prices, language),
        }  # fmt: skip
        if page.hold_minor:
            used = min(100, max(0, one.cost_minor * 100 // page.hold_minor))
            said["share"] = str(used)
            said["used"] = language.say(
                "charging.used", percent=language.percent(Decimal(used) / 100),
                hold=language.money(page.hold_minor, page.currency),
            )  # fmt: skip
    return said


def spoken(page: PayPage, language: Language) -> tuple[str, str]:
    """(milestone, sentence): the sentence is read aloud when the milestone has changed."""
    if page.state != "charging" or not page.live:
        return "", ""
    one = page.live
    sentence = language.say(
        "charging.summary", energy=_kwh(one.energy_wh, 2, language),
        cost=language.money(one.cost_minor, page.currency),
    )  # fmt: skip
    return str(one.energy_wh // _SPOKEN_WH), sentence


def amounts(page: PayPage, language: Language) -> list[tuple[str, str]]:
    """What became of the money of a finished session: (key of the words, amount)."""
    one = page.settled
    if one is None:
        return []
    money = {
        "charged": one.captured_minor, "open": one.open_minor or None,
        "refunded": one.refunded_minor or None, "released": one.released_minor or None,
    }  # fmt: skip
    if one.captured_minor is not None:
        money["waived"] = max(0, one.total_minor - one.captured_minor - one.open_minor) or None
    rows = [(name, language.money(minor, page.currency))
            for name, minor in money.items() if minor is not None]  # fmt: skip
    if one.captured_minor is None and one.total_minor and page.hold_minor:
        rows.insert(0, ("charged", language.say("finished.pending")))
    return rows


def duration(ms: int, language: Language) -> str:
    """Of a session: whole minutes, below one whole seconds."""
    seconds = ms // 1000
    return language.duration(seconds if seconds < 60 else seconds // 60 * 60)


def energy(wh: int, language: Language) -> str:
    """As the receipt says it: "12.345"."""
    return _kwh(wh, 3, language)


def clock(page: PayPage, unix_s: int, language: Language) -> str:
    """A time of day where the charger stands."""
    offset_s = price_list.offset_s(page.table, unix_s) if page.table else 0
    return language.clock((unix_s + offset_s) % 86400 // 60)


def _kwh(wh: int, decimals: int, language: Language) -> str:
    step = 10 ** (3 - decimals)
    return language.number(Decimal(wh // step * step) / 1000, decimals)


def _notice(page: PayPage, one: Live, prices: PriceList, language: Language) -> str:
    """What a driver should know now, a line each, in order of urgency."""
    said = []
    if one.limit_near and page.hold_minor:
        hold = language.money(page.hold_minor, page.currency)
        said.append(language.say("charging.limit", hold=hold))
    if page.now_s - one.at_s > _STALE_S:
        said.append(language.say("charging.stale", time=clock(page, one.at_s, language)))
    if one.idle_since_s is not None and page.table:
        said.append(language.say("charging.paused"))
        from_s = price_list.idle_fee_from_s(page.table, one)
        line = prices.now("parking")
        if from_s is not None and from_s > page.now_s:
            time = clock(page, from_s, language)
            said.append(language.say("charging.idle_from", time=time))
        elif from_s is not None and line:
            said.append(language.say("charging.idle_now", price=line.full()))
    return "\n".join(said)
