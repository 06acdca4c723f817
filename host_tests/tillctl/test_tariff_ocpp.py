"""OCPP 2.1 TariffType in the same table: priced by hand, and written back."""

import json
from datetime import UTC, datetime

import pytest

from evtill.core.errors import TariffError
from evtill.core.pricing import Pricer
from evtill.core.tariff import load
from tillctl import tariff_cases, tariff_show
from tillctl.tariff_compile import compile_tariff

START_MS = int(datetime(2026, 6, 1, 10, tzinfo=UTC).timestamp()) * 1000
MINUTE = 60000
IDLE_FEE = {
    "tariffId": "idle", "currency": "USD",
    "energy": {"prices": [{"priceKwh": 0.4}], "taxRates": [{"type": "State", "tax": 8.25}]},
    "idleTime": {
        "prices": [{"priceMinute": 0.5, "conditions": {"minIdleTime": 600}}],
        "taxRates": [{"type": "State", "tax": 8.25}],
    },
    "fixedFee": {"prices": [{"priceFixed": 1}]},
}  # fmt: skip


def table(source):
    return load(compile_tariff(source, "UTC", 2026))


def session(source, *legs, context=None):
    """Legs are (minutes, Wh, charging); the pricer afterwards."""
    pricer = Pricer(table(source), START_MS, 0, context=context)
    at, wh = START_MS, 0
    for minutes, energy, charging, *power in legs:
        pricer.sample(at, wh, charging, *power)
        at += minutes * MINUTE
        wh += energy
    pricer.finish(at, wh)
    return pricer


def test_idle_time_has_a_grace_period_of_its_own():
    bill = session(IDLE_FEE, (60, 10000, True), (30, 0, False)).bill()
    assert bill["exact_excl"] == "15"  # 10 kWh, 20 of 30 minutes, the fee
    assert bill["incl_minor"] == 1616  # 4.33, 10.825 and 1, half-up together
    again = session(IDLE_FEE, (60, 10000, True), (9, 0, False), (1, 0, True), (9, 0, False))
    assert again.bill()["exact_excl"] == "5"  # neither idle period outlasts the grace


def test_prices_per_minute_have_no_step():
    source = {"tariffId": "m", "currency": "EUR", "chargingTime": {"prices": [
        {"priceMinute": 0.03, "conditions": {"maxChargingTime": 1800}},
        {"priceMinute": 0.06}]}}  # fmt: skip
    pricer = Pricer(table(source), START_MS, 0)
    pricer.sample(START_MS, 0, True)
    pricer.sample(START_MS + 20 * MINUTE, 0, False)
    pricer.sample(START_MS + 50 * MINUTE, 0, True)
    pricer.finish(START_MS + 60 * MINUTE + 30500, 0)
    # 30 minutes of charging (20, then 10), then 30.5 s.
    assert pricer.bill()["exact_excl"] == "0.9305"


def test_a_fixed_fee_is_the_one_at_the_start():
    late = {"tariffId": "f", "currency": "EUR", "fixedFee": {"prices": [
        {"priceFixed": 2, "conditions": {"startTimeOfDay": "10:30"}},
        {"priceFixed": 1, "conditions": {"endTimeOfDay": "09:00"}}]}}  # fmt: skip
    assert session(late, (120, 1000, True)).bill()["excl_minor"] == 0


def test_a_fee_for_a_payment_brand_or_recognition():
    source = {"tariffId": "b", "currency": "EUR", "fixedFee": {"prices": [
        {"priceFixed": 0.5, "conditions": {"paymentBrand": "Visa", "paymentRecognition": "CC"}},
        {"priceFixed": 0.25, "conditions": {"paymentRecognition": "Debit"}}]},
        "energy": {"prices": [{"priceKwh": 0.6, "conditions": {"evseKind": "DC"}},
                              {"priceKwh": 0.4}]}}  # fmt: skip
    for context, billed in (
        (("Visa", "CC", "DC"), 650), (("Visa", "Debit", "AC"), 425), (("Amex", "CC", "AC"), 400),
        (None, 400),
    ):  # fmt: skip
        pricer = session(source, (60, 10000, True), context=context)
        assert pricer.bill()["excl_minor"] == billed
        resumed = Pricer.resume(pricer.tariff, pricer.state(), context)
        assert resumed.bill() == pricer.bill()


def test_taxes_of_a_level_add_up_and_levels_multiply():
    taxes = [{"type": "State", "tax": 5, "stack": 0}, {"type": "City", "tax": 1},
             {"type": "Federal", "tax": 10, "stack": 1}]  # fmt: skip
    source = {"tariffId": "t", "currency": "EUR",
              "energy": {"prices": [{"priceKwh": 1}], "taxRates": taxes}}  # fmt: skip
    line = session(source, (60, 10000, True)).bill()["periods"][0]["dimensions"][0]
    assert (line["vat_ppm"], line["excl_minor"], line["incl_minor"]) == (166000, 1000, 1166)
    taxes[1]["tax"] = 0.5
    taxes[2]["tax"] = 9.975
    line = session(source, (60, 10000, True)).bill()["periods"][0]["dimensions"][0]
    assert line["vat_ppb"] == 160236250 and line["incl_minor"] == 1160  # 1.055 * 1.09975


def test_min_and_max_cost():
    source = IDLE_FEE | {"minCost": {"exclTax": 10, "taxRates": [{"type": "x", "tax": 5}]}}
    assert session(source, (10, 1000, True)).running() == (1000, 1050)
    source = IDLE_FEE | {"maxCost": {"inclTax": 3}}
    assert session(source, (60, 10000, True)).running() == (500, 300)


def test_negative_prices_pay_the_driver():
    source = {"tariffId": "v2x", "currency": "EUR", "energy": {"prices": [
        {"priceKwh": -0.105, "conditions": {"startTimeOfDay": "10:00", "endTimeOfDay": "11:00"}},
        {"priceKwh": 0.3}]}}  # fmt: skip
    assert session(source, (60, 10000, True)).running() == (-105, -105)
    assert session(source, (60, 1000, True)).running() == (-11, -11)  # -10.5, away from zero
    assert session(source, (120, 20000, True)).running() == (195, 195)


def test_a_range_of_negative_power_means_discharging():
    source = {"tariffId": "v2x", "currency": "EUR", "chargingTime": {"prices": [
        {"priceMinute": -1, "conditions": {"minPower": -10000, "maxPower": -50000}},
        {"priceMinute": 1}]}}  # fmt: skip
    for power_w, excl in ((-9999, 6000), (-10000, -6000), (-49999, -6000), (-50000, 6000),
                          (11000, 6000)):  # fmt: skip
        assert session(source, (60, 0, True, power_w)).running()[0] == excl
    shown = tariff_show.to_json(compile_tariff(source, "UTC", 2026))
    assert shown["chargingTime"]["prices"][0]["conditions"] == {
        "minPower": -10000, "maxPower": -50000,
    }  # fmt: skip


FULL = {
    "tariffId": "full", "currency": "EUR", "validFrom": "2026-01-01T00:00:00Z",
    "description": [{"format": "UTF8", "content": "what it costs"}],
    "energy": {"prices": [
        {"priceKwh": 0.5, "conditions": {
            "startTimeOfDay": "22:00", "endTimeOfDay": "06:00", "dayOfWeek": ["Monday", "Sunday"],
            "validFromDate": "2026-01-01", "validToDate": "2027-01-01", "evseKind": "AC",
            "minEnergy": 1000.5, "maxEnergy": 20000, "minCurrent": 6, "maxCurrent": 32.5,
            "minPower": 1400, "maxPower": 22000, "minTime": 60, "maxTime": 7200,
            "minChargingTime": 30, "maxChargingTime": 3600, "minIdleTime": 5, "maxIdleTime": 50}},
        {"priceKwh": 0.4}], "taxRates": [{"type": "VAT", "tax": 19}]},
    "chargingTime": {"prices": [{"priceMinute": 0.01}]},
    "idleTime": {"prices": [{"priceMinute": 0.1, "conditions": {"minIdleTime": 900}}]},
    "fixedFee": {"prices": [{"priceFixed": 0.5, "conditions": {"paymentBrand": "Visa",
                                                               "paymentRecognition": "CC"}}]},
    "reservationTime": {"prices": [{"priceMinute": 0.05}]},
    "reservationFixed": {"prices": [{"priceFixed": 1}]},
    "minCost": {"exclTax": 0.5}, "maxCost": {"exclTax": 50, "inclTax": 59.5},
}  # fmt: skip


@pytest.mark.parametrize("source", [FULL, IDLE_FEE], ids=["full", "idle"])
def test_round_trip(source):
    made = compile_tariff(source, "Europe/Amsterdam", 2026)
    shown = json.loads(json.dumps(tariff_show.to_json(made)))
    assert compile_tariff(shown, "Europe/Amsterdam", 2026) == made
    if source is FULL:
        assert shown["energy"] == FULL["energy"] and shown["fixedFee"] == FULL["fixedFee"]
        assert "brand Visa" in tariff_show.words(made)


def test_the_door_takes_ocpp_tariffs_on_both_interpreters():
    samples = [
        {"at": "2026-06-01T10:00:00Z", "register_wh": 0, "state": "charging"},
        {"at": "2026-06-01T11:00:00Z", "register_wh": 10000, "state": "idle"},
        {"at": "2026-06-01T11:30:00Z", "register_wh": 10000, "state": "idle"},
    ]
    case = {"name": "ocpp", "tariff": IDLE_FEE, "timezone": "America/New_York",
            "session": {"samples": samples}}  # fmt: skip
    (here,) = tariff_cases.price([json.dumps(case)])
    assert here["total_cost"] == {"excl": "15", "incl": "16.155"}
    assert list(tariff_cases.price([json.dumps(case)], "micropython32")) == [here]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tariffId": "x" * 61}, "tariffId"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"energy": {"prices": [{"priceMinute": 1}]}}, "unknown field 'priceMinute'"),
        ({"energy": {"prices": [{"priceKwh": 1, "conditions": {"minSoC": 1}}]}}, "minSoC"),
        ({"energy": {"prices": [{"priceKwh": 1, "conditions": {"minEnergy": -5}}]}}, "export"),
        ({"energy": {"prices": [{"priceKwh": 1, "conditions": {"minPower": -5, "maxPower": 5}}]}},
         "different signs"),
        ({"energy": {"prices": [{"priceKwh": 1, "conditions": {"evseKind": "XC"}}]}}, "evseKind"),
        ({"energy": {"prices": [{"priceKwh": 1, "conditions": {"dayOfWeek": ["MONDAY"]}}]}},
         "dayOfWeek"),
        ({"energy": {"prices": [{"priceKwh": 1}], "taxRates": [
            {"type": "a", "tax": 1.2345678}, {"type": "b", "tax": 2.3456789, "stack": 1}]}},
         "finer than"),
        ({"minCost": {}}, "neither exclTax nor inclTax"),
        ({"idleTime": {"prices": [{"priceMinute": 0.1234567891}]}}, "cannot be held exactly"),
    ],
)  # fmt: skip
def test_refused_with_the_reason(change, reason):
    with pytest.raises(TariffError, match=reason):
        compile_tariff(IDLE_FEE | change, "UTC")


def test_no_prices_is_refused():
    with pytest.raises(TariffError, match="no prices"):
        compile_tariff({"tariffId": "x", "currency": "EUR"}, "UTC")
