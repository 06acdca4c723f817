"""Makes and signs the usage record of a session that has ended: the OCMF string, then the JWS."""

from evtill.core import jws, ocmf, record
from evtill.core.crypto.hashes import sha256

FIRMWARE = "0.1.0"
# OCMF's end of transaction for each stop reason (OCMF 1.3, table 7); others are "E".
_TX = {
    "Local": "L", "Remote": "R", "PowerLoss": "P", "Reboot": "P",
    "MeterFault": "A", "TillFault": "A", "EmergencyStop": "A",
}  # fmt: skip


def make(config, identity, start, stop, pricer, bill):
    """(id, (header, payload, signature)) as the outbox takes them. start, stop: what the journal's
    frames say; bill: the pricer's. Raises SignatureError."""
    name = "%s-%d" % (config["charger_id"], start["seq"])
    facts = {
        "id": name, "seq": start["seq"], "prev": start["prev"],
        "charger": config["charger_id"], "firmware": FIRMWARE, "boot": start["boot"],
        "start_unix_s": pricer.start_ms // 1000, "end_unix_s": stop["end_ms"] // 1000,
        "clock_start": _start_letter(start, stop), "clock_end": stop["clock"],
        "duration_ms": stop["duration"],
        "auth_method": start.get("how", "WHITELIST"), "auth": start["auth"],
        "meter": {"model": config["meter_model"], "serial": start["serial"],
                  "start_wh": start["wh"], "end_wh": stop["wh"]},
        "tariff": {"id": pricer.tariff.id, "sha256": start["tariff"]},
        "currency": pricer.tariff.currency, "stop_reason": stop["reason"],
        "flags": stop["flags"], "amends": None,
        "ocmf": _ocmf(config, identity, start, stop, pricer),
        "meter_ocmf": stop.get("meter_ocmf"),
    }  # fmt: skip
    payload = record.build(facts, bill)
    facts = None  # the heap has better use for it now
    header = jws.es256_header(jws.USAGE, identity.kid)
    return name, (header, payload, jws.es256_signature(header, payload, identity.sign))


def _ocmf(config, identity, start, stop, pricer):
    tariff = pricer.tariff
    begin_s = pricer.start_ms // 1000
    end_s = stop["end_ms"] // 1000
    letter = _start_letter(start, stop)
    out = memoryview(bytearray(ocmf.MAX_BYTES))
    end = ocmf.build({
        "pagination": start["pg"], "charger": config["charger_id"], "firmware": FIRMWARE,
        "meter": {"vendor": config["meter_vendor"], "model": config["meter_model"].upper(),
                  "serial": start["serial"]},
        "auth": start["auth"], "tariff_text": words(tariff, pricer),
        "begin": (begin_s, _offset_s(tariff, begin_s, letter), letter, start["wh"]),
        "end": (end_s, _offset_s(tariff, end_s, stop["clock"]), stop["clock"], stop["wh"]),
        "tx": _TX.get(stop["reason"], "E"),
    }, out)  # fmt: skip
    r, s = identity.sign(sha256(out[ocmf.START : end]))
    return out[: ocmf.seal(out, end, r, s)]


def words(tariff, pricer):
    """The price in words, for OCMF's TT and whoever reads it."""
    parts = []
    for component, price_micro, vat_ppm, _ in pricer.price_now()[0]:
        unit = {"ENERGY": "/kWh", "TIME": "/h", "PARKING_TIME": "/h parked"}.get(component, "")
        parts.append("%s %s%s" % (decimal_text(price_micro, 6), tariff.currency, unit))
        if vat_ppm is not None:
            parts[-1] += " + %s%% VAT" % decimal_text(vat_ppm, 4)
    return tariff.id + ": " + (", ".join(parts) or "free")


def decimal_text(value, digits):
    """`value` / 10^digits with at least two decimals kept off zeros: 490000, 6 -> "0.49"."""
    whole, rest = divmod(value, 10**digits)
    text = ("%0*d" % (digits, rest)).rstrip("0")
    return "%d.%s" % (whole, text) if text else "%d" % whole


def _start_letter(start, stop):
    if start["clock"] == "U" and stop["clock"] != "U":
        return "R"  # put right by the same boot's monotonic clock
    return start["clock"]


def _offset_s(tariff, unix_s, letter):
    return 0 if letter == "U" else tariff.offset_s_at(unix_s)
