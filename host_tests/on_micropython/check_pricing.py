"""Tariffs and pricing on the board's interpreter: prints what the CPython test compares.

Arguments: table (hex), start in Unix ms."""

import gc
import sys

from evtill.core.errors import TariffError
from evtill.core.pricing import CHARGING, Pricer
from evtill.core.tariff import load


def garbage(table, start_ms):
    """Bytes that 10,000 ticks within one period leave, with the collector off."""
    pricer = Pricer(table, start_ms, 1045120)
    pricer.tick(0, 0, CHARGING, 11000000, 16000)
    pricer.tick(1000, 0, CHARGING, 11000000, 16000)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    i = 0
    while i < 10000:
        pricer.tick(1000 + i * 50, i // 50, CHARGING, 11000000, 16000)
        i += 1
    left = gc.mem_alloc() - before
    gc.enable()
    return left


def kept(table, start_ms):
    """Bytes that 2,000 samples leave after a collection."""
    pricer = Pricer(table, start_ms, 1045120)
    pricer.sample(start_ms, 1045120, True, 11000)
    pricer.sample(start_ms + 1000, 1045121, True, 11000)
    gc.collect()
    before = gc.mem_alloc()
    for i in range(2000):
        pricer.sample(start_ms + 1000 + i * 250, 1045121 + i // 10, True, 11000)
    gc.collect()
    return gc.mem_alloc() - before


def damaged(table):
    """How many of the cut and of the flipped tables are refused."""
    refused = 0
    for i in range(len(table)):
        for bad in (table[:i], table[:i] + bytes([table[i] ^ 4]) + table[i + 1 :]):
            try:
                load(bad)
            except TariffError:
                refused += 1
    return refused


def two_months(table, start_ms):
    pricer = Pricer(table, start_ms, 0)
    for day in range(61):
        pricer.sample(start_ms + day * 86400000, 0, True)
        pricer = Pricer.resume(table, pricer.state())
    pricer.finish(start_ms + 61 * 86400000, 0)
    bill = pricer.bill()
    return bill["exact_excl"], bill["time_ms"], pricer.flags


def main():
    raw, start_ms = bytes.fromhex(sys.argv[1]), int(sys.argv[2])
    table = load(raw)
    print(garbage(table, start_ms))
    print(kept(table, start_ms))
    print(damaged(raw))
    print(*two_months(table, start_ms))


main()
