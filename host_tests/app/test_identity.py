"""Who signs: the key in the file, or a secure element, here one that `cryptography` plays."""

import binascii
import json
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from jwcrypto import jwk
from jwcrypto import jws as reference_jws

from evtill.app import identity, provisioning
from evtill.core import jws
from evtill.core.crypto.curve import N
from evtill.core.crypto.der import spki_encode
from evtill.core.errors import SignatureError
from host_tests.core.crypto.common import reference_point, reference_verifies
from host_tests.fakes import records
from host_tests.micropython import run
from tillctl.public_key import PublicKey
from tillctl.verify import verify

DIGEST = bytes(range(32))


class Atecc608:
    """A chip that made its key itself and signs digests; s comes as it falls."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        self.public = numbers.x, numbers.y
        self.asked = []

    def sign(self, digest):
        self.asked.append(digest)
        der = self._key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return utils.decode_dss_signature(der)


def board(folder, chip=None):
    hw = SimpleNamespace(DATA=str(folder))
    if chip:
        hw.signer = lambda: chip
    return hw


def pem(point):
    return serialization.load_der_public_key(spki_encode(point)).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def published(signer):
    body = records.payload(signer, records.facts())
    return jws.es256_sign(body, jws.USAGE, signer.kid, signer.sign)


@pytest.mark.parametrize("chip", [None, Atecc608()], ids=["file", "chip"])
def test_strangers_believe_a_record_whoever_signs_it(tmp_path, chip):
    if chip is None:
        identity.make_key(str(tmp_path))
    signer = identity.of(board(tmp_path, chip))
    record = published(signer)
    token = reference_jws.JWS()
    token.deserialize(record.decode(), jwk.JWK.from_pem(pem(signer.public)))
    assert json.loads(token.payload)["seq"] == 42
    checks = {
        check.name: check.result for check in verify(record, PublicKey(pem(signer.public))).checks
    }
    assert checks["jws signature"] == checks["key id"] == checks["ocmf signature"] == "ok"
    if chip:
        assert len(chip.asked) == 2
        assert not list(tmp_path.iterdir())


def test_a_chips_signatures_come_with_a_low_s(tmp_path):
    chip = Atecc608()
    signer = identity.of(board(tmp_path, chip))
    for i in range(20):  # all 20 low as they fall: once in a million
        digest = bytes(31) + bytes([i])
        r, s = signer.sign(digest)
        assert s <= N // 2 and reference_verifies(chip.public, digest, r, s)


@pytest.mark.parametrize(
    "broken",
    [
        lambda r, s: (r ^ 1, s),
        lambda r, s: (r, s ^ 1 << 200),
        lambda r, s: (s, r),
        lambda r, s: (0, s),
        lambda r, s: (r, N),
        lambda r, s: (r + N, s),
        lambda r, s: Atecc608().sign(DIGEST),
    ],
)
def test_what_a_chip_signs_wrongly_is_not_released(tmp_path, broken):
    chip = Atecc608()
    signer = identity.of(board(tmp_path, chip))
    r, s = Atecc608.sign(chip, DIGEST)
    chip.sign = lambda digest: broken(r, s)
    with pytest.raises(SignatureError):
        signer.sign(DIGEST)


def test_a_signature_of_another_digest_is_not_released(tmp_path):
    chip = Atecc608()
    chip.sign = lambda digest: Atecc608.sign(chip, bytes(32))
    with pytest.raises(SignatureError):
        identity.of(board(tmp_path, chip)).sign(DIGEST)


def test_provisioning_asks_the_chip_and_makes_no_key(tmp_path):
    chip = Atecc608()
    said = provisioning.prepare(board(tmp_path, chip), False)
    assert said == {"made_key": False, "spki": spki_encode(chip.public).hex()}
    assert not list(tmp_path.iterdir())


def test_the_key_is_made_once(tmp_path):
    first = provisioning.prepare(board(tmp_path), False)
    kept = (tmp_path / "record.key").read_bytes()
    second = provisioning.prepare(board(tmp_path), False)
    assert (first["made_key"], second["made_key"]) == (True, False)
    assert first["spki"] == second["spki"]
    assert (tmp_path / "record.key").read_bytes() == kept
    d = int.from_bytes(kept[:32], "big")
    assert binascii.unhexlify(first["spki"]) == spki_encode(reference_point(d))


def test_two_signatures_of_one_digest_have_two_nonces(tmp_path):
    identity.make_key(str(tmp_path))
    signer = identity.of(board(tmp_path))
    one, other = signer.sign(DIGEST), signer.sign(DIGEST)
    assert one[0] != other[0]
    assert reference_verifies(signer.public, DIGEST, *one)
    assert reference_verifies(signer.public, DIGEST, *other)


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"", None])
def test_a_damaged_key_file_signs_nothing(tmp_path, change):
    identity.make_key(str(tmp_path))
    file = tmp_path / "record.key"
    data = file.read_bytes()
    changed = [change(data)] if change else [
        data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :] for i in range(36)
    ]  # fmt: skip
    for bad in changed:
        file.write_bytes(bad)
        with pytest.raises(SignatureError, match="damaged"):
            identity.of(board(tmp_path))


def test_no_key_at_all_says_what_to_do(tmp_path):
    with pytest.raises(SignatureError, match="provision"):
        identity.of(board(tmp_path))


ON_MICROPYTHON = """
import gc, sys
from evtill.app import identity, provisioning
from evtill.core.crypto.curve import N
from evtill.core.errors import SignatureError
class Chip:
    d = 0xC0FFEE
    def __init__(self):
        self.p256 = identity.engine()
        self.public = self.p256.public_key(self.d)
        self.flip = 0
    def sign(self, digest):
        r, s = self.p256.sign(self.d, digest, b"")
        return r ^ self.flip, N - s
class Board: DATA = "/"
chip = Chip()
Board.signer = staticmethod(lambda: chip)
signer = identity.of(Board)
r, s = signer.sign(bytes(range(32)))
print(r, s, provisioning.prepare(Board, False)["made_key"])
chip.flip = 2
try:
    signer.sign(bytes(range(32)))
except SignatureError as e:
    print("refused")
"""


def test_a_chip_signs_on_the_real_interpreter():
    r, s, made, refused = run(ON_MICROPYTHON).split()
    assert reference_verifies(reference_point(0xC0FFEE), DIGEST, int(r), int(s))
    assert int(s) <= N // 2
    assert (made, refused) == ("False", "refused")
