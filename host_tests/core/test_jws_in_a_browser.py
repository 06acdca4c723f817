"""A usage record checked by a stranger's code: Chromium's WebCrypto, from the charger's JWK."""

import json
from pathlib import Path

import pytest
from jwcrypto import jwk

from evtill.core import jws
from host_tests.fakes import records

SIGNER = records.Signer()
PAGE = (Path(__file__).parents[1] / "verify_record.html").read_text()


@pytest.fixture
def verify(browser):
    browser.load(PAGE)

    def verified(record, signer=SIGNER):
        key = jwk.JWK.from_pem(signer.public.pem.encode()).export_public()
        return browser.evaluate(f"verify({json.dumps(record.decode())}, {key})")

    return verified


def published(**changes):
    return records.envelope(SIGNER, records.payload(SIGNER, records.facts(**changes)))


def test_records_are_valid(verify):
    assert all(verify(published(seq=seq)) is True for seq in range(1, 40))


def test_whatever_was_changed_is_noticed(verify):
    record = published()
    header, payload, signature = record.split(b".")
    for i in range(0, len(payload), 97):
        other = b"A" if payload[i : i + 1] != b"A" else b"B"
        changed = payload[:i] + other + payload[i + 1 :]
        assert verify(b".".join((header, changed, signature))) is False
    raw = bytearray(jws.b64url_decode(signature))
    for bit in range(0, 512, 19):
        raw[bit // 8] ^= 1 << bit % 8
        assert verify(b".".join((header, payload, jws.b64url_encode(raw)))) is False
        raw[bit // 8] ^= 1 << bit % 8
    assert verify(b".".join((header, payload, jws.b64url_encode(raw)))) is True
    for field in ({"alg": "none"}, {"alg": "HS256"}, {"typ": "evtill-tariff+jws"}):
        said = json.dumps(json.loads(jws.b64url_decode(header)) | field).encode()
        assert verify(b".".join((jws.b64url_encode(said), payload, signature))) is False


def test_another_chargers_key_is_refused(verify):
    assert verify(published(), records.Signer(9)) is False
