"""A usage record as an OCPI 2.2.1 CDR (mod_cdrs 1.3.1). Pure: facts in, an object out.

Amounts are those of the bill, in the currency's minor units: the parts are what the lines of the
bill cost, and `total_cost` is what is to be paid. The two differ where a minimum or maximum price,
a ceiling or a correction moved the total; no field of OCPI's holds that, so `remark` says it in
words that cdr_check reads. Volumes are what was measured: what a step size adds is in the prices
alone, as whoever recomputes them from the tariff adds it again.

Numbers are ints or floats of at most 15 significant digits, which JSON writes as the decimals that
they were made of."""

import base64
from decimal import Decimal
from typing import Any

from evtill.core import record_check
from evtill.core.bill import half_up
from evtill.core.errors import EvtillError
from tillback import words
from tillback.ocpi.objects import CLASSES, is_cistring
from tillctl import amounts, reprice
from tillctl.public_key import PublicKey
from tillctl.tariff_model import minor_digits

# What a line of the bill is a part of; the other types of lines move the total.
PARTS = {
    "ENERGY": "total_energy_cost", "TIME": "total_time_cost", "PARKING_TIME": "total_parking_cost",
    "FLAT": "total_fixed_cost", "RESERVATION_TIME": "total_reservation_cost",
    "RESERVATION_FLAT": "total_reservation_cost",
}  # fmt: skip
_UNIT_NANO = {"ENERGY": 10**8, "TIME": 36 * 10**7, "PARKING_TIME": 36 * 10**7,
              "RESERVATION_TIME": 36 * 10**7}  # of 1e-4 kWh, 1e-4 h  # fmt: skip
_TOKEN_TYPES = {"rfid": "RFID", "prepaid": "RFID", "app": "APP_USER", "card": "AD_HOC_USER",
                "wallet": "AD_HOC_USER", "terminal": "AD_HOC_USER"}  # fmt: skip
_NO_SHOWS = ("reservation_cancelled", "reservation_expired")
_MS = 10**6  # nanoseconds
_REMARK_MAX = 255


class CdrError(EvtillError):
    """A record of which no complete CDR can be made; the text names it and says why."""


class TimesUnknown(CdrError):
    """A record that never has a CDR: nobody knows when its session began."""


def build(
    record: dict[str, Any], key: PublicKey, location: dict[str, Any],
    token: dict[str, Any] | None, tariff: dict[str, Any] | None, last_updated: str,
    session_id: str, billed_minor: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The CDR of a record (parsed and verified before).

    key: that signed it. location: OCPI Location with one EVSE and connector. token: the OCPI Token
    that the record names, None for one of our own. tariff: the OCPI Tariff, where it is known.
    session_id: of the session's first record, which this one may amend. billed_minor: what is to be
    paid where that is less than the record says; it is nothing where its flags say free. Raises
    CdrError, TimesUnknown."""
    if record["clock"]["start"] == "U" and record["start_date_time"] < "2020":
        raise TimesUnknown(f"{record['id']}: when it began is unknown (the clock was not set), and "
                           "a CDR has to say it")  # fmt: skip
    periods = record["charging_periods"]
    start = min([record["start_date_time"], *(p["start_date_time"] for p in periods)])
    cdr: dict[str, Any] = {
        "country_code": location["country_code"], "party_id": location["party_id"],
        "id": record["id"], "start_date_time": start, "end_date_time": record["end_date_time"],
    }  # fmt: skip
    if not any(flag in record["flags"] for flag in _NO_SHOWS):
        cdr["session_id"] = session_id
    cdr["cdr_token"] = _token(record, location, token)
    cdr["auth_method"] = record["auth_method"]
    reference = record["auth"]["ref"]
    if _is_reference(reference):
        cdr["authorization_reference"] = reference
    cdr["cdr_location"] = cdr_location(location)
    cdr["meter_id"] = record["meter"]["serial"]
    cdr["currency"] = record["currency"]
    if tariff is not None:
        cdr["tariffs"] = [tariff]
    cdr["charging_periods"] = _periods(record, tariff["id"] if tariff else record["tariff"]["id"])
    cdr["signed_data"] = _signed_data(record["ocmf"], key)
    adjustments = _costs(cdr, record, billed_minor)
    _totals(cdr, record)
    cdr["remark"] = _remark(record, adjustments)
    cdr["last_updated"] = last_updated
    return {name: cdr[name] for name in CLASSES["CDR"] if name in cdr}


def credit(cdr: dict[str, Any], last_updated: str) -> dict[str, Any]:
    """The Credit CDR that takes `cdr` back (mod_cdrs 1.1.1)."""
    back = {side: -amount if amount else amount for side, amount in cdr["total_cost"].items()}
    return cdr | {"id": cdr["id"] + "-C", "total_cost": back, "credit": True,
                  "credit_reference_id": cdr["id"], "last_updated": last_updated}  # fmt: skip


def cdr_location(location: dict[str, Any]) -> dict[str, Any]:
    """The CdrLocation of an OCPI Location with one EVSE and connector."""
    evse = location["evses"][0]
    connector = evse["connectors"][0]
    found = {
        name: location[name]
        for name in ("id", "name", "address", "city", "postal_code", "state", "country")
        if location.get(name)
    }
    place = location["coordinates"]
    return found | {
        "coordinates": {side: place[side] for side in ("latitude", "longitude")},
        "evse_uid": evse["uid"], "evse_id": evse.get("evse_id") or evse["uid"],
        "connector_id": connector["id"], "connector_standard": connector["standard"],
        "connector_format": connector["format"], "connector_power_type": connector["power_type"],
    }  # fmt: skip


def _token(
    record: dict[str, Any], location: dict[str, Any], token: dict[str, Any] | None
) -> dict[str, Any]:
    """The CdrToken. One of our own is named as the signed string names its user, which is never a
    bank card's number; our party stands for the provider."""
    if token is not None:
        return {
            name: token[name] for name in ("country_code", "party_id", "uid", "type", "contract_id")
        }
    _, meant, _ = record_check.parse_ocmf(record["ocmf"])
    uid = meant["ID"] if is_cistring(meant["ID"], 36) else record["id"]
    return {
        "country_code": location["country_code"], "party_id": location["party_id"], "uid": uid,
        "type": _TOKEN_TYPES[record["auth"]["method"]], "contract_id": uid,
    }  # fmt: skip


def _is_reference(ref: str | None) -> bool:
    """Whether it may stand in a CDR: not a longer one of ours, nor what looks like a card number
    (ISO/IEC 7812)."""
    return is_cistring(ref, 36) and not (ref is not None and ref.isdigit() and 12 <= len(ref) <= 19)


def _signed_data(ocmf: str, key: PublicKey) -> dict[str, Any]:
    """One value, as one string was signed, at the end: both readings are in it.

    plain_data: these readings as they stand in the string. As a whole it is longer than the 512
    characters that the first editions of 2.2.1 allow there."""
    readings = ocmf.split("|")[1].partition('"RD":')[2][:-1]
    return {
        "encoding_method": "OCMF",
        "public_key": base64.b64encode(key.spki).decode(),
        "signed_values": [{
            "nature": "End", "plain_data": readings,
            "signed_data": base64.b64encode(ocmf.encode()).decode(),
        }],
    }  # fmt: skip


def _periods(record: dict[str, Any], tariff_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"start_date_time": period["start_date_time"], "dimensions": []}
        for period in record["charging_periods"]
    ]
    parking = half_up(record["total_parking_time_ms"] * _MS, _UNIT_NANO["TIME"])
    most = {
        "ENERGY": record["total_energy_wh"] * 10,
        "TIME": _total_time(record) - parking,  # as whoever subtracts them finds it
        "PARKING_TIME": parking,
    }
    measured = {"ENERGY": record["total_energy_wh"] * reprice.NANO,
                "TIME": record["total_time_ms"] * _MS,
                "PARKING_TIME": record["total_parking_time_ms"] * _MS}  # fmt: skip
    for kind, unit in _UNIT_NANO.items():
        volumes = _measured(record, kind, measured.get(kind))
        so_far = shown = 0
        for i, nano in volumes:
            so_far += nano
            until = half_up(so_far, unit)
            if kind in most:
                until = min(until, most[kind])
            found[i]["dimensions"].append({"type": kind, "volume": number(until - shown, 4)})
            shown = until
    if not found or found[0]["start_date_time"] > record["start_date_time"]:
        # What was free and without energy does not stand in a record.
        found.insert(0, {"start_date_time": record["start_date_time"], "dimensions": []})
    for period in found:
        if not period["dimensions"]:  # a fee alone, or that: all energy is in the others
            period["dimensions"].append({"type": "ENERGY", "volume": 0})
        period["tariff_id"] = tariff_id
    return found


def _measured(
    record: dict[str, Any], kind: str, total_nano: int | None
) -> list[tuple[int, int]]:
    """(period's index, volume in 1e-9 Wh or s) of the lines of a kind, without what a step size put
    on the last of them, as far as the total tells."""
    lines = [
        (i, line, reprice.volume_nano(line))
        for i, period in enumerate(record["charging_periods"])
        for line in period["dimensions"] if line["type"] == kind
    ]  # fmt: skip
    volumes = [nano for _, _, nano in lines]
    extra = 0 if total_nano is None else sum(volumes) - total_nano
    if extra > 0:
        priced = [n for n, (_, line, nano) in enumerate(lines)
                  if nano >= extra and (line["price_micro"] or line["vat_ppm"] is not None)]
        fitting = priced or [n for n, nano in enumerate(volumes) if nano >= extra]
        if fitting:
            volumes[fitting[-1]] -= extra
    return [(i, nano) for (i, _, _), nano in zip(lines, volumes, strict=True)]


def _costs(
    cdr: dict[str, Any], record: dict[str, Any], billed_minor: int | None
) -> list[tuple[str, int, int]]:
    """Adds total_cost and its parts; (type, excl, incl) of what moved the total, in minor units."""
    digits = minor_digits(record["currency"])
    sums = dict.fromkeys(PARTS.values(), (0, 0))
    adjustments = []
    for period in record["charging_periods"]:
        for line in period["dimensions"]:
            excl, incl = line["excl_minor"], line["incl_minor"]
            if line["type"] in PARTS:
                before = sums[PARTS[line["type"]]]
                sums[PARTS[line["type"]]] = (before[0] + excl, before[1] + incl)
            else:
                adjustments.append((line["type"], excl, incl))
    excl, incl = record["total_cost"]["excl_minor"], record["total_cost"]["incl_minor"]
    if "free" in record["flags"]:
        billed_minor = 0
    if billed_minor is not None and billed_minor < incl:
        net = half_up(excl * billed_minor, incl) if incl else billed_minor
        adjustments.append(("CORRECTION", net - excl, billed_minor - incl))
        excl, incl = net, billed_minor
    cdr["total_cost"] = _price(excl, incl, digits)
    cdr |= {part: _price(*both, digits) for part, both in sums.items()}
    return adjustments


def _totals(cdr: dict[str, Any], record: dict[str, Any]) -> None:
    cdr["total_energy"] = number(record["total_energy_wh"], 3)
    cdr["total_time"] = number(_total_time(record), 4)
    parking = half_up(record["total_parking_time_ms"] * _MS, _UNIT_NANO["TIME"])
    cdr["total_parking_time"] = number(parking, 4)


def _total_time(record: dict[str, Any]) -> int:
    """1e-4 h of charging and of standing without: OCPI's total_time holds both."""
    ms = record["total_time_ms"] + record["total_parking_time_ms"]
    return half_up(ms * _MS, _UNIT_NANO["TIME"])


def _remark(record: dict[str, Any], adjustments: list[tuple[str, int, int]]) -> str:
    """What moved the total, why it ended, and of what else is to be known as much as fits."""
    currency = record["currency"]
    said = [
        f"{kind}: {_signed(excl, currency)} excl. VAT, {_signed(incl, currency)} incl. VAT."
        for kind, excl, incl in adjustments
    ]
    more = [f"Ended: {words.STOP_REASONS[record['stop_reason']]}."]
    more += [f"Amends {record['amends']}."] if record["amends"] else []
    for sentence in [*more, *(words.FLAGS[flag] for flag in record["flags"])]:
        if len(" ".join([*said, sentence])) <= _REMARK_MAX:
            said.append(sentence)
    return " ".join(said)


def _signed(minor: int, currency: str) -> str:
    text = amounts.money(minor, currency).replace("\N{NARROW NO-BREAK SPACE}", "")
    return text if minor < 0 else f"+{text}"


def _price(excl_minor: int, incl_minor: int, digits: int) -> dict[str, int | float]:
    return {"excl_vat": number(excl_minor, digits), "incl_vat": number(incl_minor, digits)}


def number(n: int, places: int) -> int | float:
    """n / 10^places. Raises CdrError for more digits than a float holds exactly."""
    if abs(n) >= 10**15:
        raise CdrError(f"{n} / 10^{places}: too many digits for a JSON number")
    whole, rest = divmod(n, 10**places)
    return float(Decimal(n).scaleb(-places)) if rest else whole
