"""Random tariffs and sessions, priced by the engine and by the oracle.

EVTILL_SOAK=1 runs 20,000 of each; the seed is printed and can be set with EVTILL_SEED."""

import json
import os
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from evtill.core import tariff as table
from evtill.core.pricing import Pricer
from host_tests import oracle_tariff
from tillctl import tariff_cases
from tillctl.runner import tariff_runner

SOAK = bool(os.environ.get("EVTILL_SOAK"))
SEED = int(os.environ.get("EVTILL_SEED", "20260302"))
# Starts of sessions: ordinary days, and the days on which four zones change their offset.
STARTS = {
    "Europe/Amsterdam": ["2026-03-28T20:00", "2026-10-24T20:00", "2025-12-31T18:00"],
    "America/New_York": ["2026-03-08T02:00", "2026-11-01T01:00", "2026-06-01T12:00"],
    "Australia/Lord_Howe": ["2026-04-04T10:00", "2026-10-03T12:00", "2026-12-31T08:00"],
    "Asia/Kathmandu": ["2026-05-05T15:00", "2026-12-31T15:00"],
}
EPSILON = Fraction(1, 10**6)

prices = st.one_of(
    st.sampled_from(["0", "0.25", "0.49", "1.2", "3", "5", "-0.1"]),
    st.decimals("-0.5", "20", places=4).map(str),
)
vats = st.sampled_from([None, None, "0", "10", "19", "21", "5.2", "7.7"])
minutes = st.one_of(
    st.sampled_from([0, 60, 90, 120, 135, 150, 180, 360, 1020, 1380, 1425]), st.integers(0, 1439)
)
times = minutes.map(lambda m: f"{m // 60:02d}:{m % 60:02d}")
limits = st.sampled_from(
    [None, None, {"excl_vat": "2"}, {"excl_vat": "0.5", "incl_vat": "0.6"},
     {"excl_vat": "3.21", "incl_vat": "3.01"}]
)  # fmt: skip


def number(text):
    return None if text is None else Decimal(text)


@st.composite
def restrictions(draw, dates):
    made = {}
    wanted = draw(st.sets(st.sampled_from(
        ["window", "start", "end", "dates", "days", "kwh", "duration", "power", "current"]
    ), max_size=3))  # fmt: skip
    if "window" in wanted or "start" in wanted:
        made["start_time"] = draw(times)
    if "window" in wanted or "end" in wanted:
        made["end_time"] = draw(times)
    if "dates" in wanted:
        made["start_date"], made["end_date"] = sorted(draw(st.tuples(dates, dates)))
    if "days" in wanted:
        made["day_of_week"] = draw(
            st.lists(st.sampled_from(oracle_tariff.DAYS), min_size=1, unique=True)
        )
    for name, values in (
        ("kwh", st.sampled_from(["0", "1", "2.5", "5", "10", "0.333", "12.3456"])),
        ("duration", st.sampled_from(["0", "60", "1800", "3600", "10000", "40000"])),
        ("power", st.sampled_from(["0", "3.7", "11", "16", "22.5"])),
        ("current", st.sampled_from(["0", "16", "32", "47.5"])),
    ):
        if name in wanted:
            for side in draw(st.sampled_from([("min",), ("max",), ("min", "max")])):
                value = draw(values)
                made[f"{side}_{name}"] = int(value) if name == "duration" else number(value)
    return made


@st.composite
def components(draw, kinds):
    made = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True)):
        component = {"type": kind, "price": number(draw(prices)), "step_size": draw(
            st.sampled_from([1, 1, 1, 60, 300, 500, 900, 1234]))}  # fmt: skip
        vat = draw(vats)
        if vat is not None:
            component["vat"] = number(vat)
        made.append(component)
    return made


@st.composite
def tariffs(draw, start):
    dates = st.sampled_from([str(start.date() + timedelta(days=d)) for d in (-1, 0, 1, 2)])
    elements = []
    for _ in range(draw(st.integers(1, 6))):
        element = {"price_components": draw(
            components(["ENERGY", "ENERGY", "TIME", "PARKING_TIME", "FLAT"]))}  # fmt: skip
        if draw(st.integers(0, 3)):
            element["restrictions"] = draw(restrictions(dates))
        elements.append(element)
    made = {"id": "T", "currency": draw(st.sampled_from(["EUR", "JPY", "KWD"])),
            "elements": elements}  # fmt: skip
    for key in ("min_price", "max_price"):
        limit = draw(limits)
        if limit:
            made[key] = {k: number(v) for k, v in limit.items()}
    return made


def stamp(moment):
    return moment.isoformat(timespec="milliseconds") + "Z"


@st.composite
def cases(draw):
    timezone = draw(st.sampled_from(sorted(STARTS)))
    start = datetime.fromisoformat(draw(st.sampled_from(STARTS[timezone])))
    start += timedelta(milliseconds=draw(
        st.one_of(st.just(0), st.integers(0, 7200).map(lambda s: 1000 * s), st.integers(0, 10**7))
    ))  # fmt: skip
    at, register, samples = start, draw(st.sampled_from([0, 1045120])), []
    for _ in range(draw(st.integers(1, 7))):
        sample = {"at": stamp(at), "register_wh": register,
                  "state": draw(st.sampled_from(["charging", "charging", "idle"]))}  # fmt: skip
        if draw(st.booleans()):
            sample["power_w"] = draw(st.sampled_from([0, 3700, 10999, 11000, 16000, 50000]))
        if draw(st.booleans()):
            sample["current_ma"] = draw(st.sampled_from([0, 15999, 16000, 32000, 48000]))
        samples.append(sample)
        at += timedelta(milliseconds=draw(st.one_of(
            st.sampled_from([0, 60000, 900000, 3600000]), st.integers(0, 2 * 10**7))))
        register += draw(st.one_of(
            st.sampled_from([0, 0, 1000, 1500, 2500, 5000]), st.integers(-50, 30000)))
    return {"name": "x", "tariff": draw(tariffs(start)), "timezone": timezone,
            "session": {"samples": samples}}  # fmt: skip


def half_up(value):
    whole, rest = divmod(abs(value), 1)
    rounded = int(whole) + (rest >= Fraction(1, 2))
    return -rounded if value < 0 else rounded


def _agree(expected, result, currency):
    digits = {"EUR": 2, "JPY": 0, "KWD": 3}[currency]
    for group, pair in [("total", expected["total"]), *expected["cost"].items()]:
        got = result["total_cost"] if group == "total" else result["cost"][group]
        for side, wanted in zip(("excl", "incl"), pair, strict=True):
            assert abs(Fraction(got[side]) - wanted) <= EPSILON, (group, side, got, float(wanted))
    for side, wanted in zip(("excl", "incl"), expected["total"], strict=True):
        minor = wanted * 10**digits
        tie = abs(abs(minor) % 1 - Fraction(1, 2)) <= EPSILON * 10**digits
        assert result["billed"][side] == half_up(minor) or tie


CHUNKS = range(10 if SOAK else 1)


def explore(check, chunk, examples, *strategies):
    """Runs `check` on examples of the strategies: so many now, 2,000 a chunk in a soak (chunks
    bound what hypothesis remembers, and run side by side)."""

    @seed(SEED + chunk)
    @settings(
        max_examples=2000 if SOAK else examples, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    @given(st.tuples(*strategies))
    def run(drawn):
        check(*drawn)

    run()


pytestmark = [pytest.mark.timeout(7200 if SOAK else 300), *([pytest.mark.soak] if SOAK else [])]


@pytest.fixture(autouse=True, scope="module")
def say_seed():
    print(f"seed {SEED} (EVTILL_SEED), {'20,000' if SOAK else 'a few hundred'} examples each")


def samples_agree_with_the_oracle(case):
    expected = oracle_tariff.price_samples(
        case["tariff"], case["timezone"], case["session"]["samples"]
    )
    result = tariff_runner.run(tariff_cases.job(case))
    _agree(expected, result, case["tariff"]["currency"])
    lines = [d for p in result["periods"] for d in p["dimensions"]]
    for side in ("excl", "incl"):
        assert sum(d[f"{side}_minor"] for d in lines) == result["billed"][side]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_samples_agree_with_the_oracle(chunk):
    explore(samples_agree_with_the_oracle, chunk, 200, cases())


def _play(case, rng=None):
    """The case's bill by sample(), with interruptions drawn from `rng` in between."""
    job = tariff_cases.job(case)
    loaded = table.load(bytes.fromhex(job["table"]))
    samples = job["samples"]
    first = samples[0][1]
    pricer = Pricer(loaded, job["start_ms"], first, job["per_wh"])
    for t, register, state, power_mw, current_ma in samples:
        power_w = None if power_mw == table.UNKNOWN else power_mw // 1000
        current_ma = None if current_ma == table.UNKNOWN else current_ma
        pricer.sample(job["start_ms"] + t, register, state == 1, power_w, current_ma)
        if rng:
            rng.choice([pricer.running, pricer.bill, pricer.price_now, pricer.next_edge_ms])()
            if rng.random() < 0.5:
                pricer = Pricer.resume(loaded, pricer.state())
    pricer.finish(job["start_ms"] + samples[-1][0], samples[-1][1])
    assert pricer.running() == (pricer.bill()["excl_minor"], pricer.bill()["incl_minor"])
    return pricer.bill(), pricer.flags


def interrupted_and_resumed_anywhere_gives_the_identical_bill(case, rng):
    assert _play(case, rng) == _play(case)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_interrupted_and_resumed_anywhere_gives_the_identical_bill(chunk):
    interruptions = st.randoms(use_true_random=False)
    explore(
        interrupted_and_resumed_anywhere_gives_the_identical_bill, chunk, 100, cases(),
        interruptions,
    )  # fmt: skip


@st.composite
def cdrs(draw):
    """A session split into periods, perhaps after a reservation, perhaps only that."""
    case = draw(cases())
    for element in case["tariff"]["elements"]:
        kinds = {c["type"] for c in element["price_components"]}
        if kinds <= {"TIME", "FLAT"} and draw(st.booleans()):
            element.setdefault("restrictions", {})["reservation"] = draw(
                st.sampled_from(["RESERVATION", "RESERVATION_EXPIRES"])
            )
    at = datetime.fromisoformat(case["session"]["samples"][0]["at"]).replace(tzinfo=None)
    start, periods = stamp(at), []
    expired = draw(st.booleans())
    reserved = draw(st.integers(0, 2)) if not expired else draw(st.integers(1, 2))
    for i in range(reserved + (0 if expired else draw(st.integers(1, 5)))):
        ms = draw(st.one_of(st.sampled_from([0, 900000, 3600000]), st.integers(0, 10**7)))
        kind = "RESERVATION_TIME" if i < reserved else draw(
            st.sampled_from(["TIME", "TIME", "PARKING_TIME"]))  # fmt: skip
        dimensions = [{"type": kind, "volume": "0", "ms": ms}]
        if i >= reserved:
            mwh = draw(st.one_of(st.sampled_from([0, 10**6, 5 * 10**6]), st.integers(0, 3 * 10**7)))
            dimensions.append({"type": "ENERGY", "volume": "0", "mwh": mwh})
        for name in draw(st.sets(st.sampled_from(
            ["MIN_POWER", "MAX_POWER", "MIN_CURRENT", "MAX_CURRENT"]))):  # fmt: skip
            volume = draw(st.sampled_from(["0", "3.7", "11", "16.00", "40"]))
            dimensions.append({"type": name, "volume": volume})
        periods.append({"start": stamp(at), "dimensions": dimensions})
        at += timedelta(milliseconds=ms)
    case["session"] = {"start": start, "end": stamp(at), "periods": periods,
                       "reservation_expired": expired}  # fmt: skip
    return case


def periods_agree_with_the_oracle(case):
    expected = oracle_tariff.price_periods(case["tariff"], case["timezone"], case["session"])
    _agree(expected, tariff_runner.run(tariff_cases.job(case)), case["tariff"]["currency"])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_periods_agree_with_the_oracle(chunk):
    explore(periods_agree_with_the_oracle, chunk, 100, cdrs())


def test_random_cases_are_identical_on_micropython():
    lines = []

    def collect(case):
        lines.append(json.dumps(case, default=float))

    explore(collect, 0, 40, st.one_of(cases(), cdrs()))
    results = list(tariff_cases.price(lines))
    assert len(results) >= 20 and not any("error" in r for r in results)
    assert list(tariff_cases.price(lines, "micropython32")) == results


def test_the_oracle_itself_gets_the_examples_of_the_specification_right():
    folder = Path(__file__).parents[1] / "vectors" / "tariff_cases"
    for name in ("ocpi_examples.jsonl", "reference.jsonl"):
        for line in (folder / name).read_text().splitlines():
            case = json.loads(line, parse_float=Decimal)
            result = oracle_tariff.price_periods(
                case["tariff"], case["timezone"], case["session"]
            )
            corrected = case.get("expected_spec_total") or case.get("expected_corrected_total")
            expected = corrected or case["expected"]["total_cost"]
            for wanted, got in zip(
                (expected["excl"], expected["incl"]), result["total"], strict=True
            ):
                if wanted is not None:
                    scale = 10 ** -Decimal(wanted).as_tuple().exponent
                    assert half_up(got * scale) == Decimal(wanted) * scale, case["name"]


_OCPP_FIELDS = {
    "ENERGY": ("energy", "priceKwh", 1),
    "TIME": ("chargingTime", "priceMinute", 60),
    "PARKING_TIME": ("idleTime", "priceMinute", 60),
}
_OCPP_NAMES = {
    "start_time": ("startTimeOfDay", None), "end_time": ("endTimeOfDay", None),
    "start_date": ("validFromDate", None), "end_date": ("validToDate", None),
    "min_kwh": ("minEnergy", 1000), "max_kwh": ("maxEnergy", 1000),
    "min_duration": ("minTime", 1), "max_duration": ("maxTime", 1),
    "min_power": ("minPower", 1000), "max_power": ("maxPower", 1000),
    "min_current": ("minCurrent", 1), "max_current": ("maxCurrent", 1),
}  # fmt: skip


def _as_ocpp(tariff):
    """(OCPI, OCPP) of one meaning: what OCPP cannot say is taken out of the OCPI one first (steps,
    fees after the start, a VAT of each price), and its hourly prices made whole per minute."""
    ocpp = {"tariffId": "T", "currency": tariff["currency"]}
    for element in tariff["elements"]:
        kept = [c for c in element["price_components"] if c["type"] in _OCPP_FIELDS]
        conditions = {}
        for key, value in (element.get("restrictions") or {}).items():
            if key == "day_of_week":
                conditions["dayOfWeek"] = [day.capitalize() for day in value]
            else:
                name, per = _OCPP_NAMES[key]
                conditions[name] = value * per if per else value
        for component in kept:
            field, price_key, per = _OCPP_FIELDS[component["type"]]
            component.update(step_size=0, vat=19, price=component["price"] * per)
            priced = ocpp.setdefault(
                field, {"prices": [], "taxRates": [{"type": "VAT", "tax": 19}]}
            )
            price = {price_key: component["price"] / per, "conditions": conditions}
            priced["prices"].append(price)
        element["price_components"] = kept
    for ours, theirs in (("min_price", "minCost"), ("max_price", "maxCost")):
        if ours in tariff:
            names = {"excl_vat": "exclTax", "incl_vat": "inclTax"}
            ocpp[theirs] = {names[k]: v for k, v in tariff[ours].items()}
    return tariff, ocpp


def ocpp_agrees_with_the_oracle(case):
    ocpi, ocpp = _as_ocpp(case["tariff"])
    if not any(field in ocpp for field, _, _ in _OCPP_FIELDS.values()):
        return
    samples = case["session"]["samples"]
    expected = oracle_tariff.price_samples(ocpi, case["timezone"], samples)
    result = tariff_runner.run(tariff_cases.job(case | {"tariff": ocpp}))
    _agree(expected, result, ocpi["currency"])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_ocpp_tariffs_agree_with_the_oracle(chunk):
    explore(ocpp_agrees_with_the_oracle, chunk, 60, cases())
