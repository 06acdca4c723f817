"""Meters that tell the truth, and meters that do not; `check()` runs on both interpreters.

Each: (what, step and modulus for MeterTrust, first register, samples, flags that they earn), a
sample being (seconds passed, register, power)."""

from evtill.core.meter_trust import MeterTrust


def steady(seconds, power_w, start_wh, step_wh=1, period_s=1):
    """Samples of a meter that counts what flows, in whole steps; one by one, for a small heap."""
    for t in range(period_s, seconds + 1, period_s):
        yield (period_s, start_wh + power_w * t // 3600 // step_wh * step_wh, power_w)


def counts(seconds, counted_w, power_w):
    """Samples of a meter that counts something else than it tells."""
    for t in range(1, seconds + 1):
        yield (1, counted_w * t // 3600, power_w)


KW11 = 11000
CASES = (
    ("an hour at 11 kW", (), 1000000, steady(3600, KW11, 1000000), ()),
    ("an hour at 11 kW, a sample each 10 s", (), 5, steady(3600, KW11, 5, 1, 10), ()),
    ("three hours of a register of 100 Wh", (100,), 1000000,
     steady(10800, KW11, 1000000, 100), ()),
    ("three hours of one of 10 Wh", (10,), 1000000, steady(10800, 1400, 1000000, 10), ()),
    ("nothing flows", (), 77, [(1, 77, 0)] * 300, ()),
    ("a single's steps of 4 Wh", (), 40000000, steady(600, KW11, 40000000, 4), ()),
    ("a gap of an hour", (), 1000, [(1, 1003, KW11), (3600, 12003, KW11)], ()),
    ("one Wh back", (), 1000, [(1, 999, KW11), (1, 1001, KW11)], ("meter_rollback",)),
    ("reset", (), 1000000, [(1, 1000003, KW11), (1, 0, KW11), (1, 3, KW11)],
     ("meter_reset", "meter_reset")),
    ("back after a reset that was no reset", (), 1000000, [(1, 0, 0), (1, 1000001, 0)],
     ("meter_reset",)),
    ("a jump", (), 1000, [(1, 2000, KW11), (1, 1006, KW11)], ("meter_jump",)),
    ("a swapped word", (), 0x10000, [(1, 1, 0)], ("meter_reset",)),
    ("rollover", (0, 100000000), 99999998,
     [(1, 99999999, KW11), (1, 2, KW11), (1, 5, KW11)], ("meter_rollover",)),
    ("no rollover where nobody knows of one", (), 99999998, [(1, 2, KW11)], ("meter_reset",)),
    ("backwards is no rollover", (0, 100000000), 50000000, [(1, 49999990, 0)],
     ("meter_rollback",)),
    ("frozen", (), 1000, [(1, 1000, KW11)] * 130, ("meter_frozen", "meter_frozen")),
    ("frozen, of 100 Wh steps", (100,), 1000, [(1, 1000, KW11)] * 100,
     ("meter_frozen",)),
    ("half of it is counted", (), 0, counts(120, 5500, KW11), ("meter_disagrees",) * 2),
    ("a tenth too much", (), 0, counts(60, 12100, KW11), ("meter_disagrees",)),
    ("a fiftieth too much", (), 0, counts(300, 11220, KW11), ()),
    ("wired the wrong way round", (), 500, [(1, 500, -KW11)] * 61, ("meter_disagrees",)),
)  # fmt: skip


def flags_of(options, start_wh, samples):
    trust = MeterTrust(22000, *options)
    at_ms = 0
    found = []
    for seconds, register_wh, power_w in samples:
        if at_ms == 0:
            trust.begin(0, start_wh, power_w)
        at_ms += 1000 * seconds
        flag = trust.judge(at_ms, register_wh, power_w)
        if flag:
            found.append(flag)
    return tuple(found)


def check():
    """How many cases there are. Raises AssertionError with the first that fails."""
    for what, options, start_wh, samples, wanted in CASES:
        got = flags_of(options, start_wh, samples)
        if got != wanted:
            raise AssertionError("%s: %s, not %s" % (what, got, wanted))
    return len(CASES)


def grows():
    """Bytes of heap that 1,000 judgements leave uncollected."""
    import gc

    trust = MeterTrust(22000)
    trust.begin(0, 1000000, KW11)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    at_ms = 0
    for second in range(1000):
        at_ms += 1000
        trust.judge(at_ms, 1000000 + second * 3, KW11)
    after = gc.mem_alloc()
    gc.enable()
    return after - before
