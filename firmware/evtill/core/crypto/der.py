"""How P-256 keys and signatures travel: SubjectPublicKeyInfo, SEC1 points, minimal DER."""

from evtill.core.crypto.curve import B, P, on_curve
from evtill.core.errors import SignatureError

# SEQUENCE {SEQUENCE {id-ecPublicKey, prime256v1}, BIT STRING of 65 bytes} (RFC 5480, 2)
_SPKI_PREFIX = (
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
    b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
)


def spki_encode(point):
    """SubjectPublicKeyInfo of a point (x, y), 91 bytes of DER with the point uncompressed."""
    return _SPKI_PREFIX + sec1_encode(point)


def spki_decode(data):
    """(x, y) from a SubjectPublicKeyInfo as spki_encode makes it; SignatureError on all else."""
    if len(data) != 91 or bytes(data[:26]) != _SPKI_PREFIX:
        raise SignatureError("public key is not a P-256 SubjectPublicKeyInfo of 91 bytes")
    return sec1_decode(data[26:])


def sec1_encode(point, compressed=False):
    """The point (x, y) as 65 bytes, or 33 when compressed (SEC 1, 2.3.3)."""
    x, y = point
    if compressed:
        return bytes((2 | y & 1,)) + x.to_bytes(32, "big")
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def sec1_decode(data):
    """(x, y) from 65 or 33 bytes, checked to be on the curve (SEC 1, 2.3.4); SignatureError."""
    x = int.from_bytes(data[1:33], "big")
    if len(data) == 65 and data[0] == 4:
        y = int.from_bytes(data[33:], "big")
    elif len(data) == 33 and data[0] in (2, 3):
        y = pow((x * x - 3) * x + B, (P + 1) >> 2, P)  # the root, as P = 3 (mod 4)
        if y & 1 != data[0] & 1:
            y = P - y
    else:
        raise SignatureError("public key is not a P-256 point of 65 or 33 bytes")
    if not on_curve(x, y):
        raise SignatureError("public key is not a point of P-256")
    return x, y


def der_encode(r, s):
    """Ecdsa-Sig-Value of 0 < r, s < 2^256 in minimal DER, 8 to 72 bytes (RFC 3279, 2.2.3)."""
    r = _integer(r)
    s = _integer(s)
    return bytes((0x30, len(r) + len(s))) + r + s


def _integer(value):
    raw = value.to_bytes(33, "big")
    at = 0
    while at < 32 and raw[at] == 0 and raw[at + 1] < 0x80:
        at += 1
    return bytes((2, 33 - at)) + raw[at:]


def der_decode(data):
    """(r, s) from an Ecdsa-Sig-Value; SignatureError unless it is what der_encode makes."""
    if 8 <= len(data) <= 72 and data[0] == 0x30 and data[1] == len(data) - 2:
        second = 4 + data[3]
        if second + 2 < len(data):
            r = int.from_bytes(data[4:second], "big")
            s = int.from_bytes(data[second + 2 :], "big")
            # One value has one encoding, so whatever is not that one is not DER.
            if r and s and r < 1 << 256 and s < 1 << 256 and der_encode(r, s) == bytes(data):
                return r, s
    raise SignatureError("signature is not minimal DER of two positive integers")
