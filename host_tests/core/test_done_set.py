"""The set of what is done, against a plain set."""

import random

from evtill.core.done_set import DoneSet


def test_it_is_a_set_that_survives_being_stored() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        base = rng.randrange(20)
        seqs = DoneSet(base, base, b"")
        left: set[int] = set()
        for _ in range(300):
            if rng.random() < 0.4:
                left.add(seqs.end)
                seqs.grow(seqs.end + 1)
            elif left and rng.random() < 0.8:
                seq = min(left) if rng.random() < 0.5 else rng.choice(sorted(left))
                left.discard(seq)
                seqs.done(seq)
            else:
                seqs.done(rng.choice((seqs.end, seqs.base - 1, 0)) if 0 not in left else seqs.end)
            if rng.random() < 0.1:
                seqs = DoneSet(seqs.base, seqs.end, bytes(seqs.bits))
            assert seqs.waiting == len(left)
            assert seqs.next(0) == min(left, default=None)
            middle = rng.randrange(seqs.end + 2)
            assert seqs.next(middle) == min((s for s in left if s >= middle), default=None)
        assert len(seqs.bits) <= (seqs.end - seqs.base) // 8 + 2
        for seq in sorted(left):
            seqs.done(seq)
        assert (seqs.base, seqs.waiting, len(seqs.bits)) == (seqs.end, 0, len(seqs.bits) and 1)
