import random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from evtill.core.crypto.curve import G, N, P
from evtill.core.crypto.der import (
    der_decode,
    der_encode,
    sec1_decode,
    sec1_encode,
    spki_decode,
    spki_encode,
)
from evtill.core.errors import SignatureError
from host_tests.core.crypto.common import reference_key, reference_point

rng = random.Random(3279)
SCALARS = [1, 2, 3, N - 1, N - 2, *(rng.randrange(1, N) for _ in range(40))]


@pytest.mark.parametrize("d", SCALARS)
def test_keys_are_encoded_as_cryptography_does(d):
    key, point = reference_key(d).public_key(), reference_point(d)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plain = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert spki_encode(point) == spki
    assert sec1_encode(point) == plain
    assert sec1_encode(point, compressed=True) == compressed
    for view in (bytes, bytearray, memoryview):
        assert spki_decode(view(spki)) == point
        assert sec1_decode(view(plain)) == sec1_decode(view(compressed)) == point
    loaded = load_der_public_key(spki_encode(point))
    assert isinstance(loaded, ec.EllipticCurvePublicKey)


SPKI = spki_encode(G)
BAD_POINTS = [
    b"",
    b"\x00",
    b"\x04",
    sec1_encode(G)[:64],
    sec1_encode(G) + b"\0",
    b"\x02" + sec1_encode(G)[1:],
    b"\x04" + sec1_encode(G, True)[1:],
    b"\x06" + sec1_encode(G)[1:],  # hybrid form
    b"\x04" + bytes(64),
    b"\x04" + sec1_encode(G)[1:64] + bytes([sec1_encode(G)[64] ^ 1]),
    b"\x04" + P.to_bytes(32, "big") + sec1_encode(G)[33:],
    b"\x02" + P.to_bytes(32, "big"),
    b"\x02" + (5).to_bytes(32, "big")[:31] + b"\x01",  # 1 - 3 + B is no square
]


@pytest.mark.parametrize("data", BAD_POINTS)
def test_points_that_are_none(data):
    with pytest.raises(SignatureError):
        sec1_decode(data)
    with pytest.raises(SignatureError):
        spki_decode(SPKI[:26] + data)


def test_half_of_all_x_have_a_point():
    found = 0
    for x in range(200):
        try:
            assert sec1_decode(b"\x03" + x.to_bytes(32, "big"))[0] == x
            found += 1
        except SignatureError:
            pass
    assert 70 < found < 130


def test_every_flipped_bit_of_a_key_file_is_noticed():
    for i in range(8 * len(SPKI)):
        data = bytearray(SPKI)
        data[i >> 3] ^= 1 << (i & 7)
        with pytest.raises(SignatureError):
            spki_decode(data)


VALUES = [1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 1 << 247, 1 << 248, 1 << 255, N - 1]
VALUES += [(1 << 255) - 1, (1 << 256) - 1]


def test_signatures_are_encoded_as_cryptography_does():
    pairs = [(r, s) for r in VALUES for s in VALUES]
    pairs += [(rng.getrandbits(rng.randrange(1, 257)) + 1, rng.randrange(1, N)) for _ in range(500)]
    for r, s in pairs:
        r = min(r, (1 << 256) - 1)
        expected = utils.encode_dss_signature(r, s)
        assert der_encode(r, s) == expected
        for view in (bytes, bytearray, memoryview):
            assert der_decode(view(expected)) == (r, s)


GOOD = der_encode(0x8123, 0x45)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        GOOD[:-1],
        GOOD + b"\0",
        b"\x31" + GOOD[1:],
        b"\x30\x81" + GOOD[1:],  # long form of a short length
        b"\x30\x80" + GOOD[2:] + b"\0\0",  # indefinite length
        bytes.fromhex("3009020400008123020145"),  # a redundant zero
        bytes.fromhex("300702028123020145"),  # negative
        bytes.fromhex("300702030081230200"),  # no value
        bytes.fromhex("3008020300812302020045"),
        bytes.fromhex("3006020100020145"),  # r = 0
        bytes.fromhex("3006020145020100"),  # s = 0
        bytes.fromhex("3006030145020145"),
        bytes.fromhex("3006020145030145"),
        bytes.fromhex("300602ff45020145"),
        bytes.fromhex("3006020245020145"),
        bytes.fromhex("300902014502014502" + "0145"),
        bytes.fromhex("3027" + "0222" + "01" + "00" * 33 + "020145"),
        bytes.fromhex("3026" + "0221" + "01" + "00" * 32 + "020145"),  # r = 2^256
    ],
)
def test_signatures_that_are_not_minimal_der(data):
    with pytest.raises(SignatureError):
        der_decode(data)


def test_whatever_is_decoded_is_encoded_back():
    good = der_encode(N - 5, 1 << 200)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            r, s = der_decode(data)
        except SignatureError:
            continue
        assert der_encode(r, s) == utils.encode_dss_signature(r, s) == bytes(data)
