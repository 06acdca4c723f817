"""Points of NIST P-256 (SP 800-186, 3.2.1.3) in integers: fixed-base comb and Shamir's trick.

Points in work are XYZZ tuples (x = X / ZZ, y = Y / ZZZ, ZZ^3 = ZZZ^2; ZZ = 0 is infinity): Jacobian
coordinates that carry Z^2 and Z^3 instead of Z. Reduction costs MicroPython three times what a
product does, and these need the fewest per mixed addition (9). Points at rest are (x, y).
Formulas: Explicit-Formulas Database, g1p/auto-shortw-xyzz, dbl-2008-s-1 and madd-2008-s.

There is no variant in native code. Viper cannot multiply 32 x 32 -> 64 bits, so that x * y % P in
16-bit limbs takes longer than here; with viper for the reduction alone it takes a sixth less, and a
signature an eighth (`make bench` prints the first two): not worth a second path for secrets, which
each chip would have to prove right at boot.
"""

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

# The comb of G: a scalar of 4 x 6 x 11 = 264 signed bits, read as 11 columns of four times six.
# Table: 4 combs of 32 points, 64 bytes each (x, y; big-endian); entry i of comb c is
# 2^(66 c) * (2^(11*5) + sum over t < 5 of (+1 if bit t of i else -1) * 2^(11 t)) * G.
# Of all that fit 8 kB this is the one with the least work: 43 additions, 10 doublings.
COLUMNS = 11
TEETH = 6
COMBS = 4
TABLE_BYTES = COMBS << TEETH - 1 << 6
_SIGN = 1 << TEETH - 1
_COMB_MASK = (_SIGN - 1) << 6
# The comb of another point, made at run time: 8 points, 4 x 65 signed bits in 65 columns.
_KEY_TEETH = 4
_KEY_COLUMNS = 65

_ONE = 1 << 256
_ONE_AND_A_HALF = 3 << 255

INFINITY = (1, 1, 0, 0)


def on_curve(x, y):
    """Whether (x, y) are reduced coordinates of a point of the curve (never infinity)."""
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x - 3) * x - B) % P == 0


def inverse(x, m):
    """The y with x * y = 1 (mod m), for 0 < x < m and m a prime of 256 bits; 0 for x = 0.

    Euclid's, whose time depends on x: callers blind what is secret. Each remainder has its factor
    of x in its lower half, so that one `%` a step takes both along. (pow(x, -1, m) returns 0 on
    MicroPython, and pow(x, m - 2, m) takes nine times as long.)"""
    if not x:
        return 0
    u = m << 256
    v = x << 256 | 1
    # Factors stay below m / 2 until the remainder above them is 1, the greatest common divisor.
    while v > _ONE_AND_A_HALF:
        u %= v
        if u < _ONE_AND_A_HALF:
            return (u - _ONE) % m
        v %= u
    return (v - _ONE) % m


def walk(steps, point=INFINITY):
    """`point` after every step: (x, y) is added to it, None doubles it. Any two points add up.

    One function with everything in it: on MicroPython calls and tuples cost a tenth of this."""
    x, y, zz, zzz = point
    p = P
    for step in steps:
        if step:
            x2, y2 = step
            if not zz:
                x, y, zz, zzz = x2, y2, 1, 1
                continue
            h = (x2 * zz - x) % p
            r = (y2 * zzz - y) % p
            if h:
                v = h * h % p
                w = h * v % p
                s = x * v % p
                x = (r * r - (w + s + s)) % p
                y = (r * (s - x) - y * w) % p
                zz = v * zz % p
                zzz = w * zzz % p
                continue
            if r:
                zz = zzz = 0
                continue
        # Doubles, also where a point is added to itself.
        u = y + y
        v = u * u % p
        w = u * v % p
        s = x * v % p
        m = 3 * (x - zz) * (x + zz) % p
        x = (m * m - (s + s)) % p
        y = (m * (s - x) - w * y) % p
        zz = v * zz % p
        zzz = w * zzz % p
    return _tight(x), _tight(y), _tight(zz), _tight(zzz)


def _tight(n):
    """n, in half of the heap: what `%` gives has room for its dividend on MicroPython. Several
    points are kept at once while a comb is made, beside all else that a charger has in its heap."""
    return int.from_bytes(n.to_bytes(32, "big"), "big")


def affine(point):
    """(x, y) of a point that is not infinity."""
    return _scaled(point, inverse(point[3], P))


def _scaled(point, inverse_zzz):
    x, y, zz, _ = point
    z = zz * inverse_zzz % P  # 1 / Z
    return _tight(x * z % P * z % P), _tight(y * inverse_zzz % P)


def all_affine(points):
    """[(x, y)] of points that are not infinity, at the price of one inversion. Empties `points`."""
    products = [1]
    for point in points:
        products.append(_tight(products[-1] * point[3] % P))
    i = inverse(products.pop(), P)
    found = []
    while points:
        point = points.pop()
        found.append(_scaled(point, i * products.pop() % P))
        i = i * point[3] % P
    found.reverse()
    return found


def comb_of(x, y):
    """The 8 points of a comb of the point (x, y): what multiply_two takes.

    Entry i is 2^195 * (x, y) + sum over t < 3 of (+1 if bit t of i else -1) * 2^(65 t) * (x, y)."""
    points = [(x, y, 1, 1)]
    for _ in range(_KEY_TEETH - 1):
        points.append(walk((None,) * _KEY_COLUMNS, points[-1]))
    last = points.pop()
    teeth = all_affine(points)
    for i in range(1 << _KEY_TEETH - 1):
        signs = [(x, y if i >> t & 1 else P - y) for t, (x, y) in enumerate(teeth)]
        points.append(walk(signs, last))
    return all_affine(points)


class Comb:
    """Multiples of G from the table in `table`: an object with read_into(offset, buffer)."""

    def __init__(self, table):
        self._read_into = table.read_into
        self._entry = bytearray(64)

    def multiply(self, k, blind=1):
        """k * G for 0 <= k < N; `blind` (0 < blind < P) randomises digits and coordinates."""
        steps = self._steps(k, blind, 0, None)
        x, y = next(steps)
        zz = blind * blind % P
        zzz = zz * blind % P
        return walk(steps, (x * zz % P, y * zzz % P, zz, zzz))

    def multiply_two(self, k, j, entries):
        """k * G + j * Q for 0 <= k, j < N and entries = comb_of(Q), sharing the doublings."""
        return walk(self._steps(k, 0, j, entries))

    def _steps(self, k, blind, j, entries):
        """What walk takes: for each column its points, and None before the next one."""
        # Bits of +1 and -1 make odd numbers only; G's comb has room for 8 bits' worth of N.
        combs = _columns(k + (blind & 0xFE | ~k & 1) * N, COMBS, TEETH, COLUMNS)
        left, read_into, entry = COLUMNS, self._read_into, self._entry
        x_bytes, y_bytes = memoryview(entry)[:32], memoryview(entry)[32:]
        if entries:
            left = _KEY_COLUMNS
            key_columns = _columns(j + (~j & 1) * N, 1, _KEY_TEETH, _KEY_COLUMNS)[0]
        while True:
            left -= 1
            if entries:
                i = key_columns[left]
                x, y = entries[(i if i & 8 else ~i) & 7]
                yield x, y if i & 8 else P - y
            if left < COLUMNS:
                for comb in range(COMBS):
                    i = combs[comb][left]
                    read_into((i if i & _SIGN else ~i) << 6 & _COMB_MASK | comb << 11, entry)
                    y = int.from_bytes(y_bytes, "big")
                    yield int.from_bytes(x_bytes, "big"), y if i & _SIGN else P - y
                if not left:
                    return
            yield None


def _columns(k, combs, teeth, columns):
    """The columns, lowest first, of each comb: `bytes` whose bit t is 1 where tooth t counts +1.

    k is odd and fits combs * teeth * columns signed bits."""
    at = combs * teeth * columns
    # As text each bit is a byte, so that rows become columns by adding them up.
    bits = bin((k + (1 << at) - 1) >> 1 | 1 << at)[3:].encode()
    zeros = int.from_bytes(b"0" * columns, "big") * ((1 << teeth) - 1)
    found = []
    for _ in range(combs):
        total = -zeros
        for t in range(teeth):
            at -= columns
            total += int.from_bytes(bits[at : at + columns], "big") << t
        found.append(total.to_bytes(columns, "little"))
    return found
