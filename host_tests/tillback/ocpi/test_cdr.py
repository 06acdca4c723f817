"""CDRs of the tariff cases and of the design's session; OCMF is checked by pyocmf, a stranger."""

import base64
import json
import os
import random
import re
from decimal import ROUND_HALF_UP, Decimal

import pytest
from pyocmf import OCMF

from evtill.core.text import civil
from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from host_tests.tillback.ocpi.cases import cdr_of, complete
from tillback.ocpi import cdr
from tillback.ocpi.cdr import CdrError, TimesUnknown
from tillback.ocpi.cdr_check import cdr_faults
from tillctl import tariff_cases

PRICED = cases.priced()
BY_NAME = {case["name"]: (case, published) for case, published in PRICED}
CENT = Decimal("0.01")
SOAK = pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak")


def of_case(name, **changes):
    return cdr_of(BY_NAME[name][1], complete(BY_NAME[name][0]["tariff"]), **changes)


def cents(amount):
    return Decimal(amount).quantize(CENT, ROUND_HALF_UP)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_cdr_costs_what_others_say(name):
    case, published = BY_NAME[name]
    found = cdr_of(published, complete(case["tariff"]))
    corrected = case.get("expected_spec_total") or case.get("expected_corrected_total")
    total = corrected or case["expected"]["total_cost"]
    for side in ("excl", "incl"):
        if total.get(side) is not None:
            assert Decimal(str(found["total_cost"][f"{side}_vat"])) == cents(total[side])
    if name != "spec/complex_saturday":  # an arithmetic slip of the text
        for part, pair in case["expected"]["cost"].items():
            if pair.get("excl") is not None:  # shares of a rounded total are up to a cent apart
                got = Decimal(str(found[f"total_{part}_cost"]["excl_vat"]))
                assert abs(got - Decimal(pair["excl"])) < CENT
    if "total_energy_kwh" in case["expected"]:
        assert Decimal(str(found["total_energy"])) == Decimal(case["expected"]["total_energy_kwh"])


def test_times_are_those_that_others_say():
    timed = {
        name: case["expected"] for name, (case, _) in BY_NAME.items()
        if "total_time_h" in case["expected"] and not any(
            one["type"] == "ENERGY" for p in case["session"]["periods"] for one in p["dimensions"]
        ) and name != "step_size/cdr1"  # its volumes are not those of its periods
    }  # fmt: skip
    assert len(timed) == 2
    for name, expected in timed.items():
        found = of_case(name)
        assert Decimal(str(found["total_time"])) == Decimal(expected["total_time_h"])
        parking = Decimal(expected["total_parking_time_h"])
        assert Decimal(str(found["total_parking_time"])) == parking


def test_a_session_field_by_field():
    tariff = {
        "country_code": "DE", "party_id": "EVT", "id": "T1", "currency": "EUR",
        "elements": [{"price_components": [
            {"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}]}],
        "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    found = cdr_of(records.signed(cases.SIGNER), tariff)
    signed_data, location = found.pop("signed_data"), found.pop("cdr_location")
    nothing = {"excl_vat": 0, "incl_vat": 0}
    assert found == {
        "country_code": "DE", "party_id": "EVT", "id": "DE*EVT*E000123-42",
        "start_date_time": "2026-03-02T07:14:05Z", "end_date_time": "2026-03-02T08:31:47Z",
        "session_id": "DE*EVT*E000123-42",
        "cdr_token": {"country_code": "NL", "party_id": "TNM", "uid": "04A2243B6C5E80",
                      "type": "RFID", "contract_id": "NL-TNM-C00012345-X"},
        "auth_method": "WHITELIST", "meter_id": "1234567", "currency": "EUR", "tariffs": [tariff],
        "charging_periods": [{"start_date_time": "2026-03-02T07:14:05Z", "tariff_id": "T1",
                              "dimensions": [{"type": "ENERGY", "volume": 12.345}]}],
        "total_cost": {"excl_vat": 6.05, "incl_vat": 7.2}, "total_fixed_cost": nothing,
        "total_energy": 12.345, "total_energy_cost": {"excl_vat": 6.05, "incl_vat": 7.2},
        "total_time": 1.295, "total_time_cost": nothing, "total_parking_time": 0,
        "total_parking_cost": nothing, "total_reservation_cost": nothing,
        "remark": "Ended: stopped at the charger.", "last_updated": "2026-03-02T08:32:00.000Z",
    }  # fmt: skip
    assert location == {
        "id": "L1", "name": "Am Markt", "address": "Marktplatz 1", "city": "Jena",
        "postal_code": "07743", "country": "DEU",
        "coordinates": {"latitude": "50.927054", "longitude": "11.589237"}, "evse_uid": "E1",
        "evse_id": "DE*EVT*E000123", "connector_id": "1", "connector_standard": "IEC_62196_T2",
        "connector_format": "SOCKET", "connector_power_type": "AC_3_PHASE",
    }  # fmt: skip
    (value,) = signed_data["signed_values"]
    assert signed_data["encoding_method"] == "OCMF" and value["nature"] == "End"
    ocmf = base64.b64decode(value["signed_data"]).decode()
    assert value["plain_data"] in ocmf and len(json.loads(value["plain_data"])) == 2
    key = base64.b64decode(signed_data["public_key"]).hex()
    assert OCMF.from_string(ocmf).verify(key) == (True, [])


def test_numbers_are_written_as_the_decimals_that_they_are():
    for _, published in PRICED:
        text = json.dumps(cdr_of(published))
        for literal in re.findall(r'": (-?[0-9][^,}\]]*)', text):
            assert re.fullmatch(r"-?\d+(\.\d{1,4})?", literal), literal
    assert json.dumps([cdr.number(n, 4) for n in (1, 12345, 10**15 - 1, -25, 30000)]) == (
        "[0.0001, 1.2345, 99999999999.9999, -0.0025, 3]"
    )
    with pytest.raises(CdrError, match="too many digits"):
        cdr.number(10**15, 4)


def test_a_reservation_that_nobody_came_for_has_no_session():
    """OCPI 2.2.1, mod_tariffs 11.3.1.17: an hour reserved and not used costs 6.00 without VAT."""
    found = cases.no_show()
    assert "session_id" not in found
    assert found["total_cost"] == {"excl_vat": 6, "incl_vat": 7.2}
    assert found["total_reservation_cost"] == found["total_cost"]
    assert found["charging_periods"][0]["dimensions"] == [
        {"type": "RESERVATION_TIME", "volume": 1}
    ]
    assert found["start_date_time"] == found["charging_periods"][0]["start_date_time"]
    assert (found["total_energy"], found["total_time"]) == (0, 0)
    assert found["authorization_reference"] == "R-1"
    assert "nobody came" in found["remark"]


def test_a_session_after_a_reservation_begins_with_it():
    found = of_case("spec/reservation_15")
    assert found["start_date_time"] < BY_NAME["spec/reservation_15"][0]["session"]["end"]
    assert found["start_date_time"] == found["charging_periods"][0]["start_date_time"]
    assert found["session_id"] == found["id"]
    assert found["total_reservation_cost"] == {"excl_vat": 1.25, "incl_vat": 1.5}


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("025kwh_min_price/cdr2_less_than_2kWh",
         "MIN_PRICE: +0.20 EUR excl. VAT, +0.22 EUR incl. VAT."),
        ("spec/max_price_hit", "MAX_PRICE: -3.00 EUR excl. VAT, -3.35 EUR incl. VAT."),
    ],
)  # fmt: skip
def test_a_clamp_is_in_the_total_alone(name, remark):
    found = of_case(name)
    assert found["remark"] == f"{remark} Ended: stopped at the charger."
    parts = ("energy", "time", "parking", "fixed", "reservation")
    for side, moved in zip(("excl_vat", "incl_vat"), remark.split()[1::4], strict=True):
        whole = sum(Decimal(str(found[f"total_{part}_cost"][side])) for part in parts)
        assert whole + Decimal(moved) == Decimal(str(found["total_cost"][side]))


def test_a_ceiling_is_taken_off_the_total():
    billed = records.bill()
    billed["periods"][0]["dimensions"].append(
        {"type": "CEILING", "volume": 1, "price_micro": 0, "vat_ppm": None, "excl_minor": -17,
         "incl_minor": -20}
    )  # fmt: skip
    billed |= {"excl_minor": 588, "incl_minor": 700}
    body = records.payload(cases.SIGNER, records.facts(), billed)
    found = cdr_of(records.envelope(cases.SIGNER, body))
    assert found["total_cost"] == {"excl_vat": 5.88, "incl_vat": 7}
    assert found["total_energy_cost"] == {"excl_vat": 6.05, "incl_vat": 7.2}
    assert found["remark"].startswith("CEILING: -0.17 EUR excl. VAT, -0.20 EUR incl. VAT. Ended")


def test_what_is_billed_less_than_signed_is_what_the_cdr_says():
    published = records.signed(cases.SIGNER)
    found = cdr_of(published, billed_minor=714)
    assert found["total_cost"] == {"excl_vat": 6, "incl_vat": 7.14}
    assert found["remark"].startswith("CORRECTION: -0.05 EUR excl. VAT, -0.06 EUR incl. VAT.")
    assert cdr_of(published, billed_minor=720) == cdr_of(published)
    free = cdr_of(records.signed(cases.SIGNER, flags=["free"]))
    assert free["total_cost"] == {"excl_vat": 0, "incl_vat": 0}
    assert "nothing of this is collected" in free["remark"]


def test_volumes_are_what_was_measured_not_what_a_step_makes_of_them():
    found = of_case("spec/step_100wh")
    assert found["total_energy"] == 20.45
    assert [p["dimensions"] for p in found["charging_periods"]] == [
        [{"type": "ENERGY", "volume": 20.45}]
    ]
    found = of_case("spec/cdrs_time_parking_41")  # 16 minutes, 20 of them billed
    assert found["charging_periods"][1]["dimensions"] == [
        {"type": "PARKING_TIME", "volume": 0.2667}
    ]


def test_a_fee_alone_and_no_line_at_all_make_a_period_too():
    found = of_case("spec/free_of_charge")
    assert all(period["dimensions"] for period in found["charging_periods"])
    nothing = records.bill() | {"periods": [], "excl_minor": 0, "incl_minor": 0, "energy_wh": 0,
                                "exact_excl": "0"}  # fmt: skip
    body = records.payload(cases.SIGNER, records.facts(), nothing)
    found = cdr_of(records.envelope(cases.SIGNER, body))
    assert found["charging_periods"] == [{
        "start_date_time": "2026-03-02T07:14:05Z", "tariff_id": "DE*EVT*T1",
        "dimensions": [{"type": "ENERGY", "volume": 0}],
    }]  # fmt: skip


def auth(method, ref, token=None):
    return {"method": method, "token": token, "assurance": "app", "ref": ref, "ceiling_minor": None}


@pytest.mark.parametrize(
    ("given", "kind", "uid", "reference"),
    [
        (auth("rfid", None, "9c1f0a6be24d7e35"), "RFID", "9c1f0a6be24d7e35", None),
        (auth("app", "A-17"), "APP_USER", "A-17", "A-17"),
        (auth("card", "pi_3Nk"), "AD_HOC_USER", "pi_3Nk", "pi_3Nk"),
        (auth("terminal", "x" * 64), "AD_HOC_USER", "DE*EVT*E000123-42", None),  # too long
        (auth("card", "4242424242424242"), "AD_HOC_USER", "DE*EVT*E000123-42", None),  # a number
        (auth("wallet", None), "AD_HOC_USER", "DE*EVT*E000123-42", None),
    ],
)
def test_who_has_no_token_of_a_provider_is_named_as_the_signed_string_does(
    given, kind, uid, reference
):
    found = cdr_of(records.signed(cases.SIGNER, auth=given), token=None)
    assert found["cdr_token"] == {
        "country_code": "DE", "party_id": "EVT", "uid": uid, "type": kind, "contract_id": uid,
    }  # fmt: skip
    assert found.get("authorization_reference") == reference


def test_an_unknown_start_has_no_cdr():
    of = records.facts(start_unix_s=100, end_unix_s=4762, clock_start="U", clock_end="U")
    billed = records.bill()
    billed["periods"][0]["start_ms"] = 100000
    published = records.envelope(cases.SIGNER, records.payload(cases.SIGNER, of, billed))
    with pytest.raises(TimesUnknown, match=r"^DE.EVT.E000123-42: when it began is unknown"):
        cdr_of(published)


def test_a_credit_takes_a_cdr_back():
    found = cdr_of(records.signed(cases.SIGNER))
    back = cdr.credit(found, "2026-03-03T00:00:00.000Z")
    assert cdr_faults(back) == []
    differs = {name: back[name] for name in back if back[name] != found.get(name)}
    assert differs == {
        "id": "DE*EVT*E000123-42-C", "credit": True, "credit_reference_id": "DE*EVT*E000123-42",
        "total_cost": {"excl_vat": -6.05, "incl_vat": -7.2},
        "last_updated": "2026-03-03T00:00:00.000Z",
    }  # fmt: skip


def test_a_remark_ends_where_there_is_no_room():
    flags = ["clock_unset", "start_reading_late", "end_reading_late", "meter_gap", "power_cut"]
    found = cdr_of(records.signed(cases.SIGNER, flags=flags))
    assert 150 < len(found["remark"]) <= 255
    assert found["remark"].endswith(".")


def _session(rng):
    """Periods with volumes to the milliwatt-hour and millisecond, as fine meters count."""
    periods, at_s = [], 1656666000 + rng.randrange(10**7)
    for _ in range(rng.randint(1, 6)):
        dimensions = [{"type": "ENERGY", "mwh": rng.randrange(3 * 10**7)}] * rng.randint(0, 1)
        length_ms = rng.randrange(1, 9 * 10**6)
        kind = rng.choice(["TIME", "PARKING_TIME"])
        dimensions = [*dimensions, {"type": kind, "ms": length_ms}]
        periods.append({"start": _stamp(at_s), "dimensions": dimensions})
        at_s += length_ms // 1000
    return {"start": periods[0]["start"], "end": _stamp(at_s), "periods": periods}


def _stamp(unix_s):
    return civil(unix_s) + "Z"


@pytest.mark.parametrize("count", [50, pytest.param(3000, marks=[pytest.mark.soak, SOAK])])
def test_volumes_and_costs_add_up_in_any_session(count):
    rng = random.Random(9)
    templates = [case for case, _ in PRICED if len(case["tariff"]["elements"]) < 20]
    lines = [
        json.dumps(rng.choice(templates) | {"session": _session(rng)}) for _ in range(count)
    ]
    results = list(tariff_cases.price(lines))
    pairs = [(line, result) for line, result in zip(lines, results, strict=True)
             if "error" not in result and result["periods"]]  # fmt: skip
    assert len(pairs) > count // 2
    for seq, (line, result) in enumerate(pairs, 1):
        cdr_of(cases.signed(seq, line, result))
