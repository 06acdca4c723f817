"""What is wrong with a CDR: every field as OCPI 2.2.1 wants it, and every sum.

It knows nothing of how a CDR is made: what it finds contradictory was made wrong."""

import base64
import binascii
import re
from collections import defaultdict
from decimal import Decimal
from typing import Any

from tillback.ocpi.objects import CLASSES, faults

_PARTS = ("total_fixed_cost", "total_energy_cost", "total_time_cost", "total_parking_cost",
          "total_reservation_cost")  # fmt: skip
# How a remark says what moved the total away from its parts.
_MOVED = re.compile(
    r"\b(MIN_PRICE|MAX_PRICE|CEILING|CORRECTION): ([+-][\d.]+) [A-Z]{3} excl\. VAT, "
    r"([+-][\d.]+) [A-Z]{3} incl\. VAT\."
)
_DECIMALS = 4  # types 17.8: unless mentioned otherwise


def cdr_faults(cdr: Any) -> list[str]:
    """What is wrong with a CDR of ours, one line each; nothing when all of it holds."""
    found = faults("CDR", cdr)
    if found:
        return found
    unknown = sorted(set(cdr) - set(CLASSES["CDR"]))
    return [
        *(f"{name}: is no property of a CDR" for name in unknown), *_identity(cdr), *_times(cdr),
        *_numbers(cdr), *_volumes(cdr), *_costs(cdr), *_signed_data(cdr),
    ]  # fmt: skip


def _identity(cdr: dict[str, Any]) -> list[str]:
    found = []
    credit = bool(cdr.get("credit"))
    if credit != ("credit_reference_id" in cdr):
        found.append("credit: and credit_reference_id stand together or not at all")
    if not credit and len(cdr["id"]) > 36:
        found.append("id: of a CDR that is no Credit CDR has at most 36 characters")
    if credit and cdr["id"].lower() == cdr.get("credit_reference_id", "").lower():
        found.append("id: a Credit CDR needs one of its own")
    if "session_id" not in cdr and (cdr["total_energy"] or cdr["total_time"]):
        found.append("session_id: only a reservation that came to no session is without")
    tariffs = {tariff["id"].lower(): tariff for tariff in cdr.get("tariffs", [])}
    for i, period in enumerate(cdr["charging_periods"]):
        if tariffs and period.get("tariff_id", "").lower() not in tariffs:
            found.append(f"charging_periods[{i}].tariff_id: is none of the tariffs")
    for tariff in tariffs.values():
        if tariff["currency"] != cdr["currency"]:
            found.append("tariffs: in another currency than the CDR")
    return found


def _times(cdr: dict[str, Any]) -> list[str]:
    starts = [period["start_date_time"] for period in cdr["charging_periods"]]
    in_order = [cdr["start_date_time"], *starts, cdr["end_date_time"]]
    found = []
    if in_order != sorted(in_order):
        found.append("charging_periods: not in order between start and end")
    if starts[0] != cdr["start_date_time"]:
        found.append("charging_periods: the first does not begin with the session")
    return found


def _numbers(cdr: dict[str, Any]) -> list[str]:
    """Four decimals in all but the tariffs, which are as they were published."""
    found = []

    def look(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                look(one, f"{path}.{name}")
        elif isinstance(value, list):
            for i, one in enumerate(value):
                look(one, f"{path}[{i}]")
        elif isinstance(value, float) and -(_exponent(value)) > _DECIMALS:
            found.append(f"{path[1:]}: has more than {_DECIMALS} decimals")

    look({name: value for name, value in cdr.items() if name != "tariffs"}, "")
    for path in ("total_energy", "total_time", "total_parking_time"):
        if cdr.get(path, 0) < 0:
            found.append(f"{path}: is negative")
    return found


def _exponent(value: float) -> int:
    return int(_exact(value).as_tuple().exponent)


def _volumes(cdr: dict[str, Any]) -> list[str]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    found = []
    for i, period in enumerate(cdr["charging_periods"]):
        kinds = [dimension["type"] for dimension in period["dimensions"]]
        if len(set(kinds)) != len(kinds):
            found.append(f"charging_periods[{i}].dimensions: a type stands twice")
        for dimension in period["dimensions"]:
            kind, volume = dimension["type"], _exact(dimension["volume"])
            sums[kind] += volume
            if volume < 0:
                found.append(f"charging_periods[{i}]: {kind} is negative")
    total, parking = _exact(cdr["total_time"]), _exact(cdr.get("total_parking_time", 0))
    energy = _exact(cdr["total_energy"])
    if sums["ENERGY"] != energy:
        found.append(f"total_energy: is {energy}, the periods have {sums['ENERGY']}")
    for kind, most, name in (
        ("TIME", total - parking, "total_time less total_parking_time"),
        ("PARKING_TIME", parking, "total_parking_time"),
    ):  # free time need not stand in a period
        if sums[kind] > most:
            found.append(f"charging_periods: {kind} is {sums[kind]}, {name} {most}")
    if parking > total:
        found.append("total_parking_time: is more than total_time")
    return found


def _costs(cdr: dict[str, Any]) -> list[str]:
    found = []
    factor = -1 if cdr.get("credit") else 1
    moved = _MOVED.findall(cdr.get("remark", ""))
    for at, side in ((1, "excl_vat"), (2, "incl_vat")):
        prices = [cdr[part] for part in _PARTS if part in cdr]
        if any(side not in price for price in [*prices, cdr["total_cost"]]):
            found.append(f"{side}: stands in some of the costs only")
            continue
        parts = sum((_exact(price[side]) for price in prices), Decimal(0))
        by = sum((Decimal(one[at]) for one in moved), Decimal(0))
        total = factor * _exact(cdr["total_cost"][side])
        if parts + by != total:
            found.append(f"total_cost.{side}: is {total}, its parts and what moved it {parts + by}")
    for kind, *by_side in moved:
        raised = [Decimal(one) for one in by_side]
        # The two sides are clamped apart: what raises one may lower the other.
        if max(raised) < 0 if kind == "MIN_PRICE" else max(raised) > 0:
            found.append(f"remark: {kind} moves the total the wrong way")
    return found


def _signed_data(cdr: dict[str, Any]) -> list[str]:
    if "signed_data" not in cdr:
        return ["signed_data: is missing"]
    found = []
    signed = cdr["signed_data"]
    for i, value in enumerate(signed["signed_values"]):
        path = f"signed_data.signed_values[{i}]"
        if value["nature"] not in ("Start", "End", "Intermediate"):
            found.append(f"{path}.nature: is none of OCPI's")
        plain = _base64(value["signed_data"])
        if plain is None:
            found.append(f"{path}.signed_data: is not base64")
        elif value["plain_data"].encode() not in plain:
            found.append(f"{path}.plain_data: is not what was signed")
        elif signed["encoding_method"] == "OCMF" and not plain.startswith(b"OCMF|{"):
            found.append(f"{path}.signed_data: is no OCMF string")
    if _base64(signed.get("public_key", "")) in (None, b""):
        found.append("signed_data.public_key: is not base64")
    return found


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _exact(value: int | float) -> Decimal:
    return Decimal(str(value))
