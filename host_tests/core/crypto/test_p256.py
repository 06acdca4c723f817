import hashlib
import os
import random

import pytest
from cryptography.hazmat.primitives.asymmetric import utils

from evtill.core.crypto import p256 as module
from evtill.core.crypto.curve import N, P, affine
from evtill.core.crypto.p256 import P256, BytesTable, FileTable, der_decode, nonces, sec1_decode
from evtill.core.errors import SignatureError
from host_tests.core.crypto.common import (
    PREHASHED,
    ROOT,
    TABLE,
    p256,
    reference_key,
    reference_point,
    reference_verifies,
    vectors,
)

rng = random.Random(5)


def sha(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()


def number(text: str) -> int:
    return int(text, 16)


@pytest.mark.parametrize("v", vectors("rfc6979_p256_sha256.jsonl"))
def test_without_entropy_nonces_and_signatures_are_those_of_rfc_6979(v):
    d, digest = number(v["d"]), sha(bytes.fromhex(v["msg"]))
    assert p256.public_key(d) == (number(v["qx"]), number(v["qy"]))
    k, blind = next(nonces(d, digest, b""))
    assert k == number(v["k"])
    expected = number(v["r"]), number(v["s"])
    assert p256._sign_with(d, int.from_bytes(digest, "big"), k, blind) == expected
    assert p256.sign(d, digest, b"") == (expected[0], min(expected[1], N - expected[1]))


@pytest.mark.parametrize("v", vectors("cavp_siggen_p256_sha256.jsonl"))
def test_cavp_siggen(v):
    d, digest = number(v["d"]), sha(bytes.fromhex(v["msg"]))
    assert p256.public_key(d) == (number(v["qx"]), number(v["qy"]))
    e = int.from_bytes(digest, "big")
    assert p256._sign_with(d, e, number(v["k"]), 3) == (number(v["r"]), number(v["s"]))


@pytest.mark.parametrize("v", vectors("cavp_sigver_p256_sha256.jsonl"))
def test_cavp_sigver(v):
    q, digest = (number(v["qx"]), number(v["qy"])), sha(bytes.fromhex(v["msg"]))
    assert p256.verify(q, digest, number(v["r"]), number(v["s"])) is v["valid"], v["note"]


@pytest.mark.parametrize("v", vectors("cavp_pkv_p256.jsonl"))
def test_cavp_public_key_validation(v):
    x, y = number(v["qx"]), number(v["qy"])
    if x >= 1 << 256 or y >= 1 << 256:
        assert not v["valid"]
        return
    data = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    if v["valid"]:
        assert sec1_decode(data) == (x, y)
    else:
        with pytest.raises(SignatureError):
            sec1_decode(data)


def test_wycheproof():
    done = 0
    for line in vectors("wycheproof_ecdsa_secp256r1_sha256.jsonl"):
        if "key" in line:
            q = sec1_decode(bytes.fromhex(line["key"]))
            continue
        tc, message, signature, valid, comment = line
        try:
            r, s = der_decode(bytes.fromhex(signature))
            accepted = p256.verify(q, sha(bytes.fromhex(message)), r, s)
        except SignatureError:
            accepted = False
        assert accepted is valid, (tc, comment)
        done += 1
    assert done == 484


@pytest.mark.parametrize("seed", range(8))
def test_2000_random_cross_checks_with_cryptography_both_ways(seed):
    rng = random.Random(seed)
    for _ in range(25):
        d = rng.getrandbits(rng.choice((256, 256, 256, 248, 128, 8))) % (N - 1) + 1
        key, q = reference_key(d), reference_point(d)
        assert p256.public_key(d, rng.randrange(1, P)) == q
        for _ in range(10):
            digest = rng.randbytes(32)
            r, s = p256.sign(d, digest, rng.randbytes(32))
            assert reference_verifies(q, digest, r, s)
            assert s <= N // 2
            r, s = utils.decode_dss_signature(key.sign(digest, PREHASHED))
            assert p256.verify(q, digest, r, s)
        assert p256.verify(q, digest, r, N - s)
        assert not p256.verify(q, digest, s, r)
        flipped = bytearray(digest)
        flipped[rng.randrange(32)] ^= 1 << rng.randrange(8)
        assert not p256.verify(q, bytes(flipped), r, s)


@pytest.mark.parametrize("d", [1, 2, N - 1, N - 2, 2**8, 2**248 - 1])
@pytest.mark.parametrize("digest", [bytes(32), b"\xff" * 32, N.to_bytes(32, "big")])
def test_edge_keys_and_digests(d, digest):
    r, s = p256.sign(d, digest, b"")
    assert reference_verifies(reference_point(d), digest, r, s)
    assert p256.verify(reference_point(d), digest, r, s)


def test_short_r_and_s_are_made_and_verified():
    """One in 128 signatures has a number of fewer than 32 bytes."""
    d = rng.randrange(1, N)
    q, short_r, short_s, i = reference_point(d), 0, 0, 0
    while not (short_r and short_s):
        digest = sha(b"%d" % i)
        i += 1
        k, _ = next(nonces(d, digest, b""))
        x, _ = reference_point(k)
        s = pow(k, -1, N) * (int.from_bytes(digest, "big") + x * d) % N
        if x >> 248 and min(s, N - s) >> 247:
            continue
        r, s = p256.sign(d, digest, b"")
        short_r, short_s = short_r or not r >> 248, short_s or not s >> 247
        assert reference_verifies(q, digest, r, s) and p256.verify(q, digest, r, s)


def test_entropy_changes_the_nonce_and_zeros_are_entropy_too():
    d, digest = 42, sha(b"record")
    signatures = {p256.sign(d, digest, e) for e in (b"", bytes(32), b"\x01" * 32, b"\x00")}
    assert len(signatures) == 4
    assert p256.sign(d, digest, b"") == p256.sign(d, digest, b"")
    assert all(p256.verify(p256.public_key(d), digest, r, s) for r, s in signatures)


def test_nonces_after_a_refused_one_are_new():
    stream = nonces(7, sha(b"x"), b"")
    drawn = [next(stream) for _ in range(5)]
    assert len({k for k, _ in drawn}) == len({blind for _, blind in drawn}) == 5
    assert all(0 < k < N and 0 < blind < P for k, blind in drawn)


@pytest.mark.parametrize("d", [0, N, N + 1, -1])
def test_private_key_out_of_range(d):
    with pytest.raises(SignatureError):
        p256.sign(d, bytes(32), b"")
    with pytest.raises(SignatureError):
        p256.public_key(d)


@pytest.mark.parametrize("length", [0, 20, 31, 33, 64])
def test_digest_of_another_length(length):
    with pytest.raises(SignatureError):
        p256.sign(1, bytes(length), b"")
    assert not p256.verify(reference_point(1), bytes(length), 1, 1)


def test_r_and_s_out_of_range_and_keys_off_the_curve_do_not_verify():
    q, digest = reference_point(9), sha(b"m")
    r, s = p256.sign(9, digest, b"")
    assert p256.verify(q, digest, r, s)
    for bad_r, bad_s in [(0, s), (r, 0), (N, s), (r, N), (r + N, s), (r, s + N), (-r, s), (r, -s)]:
        assert not p256.verify(q, digest, bad_r, bad_s)
    for bad in [(0, 0), (q[0], q[1] ^ 1), (q[0] + P, q[1]), (q[0], -q[1]), (P, P)]:
        assert not p256.verify(bad, digest, r, s)


def test_generate_takes_what_is_in_range_and_no_more():
    offered = iter([bytes(32), N.to_bytes(32, "big"), b"\xff" * 32, (N - 1).to_bytes(32, "big")])
    assert p256.generate(lambda n: next(offered)) == N - 1
    d = p256.generate(os.urandom)
    assert 0 < d < N
    with pytest.raises(StopIteration):
        p256.generate(lambda n: next(iter(())))


# --- faults -------------------------------------------------------------------------------------


class FaultyTable(BytesTable):
    """Flips a bit of one read after so many good ones."""

    def __init__(self, good_reads: int, bit: int):
        super().__init__(TABLE)
        self.left, self.bit = good_reads, bit

    def read_into(self, offset, buffer):
        super().read_into(offset, buffer)
        self.left -= 1
        if self.left == -1:
            buffer[self.bit >> 3] ^= 1 << (self.bit & 7)


def test_a_damaged_table_is_refused():
    for at in (0, 4095, 8191):
        damaged = bytearray(TABLE)
        damaged[at] ^= 0x10
        with pytest.raises(SignatureError):
            P256(BytesTable(bytes(damaged)))
    with pytest.raises(SignatureError):
        P256(BytesTable(TABLE[:-64]))
    with pytest.raises(SignatureError):
        P256(BytesTable(TABLE[4096:] + TABLE[:4096]))


@pytest.mark.parametrize("read", range(0, 44, 4))
def test_a_bit_that_flips_on_the_way_from_flash_never_signs(read):
    good = P256(BytesTable(TABLE))
    expected = good.sign(77, sha(b"fault"), b"e")
    for bit in (0, 255, 256, 511):
        faulty = P256(FaultyTable(10**9, bit))
        faulty._comb._read_into.__self__.left = read
        with pytest.raises(SignatureError):
            faulty.sign(77, sha(b"fault"), b"e")
        assert faulty.sign(77, sha(b"fault"), b"e") == expected


def test_a_fault_in_the_inversion_never_signs(monkeypatch):
    monkeypatch.setattr(module, "inverse", lambda x, m: pow(x, -1, m) ^ 2)
    with pytest.raises(SignatureError):
        p256.sign(77, sha(b"fault"), b"")


def test_a_fault_in_the_coordinates_never_signs(monkeypatch):
    def wrong(point):
        x, y = affine(point)
        return x, y ^ 4

    monkeypatch.setattr(module, "affine", wrong)
    with pytest.raises(SignatureError):
        p256.sign(77, sha(b"fault"), b"")
    with pytest.raises(SignatureError):
        p256.public_key(77)


def test_the_table_can_stay_in_a_file():
    with open(ROOT / "firmware/evtill/core/crypto/p256.tab", "rb") as f:
        signer = P256(FileTable(f))
        assert signer.sign(5, sha(b"file"), b"") == p256.sign(5, sha(b"file"), b"")


def test_keys_are_not_mixed_up():
    """A signature under one key does not verify under its negative or another key."""
    digest = sha(b"whose")
    r, s = p256.sign(1000, digest, b"")
    x, y = p256.public_key(1000)
    assert not p256.verify((x, P - y), digest, r, s)
    assert not p256.verify(p256.public_key(1001), digest, r, s)
