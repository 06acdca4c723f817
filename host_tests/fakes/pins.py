"""Pins for CPython tests."""


class Pin:
    """A pin that remembers: `history` holds every level that was set."""

    def __init__(self, level=0):
        self.level = level
        self.history = []

    def value(self, level=None):
        if level is None:
            return self.level
        self.level = level
        self.history.append(level)
        return None
