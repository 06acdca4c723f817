"""A line that damages what passes."""


class BadLine:
    """Damages a share of what passes: bits flip, bytes get lost, doubled or added.

    random: a random.Random, which the caller may go on using; damaged: frames so far."""

    def __init__(self, random, share):
        self.random = random
        self.share = share
        self.damaged = 0

    def __call__(self, data):
        if not data or self.random.random() >= self.share:
            return data
        self.damaged += 1
        data = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(data) + 1)
            how = self.random.randrange(4)
            if how == 0 and at < len(data):
                data[at] ^= 1 << self.random.randrange(8)
            elif how == 1 and at < len(data):
                del data[at]
            elif how == 2 and at < len(data):
                data.insert(at, data[at])
            else:
                data.insert(at, self.random.randrange(256))
        return bytes(data)
