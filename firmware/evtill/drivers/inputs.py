"""Contacts that bounce, as inputs that do not."""


class Inputs:
    """table: (pin, n) each: the pin (`value()`) counts as changed once it was so n times in a row.

    state: a bit for each, the first one's the lowest; `rose`: those that the last sample set."""

    def __init__(self, table):
        self._pins = [pin for pin, _ in table]
        self._needed = bytes([n for _, n in table])
        self._seen = bytearray(len(table))
        self.state = self.rose = 0

    def sample(self):
        """Looks at all of them; at even intervals. Returns `state`. Takes no heap."""
        before = self.state
        for i in range(len(self._pins)):
            if self._pins[i].value() == self.state >> i & 1:
                self._seen[i] = 0
                continue
            self._seen[i] += 1
            if self._seen[i] >= self._needed[i]:
                self._seen[i] = 0
                self.state ^= 1 << i
        self.rose = self.state & ~before
        return self.state
