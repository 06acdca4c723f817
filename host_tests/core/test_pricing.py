"""Sessions priced by hand. Times are Europe/Amsterdam's unless a test says otherwise."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from evtill.core import pricing
from evtill.core.errors import TariffError
from evtill.core.pricing import Pricer
from evtill.core.tariff import load
from tillctl.tariff_compile import compile_tariff

AMSTERDAM = "Europe/Amsterdam"
HOUR = 3600000


def component(kind, price, step=1, vat=None):
    made = {"type": kind, "price": price, "step_size": step}
    return made if vat is None else made | {"vat": vat}


def tariff(*elements, zone=AMSTERDAM, **top):
    """Elements are (restrictions, component...)."""
    listed = [{"restrictions": r, "price_components": list(cs)} for r, *cs in elements]
    source = {"id": "T", "currency": "EUR", "elements": listed} | top
    return load(compile_tariff(source, zone, 2026))


def ms(text, zone=AMSTERDAM, fold=0):
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp() * 1000)


def session(table, start_ms, *legs, register=1000):
    """Legs are (ms, Wh, charging): steady from one sample to the next."""
    pricer = Pricer(table, start_ms, register)
    at = start_ms
    for duration, wh, charging in legs:
        pricer.sample(at, register, charging)
        at += duration
        register += wh
    pricer.finish(at, register)
    return pricer.bill()


def costs(bill):
    return [
        (line["type"], line["volume"], line["price_micro"])
        for p in bill["periods"] for line in p["dimensions"]
    ]  # fmt: skip


def test_the_example_of_the_record():
    table = tariff(({}, component("ENERGY", 0.49, vat=19)))
    bill = session(table, ms("2026-03-02T08:14:05"), (4662000, 12345, True))
    assert bill["excl_minor"] == 605 and bill["incl_minor"] == 720
    assert bill["exact_excl"] == "6.04905"
    assert (bill["energy_wh"], bill["time_ms"], bill["parking_ms"]) == (12345, 4662000, 0)
    assert bill["periods"] == [{
        "start_ms": ms("2026-03-02T08:14:05"),
        "dimensions": [{"type": "ENERGY", "volume": 12345, "price_micro": 490000,
                        "vat_ppm": 190000, "excl_minor": 605, "incl_minor": 720}],
    }]  # fmt: skip


WINDOW = ({"start_time": "02:00", "end_time": "03:00"}, component("TIME", 6))


@pytest.mark.parametrize(
    ("start", "hours", "billed"),
    [
        ("2026-06-15T00:00", 6, 600),  # an ordinary night
        ("2026-10-25T00:00", 6, 1200),  # 02:00-03:00 happens twice
        ("2026-03-29T00:00", 6, 0),  # and never
    ],
)
def test_a_window_over_a_change_of_the_clock(start, hours, billed):
    bill = session(tariff(WINDOW), ms(start), (hours * HOUR, 0, True))
    assert bill["excl_minor"] == billed


def test_half_an_hour_in_lord_howe():
    howe = "Australia/Lord_Howe"
    window = ({"start_time": "01:30", "end_time": "02:00"}, component("TIME", 6))
    table = tariff(window, zone=howe)
    autumn = session(table, ms("2026-04-05T00:00", howe), (4 * HOUR, 0, True))
    assert autumn["excl_minor"] == 600  # the clock goes from 02:00 back to 01:30
    spring = session(table, ms("2026-10-04T00:00", howe), (4 * HOUR, 0, True))
    assert spring["excl_minor"] == 300  # 02:00 becomes 02:30


def test_a_quarter_hour_offset():
    table = tariff(WINDOW, zone="Asia/Kathmandu")
    bill = session(table, ms("2026-05-05T01:50", "Asia/Kathmandu"), (HOUR // 2, 0, True))
    assert bill["excl_minor"] == 200


def test_a_wrapping_window_takes_the_day_of_the_instant():
    window = {"start_time": "22:00", "end_time": "04:00", "day_of_week": ["SATURDAY"]}
    table = tariff((window, component("TIME", 6)))
    friday_night = session(table, ms("2026-05-15T21:00"), (8 * HOUR, 0, True))
    assert friday_night["excl_minor"] == 4 * 600  # Saturday from 00:00 to 04:00
    saturday_night = session(table, ms("2026-05-16T21:00"), (8 * HOUR, 0, True))
    assert saturday_night["excl_minor"] == 2 * 600  # until midnight


def test_over_new_year():
    table = tariff(
        ({"end_date": "2027-01-01"}, component("ENERGY", 1)),
        ({"start_date": "2027-01-01"}, component("ENERGY", 2)),
    )
    bill = session(table, ms("2026-12-31T23:00"), (2 * HOUR, 8000, True))
    assert costs(bill) == [("ENERGY", 4000, 1000000), ("ENERGY", 4000, 2000000)]
    assert bill["periods"][1]["start_ms"] == ms("2027-01-01T00:00")


def test_a_validity_that_ends_during_the_session_does_not_end_the_tariff():
    table = tariff(({}, component("ENERGY", 1)), end_date_time="2026-06-01T00:00:00Z")
    bill = session(table, ms("2026-06-01T01:00"), (4 * HOUR, 8000, True))
    assert bill["excl_minor"] == 800
    with pytest.raises(TariffError, match="not valid"):
        Pricer(table, ms("2026-06-01T02:00"), 0)


def test_thresholds_split_by_arithmetic():
    table = tariff(
        ({"max_kwh": 2.5}, component("ENERGY", 1), component("TIME", 6)),
        ({"min_duration": 3600}, component("ENERGY", 3)),
        ({}, component("ENERGY", 2)),
    )
    bill = session(table, ms("2026-06-01T12:00"), (2 * HOUR, 10000, True))
    assert costs(bill) == [
        ("ENERGY", 2500, 1000000), ("TIME", 1800000, 6000000),  # at 5 kW: half an hour
        ("ENERGY", 2500, 2000000), ("ENERGY", 5000, 3000000),
    ]  # fmt: skip


def test_a_reading_on_the_edge_is_split_there():
    table = tariff(
        ({"end_time": "13:00"}, component("ENERGY", 1)), ({}, component("ENERGY", 2))
    )
    start = ms("2026-06-01T12:30")
    pricer = Pricer(table, start, 0)
    pricer.sample(start, 0, True)
    assert pricer.next_edge_ms() == ms("2026-06-01T13:00")
    pricer.sample(start + HOUR // 2, 1234, True)
    assert pricer.next_edge_ms() == ms("2026-06-02T00:00")
    pricer.finish(start + HOUR, 2000)
    assert costs(pricer.bill()) == [("ENERGY", 1234, 1000000), ("ENERGY", 766, 2000000)]


def test_nothing_known_in_advance_has_no_next_edge():
    pricer = Pricer(tariff(({}, component("ENERGY", 1))), ms("2026-06-01T12:00"), 0)
    assert pricer.next_edge_ms() is None


def test_interpolated_energy_is_exact():
    table = tariff(
        ({"end_time": "12:00"}, component("ENERGY", 1)), ({}, component("ENERGY", 2))
    )
    bill = session(table, ms("2026-06-01T11:59:59"), (3000, 1, True))
    first, second = (p["dimensions"][0] for p in bill["periods"])
    assert (first["volume"], first["rest_nano"]) == (0, 333333333)
    assert (second["volume"], second["rest_nano"]) == (0, 666666667)


def test_energy_that_was_not_read_on_the_edge_is_marked():
    table = tariff(
        ({"end_time": "12:00"}, component("ENERGY", 1)), ({}, component("ENERGY", 2))
    )
    start = ms("2026-06-01T11:30")
    for readings, marked in (([(60, 900)], True), ([(30, 400), (60, 900)], False),
                             ([(30, 900), (60, 900)], False), ([(20, 900), (60, 900)], False),
                             ([(29, 400), (29.5, 500)], False)):  # fmt: skip
        pricer = Pricer(table, start, 0)
        pricer.sample(start, 0, True)
        for minutes, wh in readings:
            pricer.sample(start + int(minutes * 60000), wh, True)
        assert bool(pricer.flags & pricing.EDGE_INTERPOLATED) == marked


def test_power_decides_from_sample_to_sample():
    table = tariff(
        ({"max_power": 16}, component("ENERGY", 0.2)),
        ({"max_power": 32}, component("ENERGY", 0.35)),
        ({}, component("ENERGY", 0.5)),
    )
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 0)
    for i, (wh, power_w) in enumerate(
        [(0, 6000), (1000, 48000), (41000, 16000), (42000, None), (43000, 15999)]
    ):
        pricer.sample(start + i * HOUR, wh, True, power_w)
    pricer.finish(start + 5 * HOUR, 44000)
    assert [c[2] for c in costs(pricer.bill())] == [200000, 500000, 350000, 500000, 200000]


def test_a_register_that_goes_backwards_is_flagged_and_never_priced_negative():
    table = tariff(({}, component("ENERGY", 1)))
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 1000)
    running = []
    for i, register in enumerate([1000, 3000, 500, 2000, 3500]):
        pricer.sample(start + i * 60000, register, True)
        running.append(pricer.running()[0])
        assert bool(pricer.flags & pricing.REGISTER_BACKWARDS) == (i >= 2)
    assert running == [0, 200, 200, 200, 250]  # only what exceeds the highest reading is new


def test_a_clock_that_goes_backwards_is_flagged_and_stands_still():
    table = tariff(({}, component("TIME", 60)))
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 0)
    for at in (0, 120000, 60000, 180000):
        pricer.sample(start + at, 0, True)
    assert pricer.flags == pricing.CLOCK_BACKWARDS
    assert pricer.running()[0] == 300


@pytest.mark.parametrize(
    ("currency", "billed", "incl"), [("JPY", 3, 3), ("EUR", 267, 293), ("KWD", 2667, 2934)]
)
def test_minor_units(currency, billed, incl):
    table = tariff(({}, component("ENERGY", 0.2667, vat=10)), currency=currency)
    bill = session(table, ms("2026-06-01T12:00"), (HOUR, 10000, True))
    assert (bill["excl_minor"], bill["incl_minor"]) == (billed, incl)


def test_halves_go_up_and_negative_ones_away_from_zero():
    for price, billed in ((0.005, 1), (-0.005, -1), (0.0149, 1), (-0.0149, -1)):
        bill = session(tariff(({}, component("FLAT", price))), ms("2026-06-01T12:00"))
        assert bill["excl_minor"] == billed


def test_a_fee_once_the_first_in_force_at_any_time():
    table = tariff(
        ({"start_time": "13:00"}, component("FLAT", 2)),
        ({"min_kwh": 3}, component("FLAT", 1)),
    )
    early = session(table, ms("2026-06-01T11:00"), (HOUR, 5000, True), (2 * HOUR, 0, False))
    assert early["excl_minor"] == 100
    late = session(table, ms("2026-06-01T12:00"), (2 * HOUR, 2000, True))
    assert late["excl_minor"] == 200
    never = session(table, ms("2026-06-01T12:00"), (HOUR, 2000, True))  # ends as 13:00 begins
    assert never["excl_minor"] == 0


def test_steps_once_with_the_last_component():
    table = tariff(
        ({"end_time": "17:00"}, component("TIME", 1.2, 1800), component("PARKING_TIME", 1, 900)),
        ({"end_time": "20:00"}, component("TIME", 2.4, 900), component("PARKING_TIME", 1, 900)),
        ({}, component("TIME", 2.4, 900)),
    )
    minute = 60000
    charging = session(table, ms("2026-06-01T16:35"), (35 * minute, 0, True))
    assert charging["exact_excl"] == "1.3"
    parked = session(table, ms("2026-06-01T16:55"), (10 * minute, 0, True), (2 * minute, 0, False))
    assert parked["exact_excl"] == "0.55"
    free = session(table, ms("2026-06-01T19:40"), (12 * minute, 0, True), (20 * minute, 0, False))
    assert free["exact_excl"] == "0.73"


def test_min_and_max_price_are_lines_of_the_bill():
    table = tariff(({}, component("ENERGY", 1, vat=20)), min_price={"excl_vat": 1, "incl_vat": 1.5})
    bill = session(table, ms("2026-06-01T12:00"), (HOUR, 500, True))
    assert [d["type"] for d in bill["periods"][0]["dimensions"]] == ["ENERGY", "MIN_PRICE"]
    assert (bill["excl_minor"], bill["incl_minor"]) == (100, 150)
    assert bill["periods"][0]["dimensions"][1]["incl_minor"] == 90
    table = tariff(
        ({}, component("ENERGY", 1, vat=20)), min_price={"excl_vat": 9}, max_price={"excl_vat": 5}
    )
    bill = session(table, ms("2026-06-01T12:00"), (HOUR, 8000, True))
    assert (bill["excl_minor"], bill["incl_minor"]) == (500, 960)  # the maximum wins; excl only


def ceiling_session(table, minor, wh):
    pricer = Pricer(table, ms("2026-06-01T12:00"), 0)
    pricer.ceiling_minor = minor
    pricer.sample(ms("2026-06-01T12:00"), 0, True)
    pricer.finish(ms("2026-06-01T13:00"), wh)
    return pricer


def test_no_bill_is_above_its_ceiling_and_the_line_that_takes_it_off_is_part_of_it():
    table = tariff(({}, component("ENERGY", 0.5, vat=20), component("FLAT", 1, vat=10)))
    for minor, wh, excl, incl in (
        (1000, 10000, 600, 710), (710, 10000, 600, 710), (709, 10000, 599, 709),
        (500, 10000, 423, 500), (1, 10000, 1, 1), (0, 10000, 0, 0), (None, 10000, 600, 710),
    ):  # fmt: skip
        bill = ceiling_session(table, minor, wh).bill()
        assert (bill["excl_minor"], bill["incl_minor"]) == (excl, incl)
        lines = [line for period in bill["periods"] for line in period["dimensions"]]
        assert (lines[-1]["type"] == "CEILING") == (incl < 710)
        assert sum(line["excl_minor"] for line in lines) == excl
        assert sum(line["incl_minor"] for line in lines) == incl
    both = tariff(({}, component("ENERGY", 0.5, vat=20)), min_price={"excl_vat": 9, "incl_vat": 9})
    bill = ceiling_session(both, 800, 10000).bill()
    kinds = [line["type"] for line in bill["periods"][0]["dimensions"]]
    assert kinds == ["ENERGY", "MIN_PRICE", "CEILING"] and bill["incl_minor"] == 800


def test_the_cost_ahead_counts_steps_and_changes_nothing():
    table = tariff(({}, component("ENERGY", 1, 500), component("TIME", 6, 300)))
    pricer = ceiling_session(table, 100, 499)
    before = pricer.state(), pricer.bill()
    assert pricer.ahead(0, 0) == 600 + 50  # whatever the ceiling
    assert pricer.ahead(0, 1) == 600 + 50
    assert pricer.ahead(0, 2) == 600 + 100
    assert pricer.ahead(1, 0) == 600 + 50 + 50
    assert (pricer.state(), pricer.bill()) == before


def test_a_reservation_has_prices_of_its_own():
    table = tariff(
        ({"reservation": "RESERVATION"}, component("FLAT", 2, vat=20),
         component("TIME", 5, 300, vat=20)),
        ({"reservation": "RESERVATION_EXPIRES"}, component("TIME", 6, 600, vat=20)),
        ({}, component("FLAT", 0.5, vat=20), component("ENERGY", 0.25, vat=10)),
    )  # fmt: skip
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 0)
    pricer.reserve(start - 13 * 60000, start)
    pricer.sample(start, 0, True)
    pricer.finish(start + HOUR, 20000)
    bill = pricer.bill()
    assert (bill["excl_minor"], bill["incl_minor"]) == (875, 1000)
    assert bill["periods"][0]["start_ms"] == start - 13 * 60000
    expired = Pricer(table, start, 0)
    expired.reserve(start - 90 * 60000, start, expired=True)
    assert expired.bill()["excl_minor"] == 900 + 200


def test_durations_count_from_the_first_sample_not_from_the_reservation():
    table = tariff(
        ({"reservation": "RESERVATION", "min_duration": 600}, component("TIME", 6)),
        ({"min_duration": 1800}, component("TIME", 60)),
    )
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 0)
    pricer.reserve(start - HOUR, start)
    pricer.sample(start, 0, True)
    pricer.finish(start + HOUR, 0)
    assert costs(pricer.bill()) == [
        ("RESERVATION_TIME", 3000000, 6000000), ("TIME", 1800000, 60000000)
    ]  # fmt: skip


def test_the_state_is_small_and_only_for_its_own_tariff():
    table, other = tariff(({}, component("ENERGY", 1))), tariff(({}, component("ENERGY", 2)))
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 1045120)
    pricer.sample(start, 1045120, True, 11000, 16000)
    pricer.sample(start + HOUR, 1056120, True, 11000, 16000)
    state = pricer.state()
    assert len(state) <= 64
    assert Pricer.resume(table, state).running() == (1100, 1100)
    with pytest.raises(TariffError, match="another tariff"):
        Pricer.resume(other, state)
    for size in range(4, len(state)):
        with pytest.raises(TariffError, match="cut short"):
            Pricer.resume(table, state[:size])


def test_a_tariff_that_flaps_keeps_a_bounded_number_of_periods():
    table = tariff(
        ({"max_power": 10}, component("ENERGY", 0.2)), ({}, component("ENERGY", 0.5, 500))
    )
    start = ms("2026-06-01T12:00")
    pricer = Pricer(table, start, 0)
    for i in range(1000):
        pricer.sample(start + i * 1000, i * 10, True, 9000 if i % 2 else 11000)
    pricer.finish(start + 1000000, 10000)
    bill = pricer.bill()
    assert len(bill["periods"]) == 32 and len(pricer.state()) < 700
    assert bill["exact_excl"] == "3.5"  # 5 kWh at each price
    lines = [d for p in bill["periods"] for d in p["dimensions"]]
    assert sum(d["excl_minor"] for d in lines) == bill["excl_minor"] == 350


def test_two_months_at_the_plug():
    table = tariff(({"start_time": "08:00", "end_time": "10:00"}, component("PARKING_TIME", 1)))
    start = ms("2026-06-01T00:00")
    pricer = Pricer(table, start, 0)
    for day in range(61):
        pricer.sample(start + day * 24 * HOUR, 0, False)
    pricer.finish(start + 61 * 24 * HOUR, 0)
    assert pricer.flags == 0
    assert pricer.bill()["excl_minor"] == 61 * 200
    assert session(table, start, (61 * 24 * HOUR, 0, False))["excl_minor"] == 61 * 200


def test_a_late_clock_moves_the_start():
    table = tariff(({}, component("ENERGY", 1)))
    pricer = Pricer(table, 5000, 0)
    pricer.sample(5000, 0, True)
    pricer.sample(65000, 100, True)
    pricer.shift(ms("2026-06-01T12:00") - 5000)
    pricer.finish(ms("2026-06-01T12:02"), 200)
    bill = pricer.bill()
    assert bill["periods"][0]["start_ms"] == ms("2026-06-01T12:00")
    assert bill["time_ms"] == 120000 and bill["energy_wh"] == 200


def test_the_prices_in_force_and_when_they_change():
    table = tariff(
        ({"start_time": "17:00", "end_time": "20:00"}, component("ENERGY", 0.5, 1, 19)),
        ({}, component("FLAT", 1, 1, 19), component("PARKING_TIME", 6, 60, 19),
         component("ENERGY", 0.4, 1, 19)),
    )  # fmt: skip
    pricer = Pricer(table, ms("2026-06-01T12:00"), 0)
    prices, change_ms = pricer.price_now()
    assert prices == [
        ("ENERGY", 400000, 190000, 1), ("PARKING_TIME", 6000000, 190000, 60),
        ("FLAT", 1000000, 190000, 0),
    ]  # fmt: skip
    assert change_ms == ms("2026-06-01T17:00")


def test_parking_has_a_time_of_grace_and_says_when_it_ends():
    parking = component("PARKING_TIME", 6, step=60)
    table = tariff(
        ({"min_idle_duration": 900}, parking), ({}, component("ENERGY", 0.5, step=1))
    )  # fmt: skip
    start = ms("2026-03-02 08:00")
    pricer = Pricer(table, start, 1000)
    pricer.sample(start, 1000, True)
    assert pricer.parking_in_ms() is None  # the car charges
    pricer.sample(start + HOUR, 11000, False)
    assert pricer.parking_in_ms() == 900_000
    pricer.sample(start + HOUR + 600_000, 11000, False)
    assert pricer.parking_in_ms() == 300_000
    assert pricer.running() == (500, 500)
    pricer.sample(start + HOUR + 900_000, 11000, False)
    assert pricer.parking_in_ms() == 0
    pricer.sample(start + HOUR + 1_500_000, 11000, True)
    assert pricer.running()[0] == 500 + 100  # ten minutes of 6 an hour
    pricer.sample(start + HOUR + 1_600_000, 11100, False)  # grace begins anew
    assert pricer.parking_in_ms() == 900_000


def test_parking_that_costs_nothing_is_not_warned_of():
    start = ms("2026-03-02 08:00")
    free = Pricer(tariff(({}, component("ENERGY", 0.5))), start, 0)
    free.sample(start, 0, False)
    assert free.parking_in_ms() is None
    at_once = Pricer(tariff(({}, component("PARKING_TIME", 1))), start, 0)
    at_once.sample(start, 0, False)
    assert at_once.parking_in_ms() == 0
