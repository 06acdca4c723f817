import base64
import hashlib
import hmac
import json
import os
import random

import pytest
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwk
from jwcrypto import jws as reference_jws

from evtill.core import jws
from evtill.core.crypto.curve import N
from evtill.core.errors import SignatureError
from host_tests.core.crypto.common import p256, reference_key, reference_point
from host_tests.fakes import records
from tillctl.public_key import OpenSsl

rng = random.Random(7515)
D = 0xE711A1C3
PUBLIC = reference_point(D)
KID = jws.thumbprint(PUBLIC)
KEY = bytes(range(32))
SOAK = [
    pytest.mark.soak,
    pytest.mark.skipif(os.environ.get("EVTILL_SOAK") != "1", reason="EVTILL_SOAK=1 runs it"),
]
PAYLOAD = b'{"id":"DE*EVT*E000123-42","seq":42}'


def sign(digest):
    return p256.sign(D, digest, b"")


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def reference_jwk() -> jwk.JWK:
    pem = reference_key(D).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return jwk.JWK.from_pem(pem)


# --- base64url and thumbprints -------------------------------------------------------------------


def test_base64url_both_ways():
    assert jws.b64url_encode(bytes([3, 236, 255, 224, 193])) == b"A-z_4ME"  # RFC 7515, C
    for n in range(70):
        data = rng.randbytes(n)
        assert jws.b64url_encode(data) == b64(data)
        assert jws.b64url_decode(memoryview(b64(data))) == data


@pytest.mark.parametrize(
    "text",
    [b"A", b"AAAAA", b"QQ==", b"QQ=", b"QR", b"QUF", b"+w", b" QQ", b"QQ\n", b"Q.Q", b"\xff"],
)
def test_only_the_one_encoding_is_decoded(text):
    with pytest.raises(SignatureError):
        jws.b64url_decode(text)


def test_thumbprints_are_those_of_jwcrypto():
    for d in [1, 2, N - 1, D]:
        key = jwk.JWK.from_pyca(reference_key(d).public_key())
        assert jws.thumbprint(reference_point(d)) == key.thumbprint()


def test_thumbprint_of_coordinates_with_leading_zeros():
    d = next(d for d in range(1, 5000) if reference_point(d)[0] >> 248 == 0)
    key = jwk.JWK.from_pyca(reference_key(d).public_key())
    assert jws.thumbprint(reference_point(d)) == key.thumbprint()


# --- ES256 ---------------------------------------------------------------------------------------


def test_es256_header_is_exactly_what_the_contract_says():
    header, payload, signature = jws.es256_sign(PAYLOAD, jws.USAGE, KID, sign).split(b".")
    expected = '{"alg":"ES256","typ":"evtill-usage+jws","kid":"' + KID + '"}'
    assert jws.b64url_decode(header).decode() == expected
    assert jws.b64url_decode(payload) == PAYLOAD
    assert len(jws.b64url_decode(signature)) == 64


def test_es256_is_verified_by_jwcrypto():
    token = reference_jws.JWS()
    token.deserialize(jws.es256_sign(PAYLOAD, jws.USAGE, KID, sign).decode())
    token.verify(reference_jwk(), alg="ES256")
    assert token.payload == PAYLOAD


def test_3000_random_records_are_verified_by_jwcrypto():
    """1 in 256 has a short r, 1 in 256 a short s: each is 32 bytes all the same (RFC 7518, 3.4)."""
    signer = records.Signer()
    key = jwk.JWK.from_pem(signer.public.pem.encode())
    short = [0, 0]
    for number in range(3000):
        body = rng.randbytes(rng.randrange(100, 2000)).hex().encode()
        made = jws.es256_sign(body, jws.USAGE, signer.public.kid, signer.sign)
        signature = jws.b64url_decode(made.rpartition(b".")[2])
        assert len(signature) == 64
        is_short = [signature[0] == 0, signature[32] == 0]
        short = [a + b for a, b in zip(short, is_short, strict=True)]
        if any(is_short) or number % 10 == 0:
            token = reference_jws.JWS()
            token.deserialize(made.decode())
            token.verify(key, alg="ES256")
            assert token.payload == body
        assert jws.es256_verify(made, jws.USAGE, signer.public.point, OpenSsl())[0] == body
    assert min(short) > 0


def test_es256_of_jwcrypto_is_verified():
    key = jwk.JWK.from_pyca(reference_key(D))
    for header in [
        {"alg": "ES256", "typ": jws.USAGE, "kid": KID},
        {"kid": KID, "typ": jws.USAGE, "alg": "ES256"},
    ]:
        token = reference_jws.JWS(PAYLOAD)
        token.add_signature(key, alg="ES256", protected=json.dumps(header, indent=1))
        compact = token.serialize(compact=True).encode()
        assert jws.es256_verify(compact, jws.USAGE, PUBLIC, p256) == (PAYLOAD, KID)


def test_es256_takes_what_it_signed():
    lengths = [0, 1, 2, 3, 4, 383, 384, 385, 386, 767, 768, 769, 3000]
    for payload in (rng.randbytes(n) for n in lengths):
        signed = jws.es256_sign(payload, jws.USAGE, KID, sign)
        assert signed.split(b".")[1] == b64(payload)
        assert jws.es256_verify(memoryview(signed), jws.USAGE, PUBLIC, p256) == (payload, KID)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=SOAK)])
def test_es256_notices_a_flipped_bit_anywhere(step):
    signed = jws.es256_sign(b'{"seq":1}', jws.USAGE, KID, sign)
    for i in range(0, 8 * len(signed), step):
        changed = bytearray(signed)
        changed[i >> 3] ^= 1 << (i & 7)
        with pytest.raises(SignatureError):
            jws.es256_verify(changed, jws.USAGE, PUBLIC, p256)


def test_es256_of_another_type_or_key():
    signed = jws.es256_sign(PAYLOAD, jws.USAGE, KID, sign)
    with pytest.raises(SignatureError):
        jws.es256_verify(signed, jws.COMMAND, PUBLIC, p256)
    with pytest.raises(SignatureError):
        jws.es256_verify(signed, jws.USAGE, reference_point(D + 1), p256)


def es256_with_header(header: str | bytes) -> bytes:
    """Well signed, whatever the header says."""
    raw = header if isinstance(header, bytes) else header.encode()
    signed = b64(raw) + b"." + b64(PAYLOAD)
    r, s = sign(hashlib.sha256(signed).digest())
    return signed + b"." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


BAD_HEADERS = [
    '{"alg":"none","typ":"evtill-usage+jws","kid":"k"}',
    '{"alg":"HS256","typ":"evtill-usage+jws","kid":"k"}',
    '{"alg":"es256","typ":"evtill-usage+jws","kid":"k"}',
    '{"alg":"ES256","typ":"JOSE","kid":"k"}',
    '{"alg":"ES256","typ":"evtill-usage+jws"}',
    '{"alg":"ES256","kid":"k"}',
    '{"typ":"evtill-usage+jws","kid":"k"}',
    '{"alg":"ES256","typ":"evtill-usage+jws","kid":1}',
    '{"alg":"ES256","typ":"evtill-usage+jws","kid":null}',
    '{"alg":["ES256"],"typ":"evtill-usage+jws","kid":"k"}',
    '{"alg":"ES256","typ":"evtill-usage+jws","kid":"k","crit":["b64"]}',
    '{"alg":"ES256","typ":"evtill-usage+jws","kid":"k","jwk":{}}',
    '{"alg":"ES256","typ":"evtill-usage+jws","KID":"k"}',
    "[]",
    '"ES256"',
    "{}",
    "",
    "{",
    "null",
    b"\xff\xfe",
    '{"alg":"ES256","typ":"evtill-usage+jws","kid":"%s"}' % ("k" * 400),
    "[" * 300,
]


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_headers_that_are_not_the_pinned_ones(header):
    with pytest.raises(SignatureError):
        jws.es256_verify(es256_with_header(header), jws.USAGE, PUBLIC, p256)


def test_es256_headers_of_these_tests_would_do_if_right():
    good = es256_with_header('{"alg":"ES256","typ":"evtill-usage+jws","kid":"k"}')
    assert jws.es256_verify(good, jws.USAGE, PUBLIC, p256) == (PAYLOAD, "k")


@pytest.mark.parametrize("kid", ['a"b', "a\\b", "a\nb", "ü", ""])
def test_a_kid_that_would_need_escaping_is_refused(kid):
    with pytest.raises(SignatureError):
        jws.es256_sign(PAYLOAD, jws.USAGE, kid, sign)


def malformed(signed: bytes) -> list[bytes]:
    header, payload, signature = signed.split(b".")
    return [
        b"",
        b".",
        b"..",
        b"...",
        header,
        header + b"." + payload,
        header + b"." + payload + b".",
        b"." + payload + b"." + signature,
        signed + b".",
        signed + b"." + signature,
        signed + b"=",
        signed[:-2],
        b" " + signed,
        signed + b"\n",
        signed.replace(b".", b"\0"),
        b"a" * 40000,
        signed.replace(b".", b"." + b"A" * 40000 + b"", 1),
    ]


def test_malformed_envelopes():
    for bad in malformed(jws.es256_sign(PAYLOAD, jws.USAGE, KID, sign)):
        with pytest.raises(SignatureError):
            jws.es256_verify(bad, jws.USAGE, PUBLIC, p256)
    for bad in malformed(jws.hs256_sign(PAYLOAD, jws.ACK, KEY)):
        with pytest.raises(SignatureError):
            jws.hs256_verify(bad, jws.ACK, KEY)


# --- HS256 ---------------------------------------------------------------------------------------


def test_hs256_both_ways_with_jwcrypto():
    key = jwk.JWK(kty="oct", k=b64(KEY).decode())
    token = reference_jws.JWS()
    token.deserialize(jws.hs256_sign(PAYLOAD, jws.ACK, KEY).decode())
    token.verify(key, alg="HS256")
    assert token.payload == PAYLOAD
    token = reference_jws.JWS(PAYLOAD)
    token.add_signature(key, "HS256", json.dumps({"typ": jws.ACK, "alg": "HS256"}))
    assert jws.hs256_verify(token.serialize(compact=True).encode(), jws.ACK, KEY) == PAYLOAD


def test_hs256_notices_every_flipped_bit():
    signed = jws.hs256_sign(PAYLOAD, jws.ACK, KEY)
    assert jws.hs256_verify(signed, jws.ACK, KEY) == PAYLOAD
    for i in range(8 * len(signed)):
        changed = bytearray(signed)
        changed[i >> 3] ^= 1 << (i & 7)
        with pytest.raises(SignatureError):
            jws.hs256_verify(changed, jws.ACK, KEY)


def test_hs256_of_another_type_key_or_algorithm():
    signed = jws.hs256_sign(PAYLOAD, jws.ACK, KEY)
    for typ, key in [(jws.COMMAND, KEY), (jws.ACK, KEY[:31]), (jws.ACK, b"")]:
        with pytest.raises(SignatureError):
            jws.hs256_verify(signed, typ, key)
    # The classic confusion: HMAC under the public key, offered where ES256 is pinned.
    public = b"\x04" + b"".join(v.to_bytes(32, "big") for v in PUBLIC)
    header = b64(b'{"alg":"HS256","typ":"evtill-usage+jws","kid":"k"}')
    signed = header + b"." + b64(PAYLOAD)
    confused = signed + b"." + b64(hmac.new(public, signed, hashlib.sha256).digest())
    with pytest.raises(SignatureError):
        jws.es256_verify(confused, jws.USAGE, PUBLIC, p256)


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"none","typ":"evtill-ack+jws"}',
        '{"alg":"HS256","typ":"evtill-ack+jws","kid":"k"}',
        '{"alg":"HS256","typ":"evtill-cmd+jws"}',
        '{"alg":"HS256"}',
    ],
)
def test_hs256_headers_that_are_not_the_pinned_ones(header):
    signed = b64(header.encode()) + b"." + b64(PAYLOAD)
    mac = hmac.new(KEY, signed, hashlib.sha256).digest()
    with pytest.raises(SignatureError):
        jws.hs256_verify(signed + b"." + b64(mac), jws.ACK, KEY)


@pytest.mark.parametrize("sizes", [range(0, 1200), range(2300, 3100, 7)])
def test_a_jws_is_made_where_its_payload_lies(sizes):
    """The encoding, which is longer, never overtakes what is still to be encoded."""
    for n in sizes:
        payload, signature = os.urandom(n), os.urandom(64)
        parts = (base64.urlsafe_b64encode(part).rstrip(b"=") for part in (payload, signature))
        assert jws.compact(b"aGVhZA", payload, signature) == b".".join([b"aGVhZA", *parts])
