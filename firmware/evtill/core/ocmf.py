"""OCMF 1.3 strings (SAFE-eV, Open Charge Metering Format) that strangers' verifiers call valid.

The signed part is written once, in place, and never serialised again: what is signed, stored and
forwarded are the same bytes."""

from binascii import hexlify

from evtill.core.errors import RecordError
from evtill.core.text import civil, quote

MAX_BYTES = 2560  # of a complete string; one of ours has about 1,050
START = 5  # of the signed bytes, behind `OCMF|`; they go to the second `|`
_TARIFF_TEXT_MAX = 250  # table 4, TT
_FIRMWARE_MAX = 25  # table 5, CF
# Method of table 22; hex and DER are the defaults of SE and SM.
_SIGNATURE = b'|{"SA":"ECDSA-secp256r1-SHA256","SD":"'
# Total Import Mains Energy, table 25: a register that only grows, read at the meter.
_REGISTER = "01-00:B0.08.00*FF"
# How the driver identified (record's auth): level (table 11), flag (table 13), type (table 17).
_LEVELS = {"uid": "HEARSAY", "aes": "SECURE", "app": "TRUSTED", "card": "TRUSTED"}
_FLAGS = {"uid": '"RFID_PLAIN"', "aes": '"RFID_PSK"'}
_TYPES = {"rfid": "LOCAL", "prepaid": "LOCAL", "app": "CENTRAL"}


def build(facts, out):
    """Writes `OCMF|` and the signed JSON object into `out` (room for MAX_BYTES); returns its end.
    The bytes of out[START:end] are hashed and signed. RecordError where there is no room.

    facts: pagination (int), charger, firmware, meter {vendor, model, serial, firmware} (vendor and
    firmware may be missing), auth {method, token, assurance, ref} as in the record, tariff_text
    (cut to 250 characters), begin and end: (unix_s, offset_s, clock letter U, I, S or R, wh),
    tx: the end's reason, one of E L R A P (table 7)."""
    end = _put(out, 0, "OCMF|")
    for piece in _pieces(facts):
        end = _put(out, end, piece)
    return end


def seal(out, end, r, s):
    """Writes the signature section behind build()'s `end`; returns the end of the complete string.

    r, s: the ECDSA signature over the SHA-256 of out[START:end]."""
    from evtill.core.crypto.der import der_encode

    for piece in (_SIGNATURE, hexlify(der_encode(r, s)), b'"}'):
        end = _put(out, end, piece)
    return end


def _put(out, at, piece):
    end = at + len(piece)
    if end > len(out):
        raise RecordError("ocmf: longer than %d bytes" % len(out))
    out[at:end] = piece.encode() if isinstance(piece, str) else piece
    return end


def _pieces(facts):
    """The object piece by piece, all of it ASCII: whole, it would be in the heap three times."""
    meter = facts["meter"]
    auth = facts["auth"]
    firmware = facts["firmware"]
    begin = facts["begin"]
    end = facts["end"]
    if begin[2] == "R":
        end = (end[0], end[1], "R", end[3])  # to law's readers, R and then S are two clocks
    yield '{"FV":"1.3","GI":"evtill","GS":%s,"GV":%s,"PG":"T%d",' % (
        quote(facts["charger"]), quote(firmware), facts["pagination"],
    )  # fmt: skip
    for key, name in (("MV", "vendor"), ("MM", "model"), ("MS", "serial"), ("MF", "firmware")):
        if meter.get(name):
            yield '"%s":%s,' % (key, quote(meter[name]))
    yield identification(auth)
    yield '"TT":%s,"CF":%s,"CT":"EVSEID","CI":%s,"RD":[' % (
        quote(facts["tariff_text"][:_TARIFF_TEXT_MAX]), quote(firmware[:_FIRMWARE_MAX]),
        quote(facts["charger"]),
    )  # fmt: skip
    yield _reading("B", begin)
    yield ","
    yield _reading(facts["tx"], end)
    yield "]}"


def identification(auth):
    """The fields that say how the driver identified, each followed by a comma."""
    assurance = auth["assurance"]
    kind, user = _user(auth)
    if not user:
        return '"IS":false,"IL":"NONE","IF":[],"IT":"NONE","ID":"",'
    return '"IS":true,"IL":"%s","IF":[%s],"IT":"%s","ID":%s,' % (
        _LEVELS[assurance], _FLAGS.get(assurance, ""), kind, quote(user),
    )  # fmt: skip


def _user(auth):
    """(identification type, identification): never a bank card's number."""
    method = auth["method"]
    if method in ("rfid", "prepaid"):
        return _TYPES[method], auth["token"]
    user = auth["ref"] or auth["token"] or ""
    if method != "app" and 12 <= len(user) <= 19 and user.isdigit():
        user = ""  # has the shape of a card number (ISO/IEC 7812)
    return _TYPES.get(method, "CARD_TXN_NR"), user


def _reading(tx, stamp):
    """One reading with every field: some verifiers inherit none from the reading before."""
    unix_s, offset_s, letter, wh = stamp
    sign = "-" if offset_s < 0 else "+"
    minutes = abs(offset_s) // 60
    return (
        '{"TM":"%s,000%s%02d%02d %s","TX":"%s","RV":%d.%03d,"RI":"%s","RU":"kWh",'
        '"RT":"AC","EF":"","ST":"G"}'
    ) % (
        civil(unix_s + offset_s), sign, minutes // 60, minutes % 60, letter, tx,
        wh // 1000, wh % 1000, _REGISTER,
    )  # fmt: skip
