"""Signed envelopes: JWS compact serialisation (RFC 7515) with ES256 or HS256 (RFC 7518).

The caller pins algorithm and type; a header is exactly the fields named here and nothing is ever
chosen by what a header says. Signatures are checked before any JSON is looked at.
"""

import binascii
import hashlib
import json

from evtill.core.crypto.hashes import constant_time_equal, hmac_sha256, sha256
from evtill.core.errors import SignatureError
from evtill.core.text import plain

USAGE = "evtill-usage+jws"
ACK = "evtill-ack+jws"
COMMAND = "evtill-cmd+jws"

MAX_JWS_BYTES = 32768  # a record of a session with some sixty price periods
MAX_HEADER_BYTES = 256  # once decoded
_PIECE = 384  # bytes encoded at a time, a multiple of 3
_DOT = 0x2E


def b64url_encode(data):
    """Base64url without padding, as bytes (RFC 7515, 2)."""
    text = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    return text.replace(b"+", b"-").replace(b"/", b"_")


def b64url_decode(text):
    """Bytes of base64url text (bytes); SignatureError unless it is the only encoding of them."""
    text = bytes(text)
    try:
        data = binascii.a2b_base64(
            text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4)
        )
    except ValueError:
        data = b""
    if b64url_encode(data) != text:
        raise SignatureError("envelope is not base64url")
    return data


def thumbprint(public_key):
    """The JWK thumbprint of a point (x, y): 43 characters (RFC 7638, 3)."""
    x, y = (b64url_encode(v.to_bytes(32, "big")) for v in public_key)
    return b64url_encode(
        sha256(b'{"crv":"P-256","kty":"EC","x":"', x, b'","y":"', y, b'"}')
    ).decode()


def es256_header(typ, kid):
    """The header segment (bytes) of an ES256 JWS. SignatureError for a kid that is empty or would
    need escaping."""
    if not kid or not plain(kid) or " " in kid or '"' in kid or "\\" in kid:
        raise SignatureError("key id is not plain ASCII")
    header = '{"alg":"ES256","typ":"%s","kid":"%s"}' % (typ, kid)
    return b64url_encode(header.encode())


def es256_signature(header, payload, sign):
    """The 64 signature bytes of `payload` under a header segment, by `sign(digest) -> (r, s)`."""
    digest = hashlib.sha256()
    for piece in _pieces(header, payload):
        digest.update(piece)
    r, s = sign(digest.digest())
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def compact(header, payload, signature):
    """The JWS (bytearray) of its parts, the payload and signature not encoded yet."""
    jws = room_of(header, len(payload), len(signature))
    jws[len(jws) - len(payload) :] = payload
    return compact_within(jws, header, len(payload), signature)


def room_of(header, n, signature_bytes):
    """A bytearray for the JWS of a payload of n bytes."""
    return bytearray(len(header) + (n * 4 + 2) // 3 + (signature_bytes * 4 + 2) // 3 + 2)


def compact_within(jws, header, n, signature):
    """Makes the JWS in `jws`, of room_of(), whose last n bytes are the payload. Returns it.

    What is encoded is longer, but begins so far ahead that it never reaches what is not."""
    payload = memoryview(jws)[len(jws) - n :]
    at = 0
    for piece in _pieces(header, payload):
        jws[at : at + len(piece)] = piece
        at += len(piece)
    jws[at] = _DOT
    jws[at + 1 :] = b64url_encode(signature)
    return jws


def compact_sha256(header, payload, signature):
    """The SHA-256 of compact(), without the whole in memory."""
    digest = hashlib.sha256()
    for piece in _pieces(header, payload):
        digest.update(piece)
    digest.update(b"." + b64url_encode(signature))
    return digest.digest()


def _pieces(header, payload):
    """What is signed, piece by piece: whole, each step would copy a record of kilobytes."""
    yield header
    yield b"."
    payload = memoryview(payload)
    for start in range(0, len(payload), _PIECE):
        yield b64url_encode(payload[start : start + _PIECE])


def es256_sign(payload, typ, kid, sign):
    """The JWS (bytes) of `payload` (bytes), signed by `sign(digest) -> (r, s)`. SignatureError as
    es256_header()."""
    header = es256_header(typ, kid)
    return bytes(compact(header, payload, es256_signature(header, payload, sign)))


def es256_verify(jws, typ, public_key, p256):
    """(payload, kid) of a JWS of type `typ` that the key at point `public_key` signed.

    `p256` verifies (crypto.p256.P256). SignatureError when anything is not as pinned."""
    signed, header, payload, signature = _split(jws)
    if len(signature) != 64:
        raise SignatureError("envelope's signature is not 64 bytes")
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not p256.verify(public_key, sha256(signed), r, s):
        raise SignatureError("envelope's signature does not verify")
    kid = _fields(header, "ES256", typ, ("alg", "typ", "kid"))["kid"]
    return b64url_decode(payload), kid


def hs256_sign(payload, typ, key):
    """The JWS of `payload` (bytes) under a shared `key` (bytes)."""
    header = '{"alg":"HS256","typ":"%s"}' % typ
    signed = b64url_encode(header.encode()) + b"." + b64url_encode(payload)
    return signed + b"." + b64url_encode(hmac_sha256(key, signed))


def hs256_verify(jws, typ, key):
    """The payload of a JWS of type `typ` under the shared `key`.

    SignatureError when anything is not as pinned."""
    signed, header, payload, signature = _split(jws)
    if not constant_time_equal(signature, hmac_sha256(key, signed)):
        raise SignatureError("envelope's signature does not verify")
    _fields(header, "HS256", typ, ("alg", "typ"))
    return b64url_decode(payload)


def _split(jws):
    """Signed bytes, the header and payload still encoded, and the decoded signature."""
    jws = bytes(jws)
    if len(jws) > MAX_JWS_BYTES:
        raise SignatureError("envelope is longer than %d bytes" % MAX_JWS_BYTES)
    dot = jws.find(b".")
    last = jws.rfind(b".")
    if dot < 1 or last == dot or jws.find(b".", dot + 1) != last:
        raise SignatureError("envelope is not three parts")
    return jws[:last], jws[:dot], jws[dot + 1 : last], b64url_decode(jws[last + 1 :])


def _fields(header, alg, typ, names):
    if len(header) > MAX_HEADER_BYTES * 4 // 3:
        raise SignatureError("envelope's header is too long")
    try:
        fields = json.loads(b64url_decode(header).decode())
    except ValueError:  # malformed UTF-8 too
        fields = None
    if not isinstance(fields, dict) or len(fields) != len(names):
        raise SignatureError("envelope's header is not %s" % ", ".join(names))
    for name in names:
        if not isinstance(fields.get(name), str):
            raise SignatureError("envelope's header is not %s" % ", ".join(names))
    if fields["alg"] != alg or fields["typ"] != typ:
        raise SignatureError("envelope is not %s of type %s" % (alg, typ))
    return fields
