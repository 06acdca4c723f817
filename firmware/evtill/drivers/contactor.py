"""The contactor between mains and car, and whether its contacts did what the coil was told.

Pins are objects with `value()` (machine.Pin, or machine.Signal where a level is inverted): 1 at
the coil pulls it in, 1 at the feedback means that the main contacts are closed.
"""


class Contactor:
    """Open when made. Contacts take 50 ms or so to move: ask `agrees()`, `welded()` then."""

    def __init__(self, coil, feedback=None):
        self._coil = coil
        self._feedback = feedback
        self.open()

    def close(self):
        """Lets energy flow."""
        self._coil.value(1)
        self.commanded_closed = True

    def open(self):
        """Stops energy."""
        self._coil.value(0)
        self.commanded_closed = False

    def closed(self):
        """Whether the contacts are closed: as they say, or as commanded where nothing says."""
        if self._feedback is None:
            return self.commanded_closed
        return bool(self._feedback.value())

    def agrees(self):
        """Whether the contacts are where the coil was told. True where there is no feedback."""
        return self.closed() == self.commanded_closed

    def welded(self):
        """Whether the contacts are closed although the coil was let go."""
        return self.closed() and not self.commanded_closed
