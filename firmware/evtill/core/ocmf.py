"""OCMF 1.3 strings (SAFE-eV, Open Charge Metering Format) that strangers' verifiers call valid.

The signed part is built by concatenation and never serialised again: what is signed, stored and
forwarded are the same bytes."""

from binascii import hexlify

from evtill.core.text import civil, quote

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


def build(facts):
    """The JSON object between the first and second `|`: these bytes are hashed and signed.

    facts: pagination (int), charger, firmware, meter {vendor, model, serial, firmware} (vendor and
    firmware may be missing), auth {method, token, assurance, ref} as in the record, tariff_text
    (cut to 250 characters), begin and end: (unix_s, offset_s, clock letter U, I, S or R, wh),
    tx: the end's reason, one of E L R A P (table 7)."""
    meter = facts["meter"]
    auth = facts["auth"]
    firmware = facts["firmware"]
    kind, user = _user(auth)
    out = [
        '{"FV":"1.3","GI":"evtill","GS":%s,"GV":%s,"PG":"T%d",'
        % (quote(facts["charger"]), quote(firmware), facts["pagination"])
    ]
    for key, name in (("MV", "vendor"), ("MM", "model"), ("MS", "serial"), ("MF", "firmware")):
        if meter.get(name):
            out.append('"%s":%s,' % (key, quote(meter[name])))
    assurance = auth["assurance"]
    if user:
        out.append(
            '"IS":true,"IL":"%s","IF":[%s],"IT":"%s","ID":%s,'
            % (_LEVELS[assurance], _FLAGS.get(assurance, ""), kind, quote(user))
        )
    else:
        out.append('"IS":false,"IL":"NONE","IF":[],"IT":"NONE","ID":"",')
    out.append(
        '"TT":%s,"CF":%s,"CT":"EVSEID","CI":%s,"RD":['
        % (
            quote(facts["tariff_text"][:_TARIFF_TEXT_MAX]), quote(firmware[:_FIRMWARE_MAX]),
            quote(facts["charger"]),
        )  # fmt: skip
    )
    out.append(_reading("B", facts["begin"]))
    out.append(",")
    out.append(_reading(facts["tx"], facts["end"]))
    out.append("]}")
    return "".join(out).encode()


def seal(body, r, s):
    """The complete OCMF string (bytes) of a signed `body`.

    r, s: the ECDSA signature over the SHA-256 of `body`."""
    from evtill.core.crypto.der import der_encode

    return b"".join((b"OCMF|", body, _SIGNATURE, hexlify(der_encode(r, s)), b'"}'))


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
