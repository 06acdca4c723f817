#!/usr/bin/env python3
"""Writes firmware/evtill/core/crypto/p256.tab, the fixed-base comb that curve.py describes.

usage: make_p256_table.py [FILE]"""

import sys
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
sys.path.insert(0, str(FIRMWARE))

from evtill.core.crypto.curve import COLUMNS, COMBS, TEETH, G, N, P  # noqa: E402

Point = tuple[int, int]


def scalars() -> list[int]:
    """The multiple of G in each entry, in order, modulo N."""
    entries = []
    for comb in range(COMBS):
        for i in range(1 << TEETH - 1):
            k = 1 << COLUMNS * (TEETH - 1)
            for t in range(TEETH - 1):
                k += (1 if i >> t & 1 else -1) << COLUMNS * t
            entries.append((k << comb * COLUMNS * TEETH) % N)
    return entries


def add(p: Point | None, q: Point | None) -> Point | None:
    """The schoolbook group law; None is infinity."""
    if p is None or q is None:
        return p or q
    if p == q:
        slope = 3 * (p[0] * p[0] - 1) * pow(2 * p[1], -1, P)
    elif p[0] == q[0]:
        return None
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def multiply(k: int) -> Point:
    total, doubled = None, G
    while k:
        if k & 1:
            total = add(total, doubled)
        doubled = add(doubled, doubled)  # type: ignore[assignment]
        k >>= 1
    assert total is not None
    return total


def table() -> bytes:
    """The 8192 bytes of the table."""
    return b"".join(v.to_bytes(32, "big") for k in scalars() for v in multiply(k))


def main() -> int:
    target = Path(sys.argv[1]) if sys.argv[1:] else FIRMWARE / "evtill/core/crypto/p256.tab"
    target.write_bytes(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
