"""What the tests of core/crypto share: vectors, the comb table, and `cryptography` as an oracle."""

import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from evtill.core.crypto.p256 import P256, BytesTable

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "host_tests" / "vectors" / "crypto"
TABLE = (ROOT / "firmware/evtill/core/crypto/p256.tab").read_bytes()
PREHASHED = ec.ECDSA(utils.Prehashed(SHA256()))

p256 = P256(BytesTable(TABLE))


def vectors(name: str) -> list[dict]:
    """The lines of a file of vectors."""
    lines = (VECTORS / name).read_text().splitlines()
    assert lines, name
    return [json.loads(line) for line in lines]


def reference_key(d: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(d, ec.SECP256R1())


def reference_point(d: int) -> tuple[int, int]:
    """(x, y) of d * G by `cryptography`."""
    numbers = reference_key(d).public_key().public_numbers()
    return numbers.x, numbers.y


def reference_verifies(public_key: tuple[int, int], digest: bytes, r: int, s: int) -> bool:
    key = ec.EllipticCurvePublicNumbers(*public_key, ec.SECP256R1()).public_key()
    try:
        key.verify(utils.encode_dss_signature(r, s), digest, PREHASHED)
    except InvalidSignature:
        return False
    return True
