"""A page in every state that it has, and the tariffs behind it."""

from tillback.pages.model import Charger, Links, Live, PayPage, Settled
from tillctl.tariff_compile import compile_tariff

NOW_S = 1772442000  # Monday 2 March 2026, 10:00 in Berlin
HOLD = 5000
CHARGER = Charger(
    "DE*EVT*E000123", "Parkhaus Mitte, Platz 12", "Marktstraße 7, 10115 Berlin", "Stadtwerke Mitte",
    "+49 30 1234 5678", 150000,
)  # fmt: skip
LINKS = Links(pay="./pay", stop="./stop", cancel="./cancel", back="https://pay.example/1",
              again="/c/1?n=2", receipt="/r/1")  # fmt: skip


def component(kind, price, vat=19, step=1):
    part = {"type": kind, "price": price, "step_size": step}
    return part if vat is None else part | {"vat": vat}


def element(*components, **restrictions):
    one = {"price_components": list(components)}
    return one | {"restrictions": restrictions} if restrictions else one


WORKDAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]


def compiled(*elements, currency="EUR", **top):
    source = {"id": "DE*EVT*T1", "currency": currency, "elements": list(elements)} | top
    return compile_tariff(source, "Europe/Berlin", 2026)


USUAL = compiled(
    element(component("ENERGY", 0.49), start_time="08:00", end_time="20:00", day_of_week=WORKDAYS),
    element(component("ENERGY", 0.41)),
    element(component("PARKING_TIME", 5.04, step=60), min_idle_duration=3600),
    element(component("FLAT", 0.5)),
    max_price={"excl_vat": 100, "incl_vat": 119},
)
FLAT_RATE = compiled(element(component("ENERGY", 0.49)))
LONG = compiled(
    element(component("FLAT", 2.5, 15)),
    element(component("TIME", 1, 20, 900), max_power=32),
    element(component("TIME", 2, 20, 600), min_power=32, day_of_week=WORKDAYS),
    element(component("TIME", 1.25, 20, 600), min_power=32, day_of_week=["SATURDAY", "SUNDAY"]),
    element(component("PARKING_TIME", 5, 10, 300), start_time="09:00", end_time="18:00",
            day_of_week=WORKDAYS, min_duration=7200, max_duration=86400),
    element(component("PARKING_TIME", 60000, None), start_date="2026-12-24", end_date="2026-12-27"),
    element(component("ENERGY", 0.123456, 19, 1000), min_kwh=10, max_kwh=50,
            day_of_week=["MONDAY", "WEDNESDAY", "SATURDAY", "SUNDAY"], start_time="22:30",
            end_time="05:45"),
    element(component("TIME", 5, 20, 60), reservation="RESERVATION"),
    element(component("FLAT", 2, 20), reservation="RESERVATION_EXPIRES"),
    currency="CHF", min_price={"excl_vat": 0.5}, max_price={"excl_vat": 100, "incl_vat": 119},
)  # fmt: skip
LIVE = Live(NOW_S - 4, 12345, 4662000, 711, 10840)
DONE = Settled(720, 12345, 4662000, 720, 4280, stop_reason="Remote")


def page(state="offer", **changes):
    """A page of a usual kind."""
    given = {"table": USUAL, "hold_minor": HOLD, "methods": ("card", "apple_pay", "google_pay"),
             "links": LINKS, "query": {"n": "abc"}, "hidden": {"n": "abc"}} | changes  # fmt: skip
    return PayPage(state, changes.pop("charger", CHARGER), given.pop("currency", "EUR"), NOW_S,
                   **{key: value for key, value in given.items() if key != "charger"})  # fmt: skip


STATES = {
    "offer": page(),
    "offer_long": page(table=LONG, currency="CHF", hold_minor=1234567,
                       methods=("card", "apple_pay", "google_pay", "link")),
    "offer_free": page(table=compiled(element(component("ENERGY", 0, None))), hold_minor=0),
    "offer_closed": page(methods=()),
    "paying": page("paying"),
    "starting": page("starting", plug_in_by_s=NOW_S + 271),
    "plugged": page("starting", plug_in_by_s=NOW_S + 271, plugged=True),
    "charging": page("charging", live=LIVE),
    "paused": page("charging", live=Live(NOW_S - 90, 43210, 6 * 3600000, 4711, 0,
                                         NOW_S - 600, True)),
    "stopping": page("stopping"),
    "billed": page("finished", settled=Settled(720, 12345, 4662000, stop_reason="Remote")),
    "finished": page("finished", settled=DONE),
    "owing": page("finished", settled=Settled(1234567, 123456, 46620000, 0, 0, 0, 1234567,
                                              "EVDisconnected")),
    "refused": page("refused", reason="card_declined"),
    "expired": page("expired", reason="code_expired", table=None),
    "offline": page("offline", reason="charger_offline"),
    "no_plug": page("not_started", reason="no_plug", hold_state="released"),
    "charger_refused": page("not_started", reason="charger_refused", hold_state="held",
                            detail="cable cannot be locked"),
}  # fmt: skip
