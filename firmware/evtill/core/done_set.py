"""Which of a row of numbers are done: the first that is not, and a bit each from there on."""


class DoneSet:
    """Of base <= seq < end. waiting: how many are not done. unsaved: done() since clean()."""

    def __init__(self, base, end, bits):
        """bits: as `bits` of an earlier one with that base."""
        self.base = base
        self.end = end
        self.bits = bytearray(bits)
        self.unsaved = 0
        self.waiting = end - base
        below = (1 << (base & 7)) - 1  # bits of the first byte that stand for none of them
        for byte in self.bits:
            byte &= ~below
            below = 0
            while byte:
                byte &= byte - 1
                self.waiting -= 1

    def grow(self, end):
        """All up to `end` are there, and wait."""
        self.waiting += end - self.end
        self.end = end

    def is_done(self, seq):
        bit = seq - (self.base & ~7)
        return seq < self.base or (
            bit >> 3 < len(self.bits) and self.bits[bit >> 3] >> (bit & 7) & 1 == 1
        )

    def next(self, seq):
        """The first from `seq` on that is not done; None when there is none."""
        seq = max(seq, self.base)
        while seq < self.end:
            if not self.is_done(seq):
                return seq
            seq += 1
        return None

    def done(self, seq):
        """A second time, or of one that is not there, it changes nothing."""
        if seq >= self.end or self.is_done(seq):
            return
        base = self.base
        bits = self.bits
        bit = seq - (base & ~7)
        if bit >> 3 >= len(bits):
            bits.extend(bytes((bit >> 3) + 1 - len(bits)))
        bits[bit >> 3] |= 1 << (bit & 7)
        self.waiting -= 1
        self.unsaved += 1
        first = self.next(base)
        if first is None:
            first = self.end
        self.bits = bits[(first >> 3) - (base >> 3) :]
        self.base = first
