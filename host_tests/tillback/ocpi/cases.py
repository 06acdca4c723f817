"""The cases of host_tests/vectors/tariff_cases as signed usage records, priced by core."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import host_tests
from evtill.core import jws, record_check
from host_tests.fakes import records
from tillback.ocpi import cdr
from tillback.ocpi.cdr_check import cdr_faults
from tillctl import tariff_cases
from tillctl.tariff_compile import compile_tariff

FOLDER = Path(host_tests.__file__).parent / "vectors" / "tariff_cases"
LINES = [
    line
    for name in ("reference.jsonl", "ocpi_examples.jsonl")
    for line in (FOLDER / name).read_text().splitlines()
]
SIGNER = records.Signer()
LOCATION: dict[str, Any] = json.loads("""{
    "country_code": "DE", "party_id": "EVT", "id": "L1", "publish": true, "name": "Am Markt",
    "address": "Marktplatz 1", "city": "Jena", "postal_code": "07743", "country": "DEU",
    "coordinates": {"latitude": "50.927054", "longitude": "11.589237"},
    "time_zone": "Europe/Berlin",
    "evses": [{"uid": "E1", "evse_id": "DE*EVT*E000123", "status": "AVAILABLE", "connectors": [
        {"id": "1", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE",
         "max_voltage": 230, "max_amperage": 32, "last_updated": "2026-01-01T00:00:00Z"}],
        "last_updated": "2026-01-01T00:00:00Z"}], "last_updated": "2026-01-01T00:00:00Z"
}""")
TOKEN: dict[str, Any] = {
    "country_code": "NL", "party_id": "TNM", "uid": "04A2243B6C5E80", "type": "RFID",
    "contract_id": "NL-TNM-C00012345-X", "issuer": "Example", "group_id": "fleet", "valid": True,
    "whitelist": "ALLOWED", "last_updated": "2026-01-01T00:00:00Z",
}  # fmt: skip
UPDATED = "2026-03-02T08:32:00.000Z"


def _spent(case: dict[str, Any], *kinds: str) -> int:
    """1e-9 Wh or s of a kind in the case's own periods."""
    found = 0
    for period in case["session"]["periods"]:
        for one in period["dimensions"]:
            if one["type"] in kinds:
                fine = {"mwh": 10**6, "ms": 10**6}
                key = next((key for key in fine if key in one), None)
                each = 10**12 if one["type"] == "ENERGY" else 3600 * 10**9
                found += round(one[key] * fine[key] if key else Fraction(one["volume"]) * each)
    return found


def signed(seq: int, line: str, result: dict[str, Any], **changes: Any) -> bytes:
    """The published record (JWS) of a case and of what tariff_cases.price says of it."""
    case = json.loads(line)
    session = case["session"]
    table = compile_tariff(case["tariff"], case["timezone"], int(session["start"][:4]))
    bill = {
        "periods": result["periods"], "excl_minor": result["billed"]["excl"],
        "incl_minor": result["billed"]["incl"], "exact_excl": result["total_cost"]["excl"],
        "energy_wh": _spent(case, "ENERGY") // 10**9, "time_ms": _spent(case, "TIME") // 10**6,
        "parking_ms": _spent(case, "PARKING_TIME") // 10**6,
    }  # fmt: skip
    start_s, end_s = (
        record_check.unix_s(session[key].partition(".")[0].rstrip("Z") + "Z")
        for key in ("start", "end")
    )
    last_s = max(period["start_ms"] // 1000 for period in result["periods"])
    facts = records.facts(
        seq, start_unix_s=start_s, end_unix_s=max(end_s, last_s),
        currency=case["tariff"]["currency"],
        tariff={"id": result["tariff"], "sha256": records.sha256(table)},
        meter={"vendor": "Eastron", "model": "SDM630", "serial": "1234567", "start_wh": 1000,
               "end_wh": 1000 + bill["energy_wh"]},
    )  # fmt: skip
    return records.envelope(SIGNER, records.payload(SIGNER, facts | changes, bill))


def priced() -> list[tuple[dict[str, Any], bytes]]:
    """(case, its published record) of all 38."""
    results = tariff_cases.price(LINES)
    return [
        (json.loads(line), signed(i + 1, line, result))
        for i, (line, result) in enumerate(zip(LINES, results, strict=True))
    ]


def complete(tariff: dict[str, Any]) -> dict[str, Any]:
    """A case's tariff with what OCPI wants of one besides its prices."""
    of = {"country_code": "DE", "party_id": "EVT", "last_updated": "2018-01-01T00:00:00Z"}
    return of | tariff


def cdr_of(
    published: bytes, tariff: dict[str, Any] | None = None,
    token: dict[str, Any] | None = TOKEN, billed_minor: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The CDR of a published record, checked."""
    record = record_check.parse(jws.b64url_decode(published.split(b".")[1]))
    found = cdr.build(
        record, SIGNER.public, LOCATION, token, tariff, UPDATED, record["id"], billed_minor
    )
    assert cdr_faults(found) == []
    return found


def no_show() -> dict[str, Any]:
    """The CDR of an hour that was reserved with an app, for which nobody came."""
    at = next(i for i, line in enumerate(LINES) if '"spec/reservation_17_expired"' in line)
    (result,) = tariff_cases.price([LINES[at]])
    auth = {"method": "app", "token": None, "assurance": "app", "ref": "R-1", "ceiling_minor": None}
    published = signed(at + 1, LINES[at], result, flags=["reservation_expired"], auth=auth,
                       auth_method="COMMAND", stop_reason="Other")  # fmt: skip
    return cdr_of(published, complete(json.loads(LINES[at])["tariff"]), None)
