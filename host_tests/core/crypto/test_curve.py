import random
import runpy

import pytest

from evtill.core.crypto import curve
from evtill.core.crypto.curve import COLUMNS, TEETH, Comb, G, N, P
from evtill.core.crypto.p256 import BytesTable
from host_tests.core.crypto.common import ROOT, TABLE, reference_point

comb = Comb(BytesTable(TABLE))
rng = random.Random(2026)
EDGES = [1, 2, 3, 4, 5, 15, 16, 2**19, 2**128 - 1, 2**133, 2**255, N // 2, N // 2 + 1, N - 2, N - 1]


def entry_scalar(i: int) -> int:
    """The multiple of G in entry i, by the words of the issue: a comb of signed bits."""
    teeth = [1 if i >> t & 1 else -1 for t in range(TEETH - 1)] + [1]
    shift = (i >> TEETH - 1) * COLUMNS * TEETH
    return sum(sign << COLUMNS * t + shift for t, sign in enumerate(teeth)) % N


def to_affine(point):
    return None if not point[2] else curve.affine(point)


def test_every_entry_of_the_table_is_what_cryptography_computes():
    assert len(TABLE) == 8192
    for i in range(128):
        entry = TABLE[64 * i : 64 * i + 64]
        x, y = int.from_bytes(entry[:32], "big"), int.from_bytes(entry[32:], "big")
        assert (x, y) == reference_point(entry_scalar(i)), i


def test_the_script_makes_the_table_that_is_shipped():
    assert runpy.run_path(str(ROOT / "tools/make_p256_table.py"))["table"]() == TABLE


@pytest.mark.parametrize("k", EDGES)
def test_edge_scalars(k):
    for blind in (1, 2, 0xFE, 0xFF, P - 1):
        assert curve.affine(comb.multiply(k, blind)) == reference_point(k)


def test_random_scalars_of_every_length():
    for bits in range(1, 257, 5):
        k = rng.getrandbits(bits) % (N - 1) + 1
        blind = rng.randrange(1, P)
        assert curve.affine(comb.multiply(k, blind)) == reference_point(k)


def test_zero_times_the_generator_is_infinity():
    assert comb.multiply(0)[2] == 0
    assert comb.multiply_two(0, 0, curve.comb_of(*G))[2] == 0


def test_blinding_changes_every_coordinate_in_work():
    first, second = comb.multiply(12345, 1), comb.multiply(12345, 77777)
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_sum_of_two_multiples():
    q = rng.randrange(1, N)
    entries = curve.comb_of(*reference_point(q))
    for k in [0, *EDGES]:
        for j in [0, 1, 2, 7, 8, rng.randrange(N), N - 1]:
            total = (k + j * q) % N
            expected = reference_point(total) if total else None
            assert to_affine(comb.multiply_two(k, j, entries)) == expected


def test_sum_that_is_infinity_or_meets_the_comb():
    for q in (1, 2, N - 1, entry_scalar(0), entry_scalar(127)):
        entries = curve.comb_of(*reference_point(q))
        j = rng.randrange(1, N)
        assert to_affine(comb.multiply_two(-j * q % N, j, entries)) is None
        total = j * (q + 1) % N
        expected = reference_point(total) if total else None
        assert to_affine(comb.multiply_two(j, j, entries)) == expected


def test_addition_is_complete():
    minus = G[0], P - G[1]
    for steps, expected in [
        ((G,), 1),
        ((G, None), 2),
        ((G, G), 2),
        ((G, None, G), 3),
        ((G, G, G, G), 4),
        ((G, minus), None),
        ((G, minus, G), 1),
        ((G, minus, None, G), 1),
        ((None,), None),
        ((), None),
        ((G, None, minus, minus), None),
        ((G, None, minus, minus, minus), N - 1),
    ]:
        got = to_affine(curve.walk(steps))
        assert got == (None if expected is None else reference_point(expected)), steps
    assert to_affine(curve.walk((G,), (*G, 1, 1))) == reference_point(2)


def test_comb_of_a_point():
    q = rng.randrange(1, N)
    scalars = [
        2**195 + sum((1 if i >> t & 1 else -1) << 65 * t for t in range(3)) for i in range(8)
    ]
    expected = [reference_point(q * k % N) for k in scalars]
    assert curve.comb_of(*reference_point(q)) == expected


@pytest.mark.parametrize("m", [P, N])
def test_inverse(m):
    golden = int(m * (5**0.5 - 1) / 2)  # many steps; next to m / n: large quotients
    edges = [1, 2, m - 1, m - 2, 2**128, 2**255, golden]
    edges += [m // n + off for n in range(2, 40) for off in (-1, 0, 1)]
    edges += [pow(n, -1, m) for n in range(2, 40)]
    for x in edges + [rng.randrange(1, m) for _ in range(200)]:
        assert curve.inverse(x, m) == pow(x, -1, m)
    assert curve.inverse(0, m) == 0


def test_on_curve():
    assert curve.on_curve(*G)
    assert not curve.on_curve(G[0], G[1] ^ 1)
    assert not curve.on_curve(0, 0)
    assert not curve.on_curve(G[0] + P, G[1])
    assert not curve.on_curve(G[0], G[1] - P)
