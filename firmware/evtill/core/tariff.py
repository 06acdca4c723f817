"""The compact tariff table: loaded, checked and looked up on the board, compiled by tillctl.

Layout of version 1. `u` is an unsigned LEB128 number; `dec` is one that holds
(mantissa * 10 + decimal exponent) * 2 + sign; a string is `u` length and bytes.
    "ET", version, length of the table (u16 little endian)
    flags: bits 0-2 minor digits of the currency, 3 valid_from, 4 valid_to, 5 needs the wall clock,
           6 fixed fees are looked up at the start only (OCPP), 7 made from OCPP
    limits: bits 0-3 min excl, min incl, max excl, max incl; bits 4-6 index into KINDS
    currency (3 letters), id, owner
    valid_from and valid_to (u, Unix s), limits (dec, 1e-6 currency units), each if present
    zone: number of offsets (u), offsets in minutes (u, zigzag), number of transitions (u); if any:
          first and last covered day (u, Unix days), unit in minutes (u), first transition
          (u, Unix minutes), deltas to the next ones (u, in units); offset i goes to stretch
          i modulo their number
    six rule lists, one a dimension: number (u), then for each rule, in order of precedence, the
          place of its condition + 1 (u, 0 for none) and of its rate (u)
    length of the rates (u), rates: price (dec, 1e-6 per kWh, hour or session), VAT (u, 0 for
          none, else 1 + mantissa * 10 + exponent of 1e-9), step in Wh or s (u)
    conditions: mask (u), then the fields of its bits in order (see Tariff._holds)
    CRC-32 of all before (u32 little endian)
Semantics: OCPI 2.2.1 mod_tariffs, mod_cdrs; OCPP 2.1 TariffType.
"""

import binascii
import hashlib

from .errors import TariffError

VERSION = 1
KINDS = ("", "AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN", "REGULAR")
ENERGY, TIME, PARKING, FLAT, RES_TIME, RES_FLAT = 0, 1, 2, 3, 4, 5
# Quantities that conditions bound: energy mWh, duration s, power mW, current mA, charging s and
# idle s.
UNKNOWN = -(1 << 30) + 1  # a quantity that nobody measured: no condition on it matches
_MOST = 1 << 60
_FAR_S = 500000  # look again at least so often: ms to an edge stay small integers
_DAY_S = 86400


class Cursor:
    """Reads numbers out of a buffer at `i`. Raises IndexError past the end."""

    def __init__(self, buf, i=0):
        self.buf = buf
        self.i = i

    def u(self):
        n = shift = 0
        while True:
            byte = self.buf[self.i]
            self.i += 1
            n |= (byte & 127) << shift
            if byte < 128:
                return n
            shift += 7

    def s(self):
        n = self.u()
        return -(n >> 1) - 1 if n & 1 else n >> 1

    def dec(self):
        n = self.u()
        value = (n >> 1) // 10 * 10 ** ((n >> 1) % 10)
        return -value if n & 1 else value

    def text(self):
        n = self.u()
        self.i += n
        if self.i > len(self.buf):
            raise IndexError
        return str(bytes(self.buf[self.i - n : self.i]), "ascii")


def put(out, n):
    """Appends `n` as a `u` to the bytearray `out`."""
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)


class Moment:
    """What conditions look at, and how far from it their answers stay the same.

    `low` and `high` hold the six quantities as minimum and maximum conditions see them (one list
    on the board). After lookups: nothing changes for `wait_s` seconds, and while each quantity q
    stays within down[q] <= value < up[q]."""

    def __init__(self, context=None):
        self.low = self.high = [0, 0, UNKNOWN, UNKNOWN, 0, 0]
        self.context = context or ("", "", "")
        self.expired = False
        self.day = self.second = 0
        self.down = [0] * 6
        self.up = [0] * 6
        self.reset()

    def reset(self):
        self.wait_s = _FAR_S
        for q in range(6):
            self.down[q] = -_MOST
            self.up[q] = _MOST

    def wait(self, seconds):
        if 0 < seconds < self.wait_s:
            self.wait_s = seconds

    def below(self, q, limit):
        if limit < self.up[q]:
            self.up[q] = limit

    def above(self, q, limit):
        if limit > self.down[q]:
            self.down[q] = limit


class Tariff:
    """One tariff. Amounts are 1e-6 currency units; `valid_*_s` are Unix seconds or None;
    `min_price` and `max_price` are (excl, incl), each or both None; `span` is the first and the
    last covered Unix day, None where the offset never changes."""

    def __init__(self, table):
        size = len(table)
        if size < 16 or table[0:2] != b"ET":
            raise TariffError("tariff: not a tariff table")
        if table[2] != VERSION:
            raise TariffError("tariff: table version %d, not %d" % (table[2], VERSION))
        crc = binascii.crc32(table[: size - 4]) & 0xFFFFFFFF
        if table[3] | table[4] << 8 != size or table[size - 4 :] != crc.to_bytes(4, "little"):
            raise TariffError("tariff: damaged table (length or CRC)")
        self.table = table
        self.sha256 = str(binascii.hexlify(hashlib.sha256(table).digest()), "ascii")
        self._c = Cursor(table, 5)
        try:
            self._head(self._c)
            self._check()
        except (IndexError, ValueError):
            raise TariffError("tariff: table does not hold together") from None

    def _head(self, c):
        flags, limits = self.table[5], self.table[6]
        self.minor_digits = flags & 7
        self._on_clock = bool(flags & 32)
        self.needs_clock = flags & 56 != 0  # rules on the wall clock, or a validity
        self.flat_at_start = bool(flags & 64)
        self.from_ocpp = bool(flags & 128)
        self.kind = KINDS[limits >> 4]
        self.currency = str(self.table[7:10], "ascii")
        c.i = 10
        self.id = c.text()
        self.owner = c.text()
        self.valid_from_s = c.u() if flags & 8 else None
        self.valid_to_s = c.u() if flags & 16 else None
        prices = [c.dec() if limits >> k & 1 else None for k in range(4)]
        self.min_price = (prices[0], prices[1])
        self.max_price = (prices[2], prices[3])
        self._zone = c.i
        self._stretch = (0, 0, 0)
        self.offset_s_at(0)
        lists = []
        for _ in range(6):
            count = c.u()
            lists.append((c.i, count))
            for _ in range(2 * count):
                c.u()
        self._lists = lists
        size = c.u()
        self._rates = c.i
        self._conditions = c.i + size

    def _check(self):
        """Walks every rule once, so that no lookup can fail later."""
        end = len(self.table) - 4
        nobody = Moment()
        c = self._c
        for dimension in range(6):
            for condition, rate in self.rules(dimension):
                self.rate(rate)
                if c.i > self._conditions:
                    raise IndexError
                if condition:
                    self._holds(condition, nobody, True)
                    if c.i > end:
                        raise IndexError

    def rules(self, dimension):
        """Yields (place of the condition in the table or 0, rate) of each rule in order."""
        at, count = self._lists[dimension]
        c = self._c
        for _ in range(count):
            c.i = at
            condition, rate = c.u(), c.u()
            at = c.i
            yield condition and self._conditions + condition - 1, rate

    def covers(self, unix_s):
        """Whether the wall clock of `unix_s` is known to this table and the tariff is valid."""
        if self.valid_from_s is not None and unix_s < self.valid_from_s:
            return False
        if self.valid_to_s is not None and unix_s >= self.valid_to_s:
            return False
        if not self._on_clock:
            return True
        self.offset_s_at(unix_s)
        return self.span is None or self.span[0] <= unix_s // _DAY_S < self.span[1]

    def offset_s_at(self, unix_s):
        """Seconds east of UTC of the tariff's time zone (the nearest known, outside its years)."""
        low, high, offset = self._stretch
        if low <= unix_s < high:
            return offset
        c = self._c
        c.i = self._zone
        offsets = [60 * c.s() for _ in range(c.u())]
        left = c.u()
        self.span = (c.u(), c.u()) if left else None
        low, high, i = 0, 1 << 40, 0
        if left:
            unit = 60 * c.u()
            high = 60 * c.u()
            while left > 1 and high <= unix_s:
                i += 1
                left -= 1
                low = high
                high += unit * c.u()
            if high <= unix_s:
                i += 1
                low, high = high, 1 << 40
            while left > 1:
                c.u()
                left -= 1
        self._stretch = (low, high, offsets[i % len(offsets)])
        return self._stretch[2]

    def rate(self, at):
        """(price 1e-6 per kWh, hour or session; VAT in 1e-9 or None; step in Wh or s, 0 for none)
        of a rate that find() returned."""
        c = self._c
        c.i = self._rates + at
        price, vat = c.dec(), c.u() - 1
        return price, None if vat < 0 else vat // 10 * 10 ** (vat % 10), c.u()

    def place(self, moment, unix_s):
        """Puts `moment` at a wall-clock time and forgets its bounds."""
        moment.reset()
        if self._on_clock:
            local = unix_s + self.offset_s_at(unix_s)
            moment.wait(self._stretch[1] - unix_s)
            moment.day = local // _DAY_S
            moment.second = local % _DAY_S

    def find(self, dimension, moment):
        """The rate of the first rule that matches, or -1; narrows the moment's bounds."""
        for condition, rate in self.rules(dimension):
            if condition == 0 or self._holds(condition, moment):
                return rate
        return -1

    def _holds(self, at, m, walk=False):
        """Whether a condition matches; `walk` reads all of it instead of stopping at a mismatch."""
        c = self._c
        c.i = at
        mask = c.u()
        if mask & 15 and not self._wall(mask, m) and not walk:
            return False
        bit = 16
        for q in range(6):
            if mask & bit:  # minimum, inclusive
                limit = c.dec()
                if m.low[q] < limit:
                    m.below(q, limit)
                    if not walk:
                        return False
                m.above(q, limit)
            bit <<= 1
            if mask & bit:  # maximum, exclusive
                limit = c.dec()
                value = m.high[q]
                if value >= limit:
                    m.above(q, limit)
                elif value == UNKNOWN:
                    m.below(q, UNKNOWN + 1)
                else:
                    m.below(q, limit)
                    m.above(q, UNKNOWN + 1)
                if not UNKNOWN < value < limit and not walk:
                    return False
            bit <<= 1
        if mask & bit and not m.expired and not walk:
            return False
        for k in range(3):  # payment brand, payment recognition, kind of EVSE
            bit <<= 1
            if mask & bit and c.text() != m.context[k] and not walk:
                return False
        return True

    def _wall(self, mask, m):
        """Window (minutes of the local day), first and last day (Unix days), days of the week."""
        c = self._c
        holds = True
        second = m.second
        if mask & 1:
            start, end = 60 * c.u(), 60 * c.u()
            m.wait((start - second) % _DAY_S)
            m.wait((end - second) % _DAY_S)
            m.wait(_DAY_S)
            holds = start <= second < end if start < end else second >= start or second < end
        if mask & 2:
            days = c.u() - m.day
            m.wait(days * _DAY_S - second)
            holds = holds and days <= 0
        if mask & 4:
            days = c.u() - m.day
            m.wait(days * _DAY_S - second)
            holds = holds and days > 0
        if mask & 8:
            m.wait(_DAY_S - second)
            days = c.u()
            holds = holds and days >> (m.day + 3) % 7 & 1  # 1970-01-01 was a Thursday
        return holds


def split(buf):
    """The tables of a file that holds one or several. Raises TariffError."""
    tables: list = []
    while True:
        size = buf[3] | buf[4] << 8 if len(buf) > 4 else 0
        if size < 16 or size > len(buf):
            raise TariffError("tariff: not a tariff table" if not tables else "tariff: cut short")
        tables.append(bytes(buf[:size]))
        buf = buf[size:]
        if not buf:
            return tables


def load(buf):
    """The (first) tariff of a file. Raises TariffError for anything but whole, known tables."""
    tariffs = [Tariff(table) for table in split(buf)]
    return tariffs[0]


def choose(buf, unix_s, kind="REGULAR"):
    """The tariff that a session of `kind` (one of KINDS) starting at `unix_s` gets.

    Its own type goes before an untyped tariff (valid for all sessions), that before REGULAR for a
    charging preference without a tariff of its own; of several, the one that became valid last,
    then the first. Raises TariffError when there is none."""
    best = None
    for table in split(buf):
        tariff = Tariff(table)
        if tariff.kind == kind:
            rank = 3
        elif not tariff.kind:
            rank = 2
        elif tariff.kind == "REGULAR" and kind.startswith("PROFILE_"):
            rank = 1
        else:
            continue
        if tariff.covers(unix_s):
            key = (rank, tariff.valid_from_s or 0)
            if best is None or key > best[0]:
                best = (key, tariff)
    if best is None:
        raise TariffError("tariff: none for a %s session at this time" % kind)
    return best[1]
