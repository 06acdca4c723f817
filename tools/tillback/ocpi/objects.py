"""OCPI 2.2.1's objects, as the tables of its document have them, and what is wrong with one.

Source: the 2.2.1 text with its corrections (mod_cdrs 1.3 and 1.4, mod_locations 8.3 and 8.4,
mod_tariffs 11.3 and 11.4, mod_tokens 12.3 and 12.4, types 17). A property is its cardinality (1, ?,
* or +) and its type. Only what evtill reads or writes stands here; other properties are let
pass."""

import math
import re
from typing import Any

_ENUMS = {
    "AuthMethod": "AUTH_REQUEST COMMAND WHITELIST",
    "CdrDimensionType": "ENERGY MAX_CURRENT MIN_CURRENT MAX_POWER MIN_POWER PARKING_TIME "
    "RESERVATION_TIME TIME",  # those that a CDR may have, not a Session
    "ConnectorFormat": "SOCKET CABLE",
    "ConnectorType": "CHADEMO CHAOJI DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E "
    "DOMESTIC_F DOMESTIC_G DOMESTIC_H DOMESTIC_I DOMESTIC_J DOMESTIC_K DOMESTIC_L DOMESTIC_M "
    "DOMESTIC_N DOMESTIC_O GBT_AC GBT_DC IEC_60309_2_single_16 IEC_60309_2_three_16 "
    "IEC_60309_2_three_32 IEC_60309_2_three_64 IEC_62196_T1 IEC_62196_T1_COMBO IEC_62196_T2 "
    "IEC_62196_T2_COMBO IEC_62196_T3A IEC_62196_T3C NEMA_5_20 NEMA_6_30 NEMA_6_50 NEMA_10_30 "
    "NEMA_10_50 NEMA_14_30 NEMA_14_50 PANTOGRAPH_BOTTOM_UP PANTOGRAPH_TOP_DOWN TESLA_R TESLA_S",
    "DayOfWeek": "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY",
    "EnergySourceCategory": "NUCLEAR GENERAL_FOSSIL COAL GAS GENERAL_GREEN SOLAR WIND WATER",
    "EnvironmentalImpactCategory": "NUCLEAR_WASTE CARBON_DIOXIDE",
    "PowerType": "AC_1_PHASE AC_2_PHASE AC_2_PHASE_SPLIT AC_3_PHASE DC",
    "ReservationRestrictionType": "RESERVATION RESERVATION_EXPIRES",
    "TariffDimensionType": "ENERGY FLAT PARKING_TIME TIME",
    "TariffType": "AD_HOC_PAYMENT PROFILE_CHEAP PROFILE_FAST PROFILE_GREEN REGULAR",
    "TokenType": "AD_HOC_USER APP_USER OTHER RFID",
    "WhitelistType": "ALWAYS ALLOWED ALLOWED_OFFLINE NEVER",
}

CLASSES = {
    "CDR": {
        "country_code": "1 Country", "party_id": "1 Party", "id": "1 CiString(39)",
        "start_date_time": "1 DateTime", "end_date_time": "1 DateTime",
        "session_id": "? CiString(36)", "cdr_token": "1 CdrToken", "auth_method": "1 AuthMethod",
        "authorization_reference": "? CiString(36)", "cdr_location": "1 CdrLocation",
        "meter_id": "? string(255)", "currency": "1 Currency", "tariffs": "* Tariff",
        "charging_periods": "+ ChargingPeriod", "signed_data": "? SignedData",
        "total_cost": "1 Price", "total_fixed_cost": "? Price", "total_energy": "1 number",
        "total_energy_cost": "? Price", "total_time": "1 number", "total_time_cost": "? Price",
        "total_parking_time": "? number", "total_parking_cost": "? Price",
        "total_reservation_cost": "? Price", "remark": "? string(255)",
        "invoice_reference_id": "? CiString(39)", "credit": "? boolean",
        "credit_reference_id": "? CiString(39)", "home_charging_compensation": "? boolean",
        "last_updated": "1 DateTime",
    },
    "CdrToken": {
        "country_code": "1 Country", "party_id": "1 Party", "uid": "1 CiString(36)",
        "type": "1 TokenType", "contract_id": "1 CiString(36)",
    },
    "CdrLocation": {
        "id": "1 CiString(36)", "name": "? string(255)", "address": "1 string(45)",
        "city": "1 string(45)", "postal_code": "? string(10)", "state": "? string(20)",
        "country": "1 Country3", "coordinates": "1 GeoLocation", "evse_uid": "1 CiString(36)",
        "evse_id": "1 CiString(48)", "connector_id": "1 CiString(36)",
        "connector_standard": "1 ConnectorType", "connector_format": "1 ConnectorFormat",
        "connector_power_type": "1 PowerType",
    },
    "ChargingPeriod": {
        "start_date_time": "1 DateTime", "dimensions": "+ CdrDimension",
        "tariff_id": "? CiString(36)",
    },
    "CdrDimension": {"type": "1 CdrDimensionType", "volume": "1 number"},
    "SignedData": {
        "encoding_method": "1 CiString(36)", "encoding_method_version": "? int",
        "public_key": "? string(512)", "signed_values": "+ SignedValue", "url": "? string(512)",
    },
    "SignedValue": {
        "nature": "1 CiString(32)", "plain_data": "1 string(5000)",
        "signed_data": "1 string(5000)",
    },
    "Price": {"excl_vat": "1 number", "incl_vat": "? number"},
    "GeoLocation": {"latitude": "1 Latitude", "longitude": "1 Longitude"},
    "Location": {
        "country_code": "1 Country", "party_id": "1 Party", "id": "1 CiString(36)",
        "publish": "1 boolean", "name": "? string(255)", "address": "1 string(255)",
        "city": "1 string(45)", "postal_code": "? string(10)", "state": "? string(45)",
        "country": "1 Country3", "coordinates": "1 GeoLocation", "evses": "+ EVSE",
        "time_zone": "1 string(255)", "last_updated": "1 DateTime",
    },
    "EVSE": {
        "uid": "1 CiString(36)", "evse_id": "? CiString(48)", "connectors": "+ Connector",
        "last_updated": "1 DateTime",
    },
    "Connector": {
        "id": "1 CiString(36)", "standard": "1 ConnectorType", "format": "1 ConnectorFormat",
        "power_type": "1 PowerType", "max_voltage": "1 int", "max_amperage": "1 int",
        "max_electric_power": "? int", "last_updated": "1 DateTime",
    },
    "Tariff": {
        "country_code": "1 Country", "party_id": "1 Party", "id": "1 CiString(36)",
        "currency": "1 Currency", "type": "? TariffType", "tariff_alt_text": "* DisplayText",
        "tariff_alt_url": "? string(255)", "min_price": "? Price", "max_price": "? Price",
        "elements": "+ TariffElement", "start_date_time": "? DateTime",
        "end_date_time": "? DateTime", "energy_mix": "? EnergyMix", "last_updated": "1 DateTime",
    },
    "DisplayText": {"language": "1 string(2)", "text": "1 string(512)"},
    "EnergyMix": {
        "is_green_energy": "1 boolean", "energy_sources": "* EnergySource",
        "environ_impact": "* EnvironmentalImpact", "supplier_name": "? string(64)",
        "energy_product_name": "? string(64)",
    },
    "EnergySource": {"source": "1 EnergySourceCategory", "percentage": "1 number"},
    "EnvironmentalImpact": {"category": "1 EnvironmentalImpactCategory", "amount": "1 number"},
    "TariffElement": {
        "price_components": "+ PriceComponent", "restrictions": "? TariffRestrictions",
    },
    "PriceComponent": {
        "type": "1 TariffDimensionType", "price": "1 number", "vat": "? number",
        "step_size": "1 int",
    },
    "TariffRestrictions": {
        "start_time": "? string(5)", "end_time": "? string(5)", "start_date": "? string(10)",
        "end_date": "? string(10)", "min_kwh": "? number", "max_kwh": "? number",
        "min_current": "? number", "max_current": "? number", "min_power": "? number",
        "max_power": "? number", "min_duration": "? int", "max_duration": "? int",
        "day_of_week": "* DayOfWeek", "reservation": "? ReservationRestrictionType",
    },
    "Token": {
        "country_code": "1 Country", "party_id": "1 Party", "uid": "1 CiString(36)",
        "type": "1 TokenType", "contract_id": "1 CiString(36)", "visual_number": "? string(64)",
        "issuer": "1 string(64)", "group_id": "? CiString(36)", "valid": "1 boolean",
        "whitelist": "1 WhitelistType", "language": "? string(2)", "last_updated": "1 DateTime",
    },
}  # fmt: skip

_PATTERNS = {
    "Country": "[A-Za-z]{2}",  # ISO 3166-1 alpha-2
    "Country3": "[A-Z]{3}",
    "Currency": "[A-Z]{3}",
    "DateTime": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])(:[0-5]\d){2}"
    r"(\.\d{1,4})?Z?",  # as string(25)
    "Latitude": r"-?[0-9]{1,2}\.[0-9]{5,7}",
    "Longitude": r"-?[0-9]{1,3}\.[0-9]{5,7}",
    "Party": "[A-Za-z0-9]{3}",
}  # fmt: skip


def faults(kind: str, value: Any, where: str = "") -> list[str]:
    """What is wrong with `value` as an OCPI object of class `kind` (of CLASSES), one line each with
    the property's path; nothing when it is as the document says."""
    if not isinstance(value, dict):
        return [f"{where.rstrip('.') or kind}: is not an object"]
    found = []
    for name, said in CLASSES[kind].items():
        cardinality, _, of = said.partition(" ")
        path, given = where + name, value.get(name)
        if given is None or (cardinality in "?*" and given in ("", [])):
            if cardinality in "1+":
                found.append(f"{path}: is missing")
        elif cardinality in "1?":
            found += _of(of, given, path)
        elif not isinstance(given, list):
            found.append(f"{path}: is not a list")
        elif not given:
            found.append(f"{path}: is empty")
        else:
            for i, one in enumerate(given):
                found += _of(of, one, f"{path}[{i}]")
    return found


def is_cistring(value: Any, most: int) -> bool:
    """Whether `value` is a CiString(most), and not an empty one."""
    return _is_string(value, most) and bool(value.isascii())


def _of(kind: str, value: Any, path: str) -> list[str]:
    if kind in CLASSES:
        return faults(kind, value, path + ".")
    name, _, size = kind.rstrip(")").partition("(")
    if name in _ENUMS:
        good = isinstance(value, str) and value in _ENUMS[name].split()
    elif name in _PATTERNS:
        good = isinstance(value, str) and re.fullmatch(_PATTERNS[name], value, re.ASCII) is not None
    elif size:
        good = (is_cistring if name == "CiString" else _is_string)(value, int(size))
    else:
        good = _SIMPLE[name](value)
    return [] if good else [f"{path}: {str(value)[:40]!a} is no {kind}"]


def _is_string(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


_SIMPLE = {
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int,
    "number": lambda value: type(value) is int or (type(value) is float and math.isfinite(value)),
}
