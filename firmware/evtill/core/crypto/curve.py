"""Points of NIST P-256 (SP 800-186, 3.2.1.3) in integers: fixed-base comb and Shamir's trick.

Points in work are XYZZ tuples (x = X / ZZ, y = Y / ZZZ, ZZ^3 = ZZZ^2; ZZ = 0 is infinity): Jacobian
coordinates that carry Z^2 and Z^3 instead of Z. Reduction costs MicroPython three times what a
product does, and these need the fewest per mixed addition (9). Points at rest are (x, y).
Formulas: Explicit-Formulas Database, g1p/auto-shortw-xyzz, dbl-2008-s-1 and madd-2008-s.
"""

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

# The comb: a scalar of 2 x 7 x 19 = 266 signed bits, read as 19 columns of two times seven.
# Table: 2 combs of 64 points, 64 bytes each (x, y; big-endian); entry i of comb c is
# 2^(133 c) * (2^(19*6) + sum over t < 6 of (+1 if bit t of i else -1) * 2^(19 t)) * G.
COLUMNS = 19
TEETH = 7
COMBS = 2
TABLE_BYTES = COMBS << TEETH - 1 << 6
_COLUMN_MASK = (1 << COLUMNS) - 1
_ENTRY_MASK = (1 << TEETH - 1) - 1
_ALL_ONES = (1 << COMBS * TEETH * COLUMNS) - 1

INFINITY = (1, 1, 0, 0)


def on_curve(x, y):
    """Whether (x, y) are reduced coordinates of a point of the curve (never infinity)."""
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x - 3) * x - B) % P == 0


def inverse(x, m):
    """The y with x * y = 1 (mod m), for 0 < x < m and m prime; 0 for x = 0.

    Euclid's, whose time depends on x: callers blind what is secret. (pow(x, -1, m) returns 0 on
    MicroPython, and pow(x, m - 2, m) takes six times as long.)"""
    u, v, y = 1, 0, m
    while x:
        q, r = divmod(y, x)
        y = x
        x = r
        u, v = v - q * u, u
    return v % m


def double(point):
    x, y, zz, zzz = point
    u = 2 * y
    v = u * u % P
    w = u * v % P
    s = x * v % P
    m = 3 * (x - zz) * (x + zz) % P
    x = (m * m - 2 * s) % P
    return x, (m * (s - x) - w * y) % P, v * zz % P, w * zzz % P


def add_affine(point, x2, y2):
    """point + (x2, y2), whatever the two are."""
    x, y, zz, zzz = point
    h = (x2 * zz - x) % P
    r = (y2 * zzz - y) % P
    if not zz:
        return x2, y2, 1, 1
    if not h:
        return INFINITY if r else double((x2, y2, 1, 1))
    hh = h * h % P
    hhh = h * hh % P
    q = x * hh % P
    x = (r * r - hhh - 2 * q) % P
    return x, (r * (q - x) - y * hhh) % P, zz * hh % P, zzz * hhh % P


def affine(point, blind=1):
    """(x, y) of a point that is not infinity; `blind` (0 < blind < P) hides ZZZ from timing."""
    return _scaled(point, inverse(point[3] * blind % P, P) * blind % P)


def _scaled(point, inverse_zzz):
    x, y, zz, _ = point
    z = zz * inverse_zzz % P  # 1 / Z
    return x * z % P * z % P, y * inverse_zzz % P


class Comb:
    """Multiples of G from the table in `table`: an object with read_at(offset, n) -> bytes."""

    def __init__(self, table):
        self._read_at = table.read_at

    def multiply(self, k, blind=1):
        """k * G for 0 <= k < N; `blind` (0 < blind < P) randomises digits and coordinates."""
        rows = _rows(k, blind)
        x, y = self._entry(rows, 0, COLUMNS - 1)
        zz = blind * blind % P
        zzz = zz * blind % P
        point = x * zz % P, y * zzz % P, zz, zzz
        point = add_affine(point, *self._entry(rows, 1, COLUMNS - 1))
        for column in range(COLUMNS - 2, -1, -1):
            point = self._add_column(double(point), rows, column)
        return point

    def multiply_two(self, k, j, x, y):
        """k * G + j * (x, y) for 0 <= k, j < N, sharing the doublings (Shamir's trick)."""
        rows, digits, multiples = _rows(k, 1), wnaf(j), odd_multiples(x, y)
        point = INFINITY
        for i in range(256, -1, -1):
            if point[2]:
                point = double(point)
            digit = digits[i]
            if digit > 127:
                x2, y2 = multiples[(256 - digit) >> 1]
                point = add_affine(point, x2, P - y2)
            elif digit:
                point = add_affine(point, *multiples[digit >> 1])
            if i < COLUMNS:
                point = self._add_column(point, rows, i)
        return point

    def _add_column(self, point, rows, column):
        point = add_affine(point, *self._entry(rows, 0, column))
        return add_affine(point, *self._entry(rows, 1, column))

    def _entry(self, rows, comb, column):
        """(x, y) of what `column` of that comb adds."""
        i = 0
        for t in range((comb + 1) * TEETH - 1, comb * TEETH - 1, -1):
            i = i << 1 | (rows[t] >> column & 1)
        negative = i <= _ENTRY_MASK
        if negative:
            i = ~i
        xy = self._read_at((comb << TEETH - 1 | i & _ENTRY_MASK) << 6, 64)
        y = int.from_bytes(xy[32:], "big")
        return int.from_bytes(xy[:32], "big"), P - y if negative else y


def _rows(k, blind):
    """14 rows of 19 signed bits (1 for +1, 0 for -1) of an odd number congruent to k (mod N)."""
    # Bits +-1 make odd numbers only; there is room for 9 bits' worth of N.
    k += (blind & 0x1FE | ~k & 1) * N
    k = (k + _ALL_ONES) >> 1
    rows = []
    for _ in range(COMBS * TEETH):
        rows.append(k & _COLUMN_MASK)
        k >>= COLUMNS
    return rows


def wnaf(k):
    """257 signed digits (two's complement bytes) of 0 <= k < 2^256, lowest first.

    Each is 0 or odd within +-7; after an odd one come three zeros."""
    digits = bytearray(257)
    bits = k.to_bytes(34, "little")
    i = carry = 0
    while i < 257:
        window = (bits[i >> 3] | bits[(i >> 3) + 1] << 8) >> (i & 7) & 15
        if window & 1 == carry:
            i += 1
            continue
        window += carry
        carry = window >> 3
        digits[i] = window - (carry << 4) & 255
        i += 4
    return digits


def odd_multiples(x, y):
    """[(x, y) of 1, 3, 5 and 7 times a point], at the price of one inversion."""
    two = double((x, y, 1, 1))
    three = add_affine(two, x, y)
    five = add_affine(double(two), x, y)
    seven = add_affine(double(three), x, y)
    zzz3, zzz5, zzz7 = three[3], five[3], seven[3]
    both = zzz3 * zzz5 % P
    i = inverse(both * zzz7 % P, P)
    i7, i = i * both % P, i * zzz7 % P
    return [
        (x, y),
        _scaled(three, i * zzz5 % P),
        _scaled(five, i * zzz3 % P),
        _scaled(seven, i7),
    ]
