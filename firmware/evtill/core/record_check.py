"""Reads what record.py, ocmf.py and key_rotation.py write, and refuses everything else: for
whoever verifies."""

import json
from binascii import unhexlify

from evtill.core import record
from evtill.core.crypto.der import spki_decode
from evtill.core.errors import RecordError
from evtill.core.jws import thumbprint
from evtill.core.text import civil, quote

_printable = getattr(str, "isprintable", None)  # says it of most text at once; no board's has it
_PAYLOAD_MAX = 24576  # bytes: what fits an envelope of core.jws
_MAX = (1 << 53) - 1  # what every JSON reader holds exactly
_DECIMAL = "0123456789"
_HEX = "0123456789abcdef"
_METHODS = ("rfid", "app", "card", "wallet", "prepaid", "terminal")
_ASSURANCES = ("uid", "aes", "app", "card")
_AUTH_METHODS = ("AUTH_REQUEST", "COMMAND", "WHITELIST")  # OCPI 2.2.1, mod_cdrs 1.4.1
DIMENSIONS = ("ENERGY", "TIME", "PARKING_TIME", "FLAT", "RESERVATION_TIME", "RESERVATION_FLAT",
              "MIN_PRICE", "MAX_PRICE", "CEILING")  # fmt: skip


def parse(payload):
    """The record in `payload` (bytes) as a dict of the shape in record.py, every field checked.

    Raises RecordError with the key at fault. Says nothing of signatures or sums."""
    found = _object(payload, _PAYLOAD_MAX)
    spec = _RECORD
    if "meter_ocmf" in found:  # of meters that sign
        spec = dict(_RECORD)
        spec["meter_ocmf"] = (_is_text, 16, 2048)
    _fields(found, "", spec)
    if found["id"] != "%s-%d" % (found["charger"], found["seq"]):
        raise RecordError("record: id is not charger-seq")
    if found["meter"]["end_wh"] < found["meter"]["start_wh"]:
        raise RecordError("record: meter.end_wh is below start_wh")
    if found["end_date_time"] < found["start_date_time"]:
        raise RecordError("record: end_date_time is before the start")
    last = ""  # a reservation's periods are before the start
    for period in found["charging_periods"]:
        if not last <= period["start_date_time"] <= found["end_date_time"]:
            raise RecordError("record: charging_periods are not in order of time")
        last = period["start_date_time"]
    return found


def parse_rotation(payload):
    """The key rotation in `payload` (bytes) as a dict, every field checked, with the new key's
    `point` (x, y) besides. Raises RecordError, SignatureError."""
    found = _object(payload, 1024)
    _fields(found, "", _ROTATION)
    public_key = found["public_key"]
    found["point"] = spki_decode(unhexlify(public_key))
    if thumbprint(found["point"]) != found["kid"]:
        raise RecordError("record: kid is not the thumbprint of public_key")
    return found


def unix_s(stamp):
    """Unix seconds of `YYYY-MM-DDThh:mm:ssZ`. Raises RecordError unless exactly that."""
    if len(stamp) != 20:
        raise RecordError("record: not a UTC time: " + quote(stamp[:32]))
    seconds = civil_s(stamp[:19])
    if stamp[19] != "Z":
        raise RecordError("record: not a UTC time: " + quote(stamp[:32]))
    return seconds


def civil_s(stamp):
    """Seconds since 1970 of the civil time `YYYY-MM-DDThh:mm:ss`; the inverse of text.civil."""
    try:
        year, month, day = int(stamp[:4]), int(stamp[5:7]), int(stamp[8:10])
        clock = int(stamp[11:13]) * 3600 + int(stamp[14:16]) * 60 + int(stamp[17:19])
    except ValueError:
        raise RecordError("record: not a time: " + quote(stamp[:32])) from None
    if month < 3:
        year -= 1
        month += 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day
    seconds = (days - 719469) * 86400 + clock
    if civil(seconds) != stamp:
        raise RecordError("record: not a time: " + quote(stamp[:32]))
    return seconds


def parse_ocmf(text):
    """(body bytes, payload dict, DER signature bytes) of a complete OCMF string of ours.

    Each reading in the payload's RD has two keys more: `unix_s` and `wh`. Raises RecordError."""
    parts = text.split("|")
    if len(parts) != 3 or parts[0] != "OCMF":
        raise RecordError("ocmf: not OCMF|{...}|{...}")
    body = parts[1].encode()
    found = _object(body, _PAYLOAD_MAX, _loads_decimal)
    # No parser reads a decimal exactly everywhere. Within a string the quotes would be escaped.
    literals = parts[1].split('"RV":')[1:]
    seal = _object(parts[2].encode(), 512)
    if sorted(seal) != ["SA", "SD"] or seal["SA"] != "ECDSA-secp256r1-SHA256":
        raise RecordError("ocmf: signature section: want SA ECDSA-secp256r1-SHA256 and SD")
    sd = seal["SD"]
    if not _is_text(sd, 16, 144) or sd.strip(_HEX) or len(sd) % 2:
        raise RecordError("ocmf: SD is not lowercase hex")
    spec = dict(_OCMF)
    for key in ("MV", "MF"):  # for meters that say so
        if key in found:
            spec[key] = (_is_text, 1, 64)
    _fields(found, "", spec)
    if len(literals) != 2:
        raise RecordError("ocmf: RV does not stand once in each reading")
    if [reading["TX"] for reading in found["RD"]][:1] != ["B"]:
        raise RecordError("ocmf: the first reading is not the begin (TX B)")
    for reading, literal in zip(found["RD"], literals):
        reading["unix_s"] = _ocmf_time(reading["TM"])
        reading["wh"] = _register(literal.split(",")[0])
    return body, found, unhexlify(sd)


def _ocmf_time(stamp):
    """Unix seconds of `2026-03-02T08:14:05,000+0100 S` (OCMF 1.3, table 7, TM)."""
    zone = stamp[23:28]
    if len(stamp) != 30 or stamp[19:23] != ",000" or zone[0] not in "+-" or stamp[28] != " ":
        raise RecordError("ocmf: TM is not a time: " + quote(stamp[:32]))
    if zone[1:].strip(_DECIMAL) or stamp[29] not in "UISR":
        raise RecordError("ocmf: TM is not a time: " + quote(stamp[:32]))
    offset = (int(zone[1:3]) * 60 + int(zone[3:])) * (-60 if zone[0] == "-" else 60)
    return civil_s(stamp[:19]) - offset


def _register(literal):
    """Watt-hours of a reading's literal in kWh: exactly three decimals, read without floats."""
    whole, _, decimals = literal.partition(".")
    if len(decimals) != 3 or (whole + decimals).strip(_DECIMAL):
        raise RecordError("ocmf: RV is not a number with three decimals")
    return int(whole + decimals)


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RecordError("record: a key stands twice")
    return found


def _refuse(literal):
    raise RecordError("record: %s is not an integer" % literal[:32])


def _reader(decimal):
    """json.loads with hooks, made once; MicroPython's has none."""
    if not hasattr(json, "JSONDecoder"):
        return json.loads
    return json.JSONDecoder(
        object_pairs_hook=_unique, parse_float=decimal, parse_constant=_refuse
    ).decode


_loads, _loads_decimal = _reader(_refuse), _reader(float)


def _object(data, most, loads=_loads):
    """The JSON object in `data`; no key twice, no floats (CPython; the board's json cannot say)."""
    if len(data) > most:
        raise RecordError("record: longer than %d bytes" % most)
    try:
        text = str(data, "ascii")
    except (UnicodeError, ValueError):
        raise RecordError("record: not ASCII") from None
    try:
        found = loads(text)
    except (ValueError, RuntimeError):  # the latter: nested too deeply
        raise RecordError("record: not JSON") from None
    if not isinstance(found, dict):
        raise RecordError("record: not a JSON object")
    return found


def _fields(found, where, spec):
    """Checks the dict `found` against `spec`: {key: (check, *arguments)}; nothing more or less."""
    if not isinstance(found, dict):
        raise RecordError("record: %s is not an object" % where.rstrip("."))
    if len(found) != len(spec):
        _unknown(found, where, spec)
    for key, rule in spec.items():
        if key not in found:
            _unknown(found, where, spec)
            raise RecordError("record: %s%s is missing" % (where, key))
        if isinstance(rule, dict):
            _fields(found[key], where + key + ".", rule)
        elif not rule[0](found[key], *rule[1:]):
            raise RecordError("record: %s%s is not %s" % (where, key, _WANTED[rule[0]]))


def _unknown(found, where, spec):
    for key in found:
        if key not in spec:
            raise RecordError("record: unknown key %s%s" % (where, quote(str(key)[:32])))


def _is_int(value, least=0, most=_MAX):
    return type(value) is int and least <= value <= most


def _is_int_or_null(value, least=0, most=_MAX):
    return value is None or _is_int(value, least, most)


def _is_text(value, least, most):
    """Of a length, and fit for a terminal and a database: no control characters, no half pairs."""
    if not isinstance(value, str) or not least <= len(value) <= most:
        return False
    if _printable is not None and _printable(value):
        return True
    for c in value:
        if c < " " or "\x7f" <= c < "\xa0" or 0xD800 <= ord(c) < 0xE000:
            return False
    return True


def _is_text_or_null(value, least, most):
    return value is None or _is_text(value, least, most)


def _is_hex(value, length):
    return _is_text(value, length, length) and not value.strip(_HEX)


def _is_hex_or_null(value, length):
    return value is None or _is_hex(value, length)


def _is_one_of(value, names):
    return isinstance(value, str) and value in names


def _is_set_of(value, names):
    return (
        isinstance(value, list) and len(value) <= len(names)
        and all([_is_one_of(one, names) for one in value]) and len(set(value)) == len(value)
    )  # fmt: skip


def _is_stamp(value):
    if not isinstance(value, str):
        return False
    try:
        unix_s(value)
    except RecordError:
        return False
    return True


def _is_upper(value, length):
    return _is_text(value, length, length) and all(["A" <= c <= "Z" for c in value])


def _is_exact(value):
    """A decimal number in a string: `6.04905`, `-0.5`."""
    if not _is_text(value, 1, 40):
        return False
    digits = value[1:] if value[0] == "-" else value
    whole, point, decimals = digits.partition(".")
    return bool(whole) and not (whole + decimals).strip(_DECIMAL) and bool(decimals) == bool(point)


def _is_periods(value):
    if not isinstance(value, list) or len(value) > 200:
        return False
    for period in value:
        _fields(period, "charging_periods.", _PERIOD)
    return True


def _is_dimensions(value):
    if not isinstance(value, list) or len(value) > 20:
        return False
    for dimension in value:
        where = "charging_periods.dimensions."
        if not isinstance(dimension, dict) or dimension.get("type") not in DIMENSIONS:
            raise RecordError("record: %stype is not a known one" % where)
        spec = dict(_DIMENSION)
        spec[record._VOLUMES.get(dimension["type"], "volume")] = (_is_int,)
        if "rest_nano" in dimension:
            spec["rest_nano"] = (_is_int, 1, 999999999)
        if "vat_ppb" in dimension:
            spec["vat_ppb"] = (_is_int, 1, 1000000000)
            if dimension["vat_ppm"] != dimension["vat_ppb"] // 1000:
                raise RecordError("record: %svat_ppb is not vat_ppm's" % where)
        _fields(dimension, where, spec)
    return True


def _is_readings(value):
    if not isinstance(value, list) or len(value) != 2:
        return False
    for reading in value:
        _fields(reading, "RD.", _READING)
    return True


def _is_flags(value):
    return isinstance(value, list) and len(value) <= 4 and all([_is_text(v, 1, 16) for v in value])


def _is_true_or_false(value):
    return value is True or value is False


def _is_pagination(value):
    return (
        _is_text(value, 2, 20) and value[0] == "T" and not value[1:].strip(_DECIMAL)
        and (value[1] != "0" or len(value) == 2)
    )  # fmt: skip


def _is_decimal(value):
    return isinstance(value, float)


def _is_exactly(value, wanted):
    return value == wanted


_WANTED = {
    _is_int: "an integer in its range", _is_int_or_null: "an integer in its range or null",
    _is_text: "a string of its length", _is_text_or_null: "a string of its length or null",
    _is_hex: "lowercase hex of its length", _is_hex_or_null: "lowercase hex of its length or null",
    _is_one_of: "a known name", _is_set_of: "a list of different known names",
    _is_stamp: "a UTC time", _is_upper: "capital letters", _is_exact: "a decimal number",
    _is_periods: "a list of at most 200", _is_dimensions: "a list of at most 20",
    _is_readings: "a list of two readings", _is_flags: "a list of at most 4",
    _is_true_or_false: "true or false",
    _is_decimal: "a decimal number", _is_pagination: "T and a number", _is_exactly: "as wanted",
}  # fmt: skip

_MINOR = (_is_int, -_MAX, _MAX)
_DIMENSION = {
    "type": (_is_one_of, DIMENSIONS), "price_micro": _MINOR,
    "vat_ppm": (_is_int_or_null, 0, 1000000), "excl_minor": _MINOR, "incl_minor": _MINOR,
}  # fmt: skip
_PERIOD = {"start_date_time": (_is_stamp,), "dimensions": (_is_dimensions,)}
_RECORD = {
    "id": (_is_text, 3, 36), "seq": (_is_int, 1), "prev": (_is_hex, 64),
    "charger": (_is_text, 1, 34), "firmware": (_is_text, 1, 32), "boot": (_is_int,),
    "start_date_time": (_is_stamp,), "end_date_time": (_is_stamp,),
    "clock": {
        "start": (_is_one_of, ("U", "I", "S", "R")), "end": (_is_one_of, ("U", "I", "S", "R")),
        "duration_ms": (_is_int,),
    },
    "auth_method": (_is_one_of, _AUTH_METHODS),
    "auth": {
        "method": (_is_one_of, _METHODS), "token": (_is_hex_or_null, 16),
        "assurance": (_is_one_of, _ASSURANCES), "ref": (_is_text_or_null, 1, 64),
        "ceiling_minor": (_is_int_or_null,),
    },
    "meter": {
        "model": (_is_text, 1, 32), "serial": (_is_text, 1, 32), "start_wh": (_is_int,),
        "end_wh": (_is_int,),
    },
    "tariff": {"id": (_is_text, 1, 36), "sha256": (_is_hex, 64)},
    "currency": (_is_upper, 3), "charging_periods": (_is_periods,),
    "total_energy_wh": (_is_int,), "total_time_ms": (_is_int,), "total_parking_time_ms": (_is_int,),
    "total_cost": {"excl_minor": _MINOR, "incl_minor": _MINOR, "exact_excl": (_is_exact,)},
    "stop_reason": (_is_one_of, record.STOP_REASONS.split()),
    "flags": (_is_set_of, record.FLAGS.split()),
    "amends": (_is_text_or_null, 3, 36), "ocmf": (_is_text, 16, 4096),
}  # fmt: skip
_ROTATION = {
    "charger": (_is_text, 1, 34), "seq": (_is_int, 1), "prev": (_is_hex, 64),
    "kid": (_is_text, 43, 43), "public_key": (_is_hex, 182),
}  # fmt: skip
_READING = {
    "TM": (_is_text, 30, 30), "TX": (_is_one_of, ("B", "E", "L", "R", "A", "P")),
    "RV": (_is_decimal,), "RI": (_is_exactly, "01-00:B0.08.00*FF"), "RU": (_is_exactly, "kWh"),
    "RT": (_is_one_of, ("AC", "DC")), "EF": (_is_exactly, ""), "ST": (_is_exactly, "G"),
}  # fmt: skip
_OCMF = {
    "FV": (_is_exactly, "1.3"), "GI": (_is_text, 1, 64), "GS": (_is_text, 1, 64),
    "GV": (_is_text, 1, 64), "PG": (_is_pagination,), "MM": (_is_text, 1, 64),
    "MS": (_is_text, 1, 64), "IS": (_is_true_or_false,), "IL": (_is_text, 1, 16),
    "IF": (_is_flags,), "IT": (_is_text, 1, 16),
    "ID": (_is_text, 0, 64), "TT": (_is_text, 0, 250), "CF": (_is_text, 0, 25),
    "CT": (_is_exactly, "EVSEID"), "CI": (_is_text, 1, 64), "RD": (_is_readings,),
}  # fmt: skip
