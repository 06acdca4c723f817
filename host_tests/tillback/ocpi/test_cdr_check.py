"""Each of cdr_check's checks finds what it is there for."""

import base64
import copy

import pytest

from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from tillback.ocpi.cdr_check import cdr_faults
from tillback.ocpi.objects import CLASSES

GOOD = cases.cdr_of(records.signed(cases.SIGNER), {
    "country_code": "DE", "party_id": "EVT", "id": "T1", "currency": "EUR",
    "elements": [{"price_components": [
        {"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}]}],
    "last_updated": "2026-01-01T00:00:00Z",
})  # fmt: skip
PERIOD = GOOD["charging_periods"][0]
VALUE = GOOD["signed_data"]["signed_values"][0]


def spoilt(path, value):
    """GOOD with `value` at a path such as ("total_cost", "excl_vat"); None takes it away."""
    found = copy.deepcopy(GOOD)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return found


def test_a_good_one_has_no_faults():
    assert cdr_faults(GOOD) == []


@pytest.mark.parametrize(
    "name", [name for name, said in CLASSES["CDR"].items() if said[0] in "1+"]
)
def test_what_is_mandatory_is_missed(name):
    assert cdr_faults(spoilt((name,), None)) == [f"{name}: is missing"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("country_code",), "DEU", "country_code: 'DEU' is no Country"),
        (("party_id",), "EV", "is no Party"),
        (("id",), "x" * 40, "is no CiString(39)"),
        (("id",), "x" * 37, "at most 36"),
        (("id",), "Münze-1", "is no CiString(39)"),
        (("start_date_time",), "2026-03-02T07:14:05+00:00", "is no DateTime"),
        (("start_date_time",), "2026-13-02T07:14:05Z", "is no DateTime"),
        (("end_date_time",), "2026-03-02T07:14:04Z", "not in order"),
        (("start_date_time",), "2026-03-02T07:14:00Z", "does not begin with the session"),
        (("session_id",), None, "only a reservation"),
        (("auth_method",), "CARD", "is no AuthMethod"),
        (("cdr_token", "type"), "CARD", "cdr_token.type: 'CARD' is no TokenType"),
        (("cdr_token", "uid"), "", "is no CiString(36)"),
        (("cdr_token",), "x", "cdr_token: is not an object"),
        (("cdr_location", "evse_uid"), None, "cdr_location.evse_uid: is missing"),
        (("cdr_location", "country"), "DE", "is no Country3"),
        (("cdr_location", "address"), "x" * 46, "is no string(45)"),
        (("cdr_location", "coordinates", "latitude"), "50.9", "is no Latitude"),
        (("cdr_location", "connector_standard"), "TYPE2", "is no ConnectorType"),
        (("currency",), "eur", "is no Currency"),
        (("currency",), "CHF", "in another currency"),
        (("tariffs", 0, "elements"), [], "tariffs[0].elements: is empty"),
        (("tariffs", 0, "last_updated"), None, "tariffs[0].last_updated: is missing"),
        (("charging_periods",), [], "charging_periods: is empty"),
        (("charging_periods", 0, "dimensions"), [], "charging_periods[0].dimensions: is empty"),
        (("charging_periods", 0, "dimensions", 0, "type"), "FLAT", "is no CdrDimensionType"),
        (("charging_periods", 0, "dimensions", 0, "volume"), "12.345", "is no number"),
        (("charging_periods", 0, "dimensions", 0, "volume"), True, "is no number"),
        (("charging_periods", 0, "dimensions", 0, "volume"), float("nan"), "is no number"),
        (("charging_periods", 0, "dimensions", 0, "volume"), 12.344, "the periods have 12.344"),
        (("charging_periods", 0, "dimensions", 0, "volume"), 12.34501, "more than 4 decimals"),
        (("charging_periods", 0, "dimensions", 0, "volume"), -1, "ENERGY is negative"),
        (("charging_periods", 0, "dimensions"), PERIOD["dimensions"] * 2, "stands twice"),
        (("charging_periods", 0, "dimensions"),
         [*PERIOD["dimensions"], {"type": "TIME", "volume": 1.2951}], "TIME is 1.2951"),
        (("charging_periods", 0, "dimensions"),
         [*PERIOD["dimensions"], {"type": "PARKING_TIME", "volume": 0.0001}], "PARKING_TIME is"),
        (("charging_periods", 0, "tariff_id"), "T2", "none of the tariffs"),
        (("total_parking_time",), 2, "is more than total_time"),
        (("total_parking_time",), -1, "total_parking_time: is negative"),
        (("total_energy",), 12, "total_energy: is 12"),
        (("total_cost", "excl_vat"), 6.06, "total_cost.excl_vat: is 6.06"),
        (("total_cost", "incl_vat"), 7.21, "total_cost.incl_vat: is 7.21"),
        (("total_cost", "incl_vat"), None, "stands in some"),
        (("total_energy_cost", "excl_vat"), 6.04, "its parts and what moved it 6.04"),
        (("total_fixed_cost", "incl_vat"), 1, "its parts"),
        (("total_energy_cost", "excl_vat"), 6.049051, "more than 4 decimals"),
        (("remark",), "MIN_PRICE: -0.01 EUR excl. VAT, -0.01 EUR incl. VAT.", "the wrong way"),
        (("remark",), "CEILING: +0.01 EUR excl. VAT, +0.00 EUR incl. VAT.", "the wrong way"),
        (("remark",), "x" * 256, "is no string(255)"),
        (("remark",), "a\nb", "is no string(255)"),
        (("signed_data",), None, "signed_data: is missing"),
        (("signed_data", "public_key"), "3059-!", "public_key: is not base64"),
        (("signed_data", "public_key"), None, "public_key: is not base64"),
        (("signed_data", "signed_values"), [], "is empty"),
        (("signed_data", "signed_values", 0, "nature"), "Stop", "none of OCPI's"),
        (("signed_data", "signed_values", 0, "plain_data"), "{}", "is not what was signed"),
        (("signed_data", "signed_values", 0, "signed_data"), "OCMF|{}|{}", "is not base64"),
        (("signed_data", "signed_values", 0, "signed_data"),
         base64.b64encode(VALUE["plain_data"].encode()).decode(), "is no OCMF string"),
        (("credit",), True, "stand together"),
        (("credit_reference_id",), "DE*EVT*E000123-41", "stand together"),
        (("last_updated",), "today", "is no DateTime"),
        (("total_price",), 7, "is no property of a CDR"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(path, value, says):
    found = cdr_faults(spoilt(path, value))
    assert any(says in one for one in found), found
    assert all("\n" not in one for one in found)


def test_a_credit_needs_an_id_of_its_own():
    assert cdr_faults(GOOD | {"credit": True, "credit_reference_id": GOOD["id"],
                              "total_cost": {"excl_vat": -6.05, "incl_vat": -7.2}}) == [
        "id: a Credit CDR needs one of its own"]  # fmt: skip


@pytest.mark.parametrize("value", [None, [], "x", 7])
def test_what_is_no_object_is_no_cdr(value):
    assert cdr_faults(value) == ["CDR: is not an object"]
