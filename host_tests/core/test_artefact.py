"""Signed envelopes: jwcrypto signs and reads them as well, and nothing but the pinned is taken."""

import hashlib
import json

import pytest
from jwcrypto import jwk, jws

from evtill.core import artefact
from evtill.core.artefact import ArtefactError, check
from evtill.core.errors import SignatureError
from tillctl import artefacts
from tillctl.public_key import OpenSsl, PublicKey

CONTENT = b"EVTK..."
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOW = 1800000000
GOOD = {"typ": "tokens", "audience": "charger:E1", "version": 7, "not_before": NOW - 10,
        "expires": NOW + 10, "sha256": SHA256}  # fmt: skip
KEY = jwk.JWK.generate(kty="EC", crv="P-256")
PUBLIC = PublicKey(KEY.export_to_pem())


def sealed(key=KEY, header=None, **changes):
    token = jws.JWS(json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}))
    head = {"alg": "ES256", "typ": artefact.TYP, "kid": key.thumbprint()} | (header or {})
    token.add_signature(key, None, json.dumps(head))
    return token.serialize(compact=True).encode()


def taken(envelope, types=("tokens", "tokens-delta"), audiences=("all", "charger:E1", "group:G"),
          unix_s=NOW, installed=(0, b"")):  # fmt: skip
    return check(envelope, PUBLIC.point, OpenSsl(), types, audiences, unix_s, installed)


def test_what_is_as_pinned_is_taken():
    digest = bytes.fromhex(SHA256)
    assert taken(sealed()) == ("tokens", 7, digest)
    assert taken(sealed(audience="all"))[1] == 7
    assert taken(sealed(audience="group:G", typ="tokens-delta"))[0] == "tokens-delta"
    assert taken(sealed(), installed=(6, b"other"))[1] == 7
    assert taken(sealed(), installed=(7, digest))[1] == 7  # the same again


@pytest.mark.parametrize(
    "envelope, how, why",
    [
        (sealed(typ="tariff"), {}, "it is tariff, not tokens"),
        (sealed(audience="charger:E2"), {}, "it is for charger:E2"),
        (sealed(audience="group:H"), {}, "it is for group:H"),
        (sealed(), {"unix_s": None}, "clock is not set"),
        (sealed(), {"unix_s": NOW - 11}, "not valid yet"),
        (sealed(), {"unix_s": NOW + 10}, "expired"),
        (sealed(), {"installed": (8, b"")}, "version 7 is lower than 8"),
        (sealed(), {"installed": (7, b"")}, "here already, with other content"),
        (sealed(version=0), {}, "version must be"),
        (sealed(version=True), {}, "version has the wrong type"),
        (sealed(version="7"), {}, "version has the wrong type"),
        (sealed(typ="stuff"), {}, "typ must be one of"),
        (sealed(audience="charger:"), {}, "audience must be"),
        (sealed(audience="E1"), {}, "audience must be"),
        (sealed(sha256=SHA256.upper()), {}, "sha256 must be"),
        (sealed(sha256=SHA256[:-1]), {}, "sha256 must be"),
        (sealed(more=1), {}, "fields must be"),
        (sealed(expires=...), {}, "fields must be"),
        (sealed(audience="group:" + "x" * 1024), {}, "longer than 1024"),
    ],
)
def test_anything_else_is_refused_with_the_reason(envelope, how, why):
    with pytest.raises(ArtefactError, match=why):
        taken(envelope, **how)


def test_another_key_type_or_algorithm_is_refused():
    other = jwk.JWK.generate(kty="EC", crv="P-256")
    for envelope in (sealed(other), sealed(header={"typ": "evtill-usage+jws"}), b"", b"..", b"a.b"):
        with pytest.raises(SignatureError):
            taken(envelope)


def test_every_flipped_bit_is_noticed():
    good = sealed()
    for bit in range(0, 8 * len(good), 3):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SignatureError, ArtefactError)):
            taken(bytes(bad))


def test_what_tillctl_seals_jwcrypto_verifies(tmp_path):
    path = tmp_path / "operator.pem"
    key = artefacts.OperatorKey(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    data = artefacts.seal(CONTENT, "tokens", "all", 3, NOW, NOW + 9, key)
    envelope, content = artefacts.split(data)
    assert content == CONTENT
    token = jws.JWS()
    token.deserialize(envelope.decode(), jwk.JWK.from_pem(key.public.pem.encode()))
    assert json.loads(token.payload) == GOOD | {
        "audience": "all", "version": 3, "not_before": NOW, "expires": NOW + 9
    }  # fmt: skip
    assert artefacts.OperatorKey(path).public.kid == key.public.kid
