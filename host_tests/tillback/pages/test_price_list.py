"""The price list: all of a tariff, in AFIR's order, and what of it is in force as core says it."""

import pytest

from evtill.core.errors import TariffError
from evtill.core.pricing import Pricer
from evtill.core.tariff import Tariff
from host_tests.tillback.pages import cases
from host_tests.tillback.pages.cases import compiled, component, element
from tillback.language import language
from tillback.pages import price_list
from tillback.pages.model import Live

EN, DE = language("en"), language("de")


def said(table, now_s=cases.NOW_S, one=EN, live=None):
    """[(group, price, when, step, *(now, until))]"""
    prices = price_list.read(table, now_s, one, live)
    return [
        (group.name, line.full(), line.when.replace("\N{NO-BREAK SPACE}", " "),
         line.step.replace("\N{NO-BREAK SPACE}", " "), *((line.until,) if line.now else ()))
        for group in prices.groups for line in group.lines
    ]  # fmt: skip


def test_a_usual_tariff():
    assert said(cases.USUAL) == [
        ("energy", "€0.5831/kWh", "Mon–Fri 08:00–20:00", "", "20:00"),
        ("energy", "€0.4879/kWh", "otherwise", ""),
        ("parking", "€0.10/min", "after 1 h without charging", "per started 1 min"),
        ("parking", "free", "otherwise", ""),
        ("session", "€0.595/session", "", "", ""),
    ]
    prices = price_list.read(cases.USUAL, cases.NOW_S, EN)
    assert prices.limits == (("at_most", "€119.00"),)
    assert prices.vat == "Prices include 19% VAT."
    assert not prices.ordered


def test_the_order_is_afirs_whatever_the_tariffs_is():
    table = compiled(
        element(component("FLAT", 2), reservation="RESERVATION"),
        element(component("PARKING_TIME", 3)), element(component("FLAT", 1)),
        element(component("TIME", 6)), element(component("ENERGY", 1)),
    )  # fmt: skip
    assert [name for name, *_ in said(table)] == [
        "energy", "time", "parking", "session", "reservation_fee",
    ]  # fmt: skip


def test_every_condition_has_its_words():
    ranges = {"kwh": 2, "duration": 3600, "power": 11, "current": 16, "charging_duration": 7200,
              "idle_duration": 900}  # fmt: skip
    both = {f"min_{k}": v for k, v in ranges.items()} | {f"max_{k}": 2 * v for k, v in
                                                         ranges.items()}  # fmt: skip
    dates = {"start_date": "2026-12-24", "end_date": "2026-12-27"}
    table = compiled(
        element(component("ENERGY", 1), **{f"min_{k}": v for k, v in ranges.items()}),
        element(component("ENERGY", 2), **{f"max_{k}": v for k, v in ranges.items()}),
        element(component("ENERGY", 3), **both, **dates),
        element(component("TIME", 6, step=900), reservation="RESERVATION_EXPIRES"),
    )
    whens = [when for _, _, when, *_ in said(table)]
    assert whens == [
        "after the first 2 kWh, after 1 h, from 11 kW, from 16 A, after 2 h of charging, "
        "after 15 min without charging",
        "for the first 2 kWh, in the first 1 h, below 11 kW, below 16 A, "
        "in the first 2 h of charging, in the first 15 min without charging",
        "from 24 Dec 2026, until 26 Dec 2026, from 2 to 4 kWh, from 1 h to 2 h after the start, "
        "from 11 to below 22 kW, from 16 to below 32 A, from 2 h to 4 h of charging, "
        "from 15 min to 30 min without charging",
        "otherwise", "if you do not come", "otherwise",
    ]  # fmt: skip
    assert price_list.read(table, cases.NOW_S, EN).ordered


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ([19], "Preise inkl. 19 % MwSt."), ([7, 19], "Preise inkl. 7 % und 19 % MwSt."),
        ([None], "Auf diese Preise fällt keine MwSt. an."),
        ([None, 19], "Preise inkl. MwSt., soweit sie anfällt."),
        ([5.5], "Preise inkl. 5,5 % MwSt."), ([0], "Preise inkl. 0 % MwSt."),
    ],
)  # fmt: skip
def test_vat_is_said(rates, says):
    kinds = zip(("ENERGY", "FLAT"), rates, strict=False)
    table = compiled(*(element(component(kind, 1, vat)) for kind, vat in kinds))
    found = price_list.read(table, cases.NOW_S, DE).vat
    assert found.replace("\N{NO-BREAK SPACE}", " ") == says


def test_a_limit_without_vat_is_said_to_be_so():
    table = compiled(element(component("ENERGY", 1)), min_price={"excl_vat": 0.5})
    untaxed = compiled(element(component("ENERGY", 1, None)), min_price={"excl_vat": 0.5})
    assert price_list.read(table, cases.NOW_S, EN).limits == (("at_least", "€0.50 excl. VAT"),)
    assert price_list.read(untaxed, cases.NOW_S, EN).limits == (("at_least", "€0.50"),)


def test_what_is_over_for_good_is_left_out():
    table = compiled(
        element(component("ENERGY", 1), end_date="2026-03-02"),
        element(component("ENERGY", 2), end_date="2026-03-03"), element(component("ENERGY", 3)),
    )  # fmt: skip
    assert [price for _, price, *_ in said(table)] == ["€2.38/kWh", "€3.57/kWh"]


def test_nothing_priced_has_no_groups():
    assert price_list.read(compiled(element(component("ENERGY", 0, None))), 0, EN).groups[0].lines[
        0
    ].price == "free"  # fmt: skip


WEEK = [cases.NOW_S + 1234 + 46000 * k for k in range(7 * 86400 // 46000)]
TANGLED = compiled(
    element(component("ENERGY", 0.4), start_time="06:00", end_time="09:00"),
    element(component("ENERGY", 0.5), day_of_week=["SATURDAY", "SUNDAY"]),
    element(component("ENERGY", 0.4), start_time="22:00", end_time="06:00"),
    element(component("ENERGY", 0.6), start_time="07:00", end_time="19:00"),
    element(component("PARKING_TIME", 2), start_time="08:00", end_time="08:30"),
)


@pytest.mark.parametrize("table", [cases.USUAL, TANGLED])
def test_what_is_marked_is_what_core_charges_now_and_holds_as_long_as_it_says(table):
    loaded = Tariff(table)
    seen = set()
    for now_s in WEEK:
        prices = price_list.read(table, now_s, EN)
        pricer = Pricer(loaded, now_s * 1000, 0)
        charged = {kind: micro * (10**6 + (vat or 0)) for kind, micro, vat, _ in
                   pricer.price_now()[0]}  # fmt: skip
        for name, kind, per in (("energy", "ENERGY", 1), ("parking", "PARKING_TIME", 60)):
            line = prices.now(name)
            if line is None:  # it depends on more than the clock
                assert (name, table) == ("parking", cases.USUAL)
                continue
            wanted = EN.amount(f"{round(charged.get(kind, 0) / per / 10**12, 4)}", "EUR")
            assert line.price == (wanted if kind in charged else "free")
            seen.add(line)
            assert line.until == change(table, now_s, name, line)
    assert len(seen) >= 3


def change(table, now_s, name, line):
    """When another line is marked, quarter of an hour by quarter of an hour."""
    for at_s in range(now_s // 900 * 900 + 900, now_s + 8 * 86400, 900):
        now = price_list.read(table, at_s, EN).now(name)
        if now.when != line.when:
            days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
            local_s = at_s + 3600
            day = "" if at_s - now_s < 86400 else days[(local_s // 86400 + 3) % 7] + " "
            return f"{day}{local_s % 86400 // 3600:02}:{local_s % 3600 // 60:02}"
    return ""


def test_what_depends_on_power_is_not_guessed_before_a_car_draws_any():
    cheap, usual = component("ENERGY", 0.4), component("ENERGY", 1)
    table = compiled(element(cheap, max_power=11), element(usual))
    slow, fast = (Live(cases.NOW_S, 1, 1000, 1, watts) for watts in (7000, 50000))
    assert price_list.read(table, cases.NOW_S, EN).now("energy") is None
    assert price_list.read(table, cases.NOW_S, EN, slow).now("energy").price == "€0.476"
    assert price_list.read(table, cases.NOW_S, EN, fast).now("energy").price == "€1.19"


def test_thresholds_of_a_session_under_way():
    table = compiled(element(component("ENERGY", 0.4), max_kwh=10), element(component("ENERGY", 1)))
    early, late = (Live(cases.NOW_S, wh, 60000, 1, 7000) for wh in (9999, 10000))
    assert price_list.read(table, cases.NOW_S, EN, early).now("energy").price == "€0.476"
    assert price_list.read(table, cases.NOW_S, EN, late).now("energy").price == "€1.19"


def test_when_standing_costs():
    def live(idle_s):
        since_s = None if idle_s is None else cases.NOW_S - idle_s
        return Live(cases.NOW_S, 5000, 7200000, 1, 0, since_s)

    assert price_list.idle_fee_from_s(cases.USUAL, live(600)) == cases.NOW_S + 3000
    assert price_list.idle_fee_from_s(cases.USUAL, live(4000)) <= cases.NOW_S
    assert price_list.idle_fee_from_s(cases.FLAT_RATE, live(600)) is None
    # a clock that ran ahead of the session's start
    assert price_list.idle_fee_from_s(cases.USUAL, live(99999)) <= cases.NOW_S


@pytest.mark.parametrize("table", [b"", b"ET", cases.USUAL[:-1], b"\0" + cases.USUAL[1:]])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(TariffError):
        price_list.read(table, cases.NOW_S, EN)
