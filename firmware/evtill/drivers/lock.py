"""The lock that keeps a cable in the charger's socket, moved by a motor, with a feedback contact.

Pins are objects with `value()`: 1 at one of the motor's two drives it that way, 1 at the feedback
means that the bolt is in.
"""

import asyncio

# IEC 62196 leaves the times to the makers: their motors move in 300 ms and must not be driven on.
_DRIVE_MS = 600
_LOOK_MS = 50
_REST_MS = 500  # before it is tried again, while a driver moves the plug a little
_TRIES = 3


class SocketLock:
    """Moves only when told to."""

    def __init__(self, inwards, outwards, feedback):
        self._pins = (outwards, inwards)
        self._feedback = feedback
        self._rest()

    def locked(self):
        """Whether the bolt is in."""
        return bool(self._feedback.value())

    async def move(self, locked):
        """Whether the bolt is where it should be, in (True) or out, after _TRIES at most."""
        for i in range(_TRIES):
            if i:
                await asyncio.sleep_ms(_REST_MS)
            try:
                self._pins[locked].value(1)
                for _ in range(_DRIVE_MS // _LOOK_MS):
                    await asyncio.sleep_ms(_LOOK_MS)
                    if self.locked() == locked:
                        return True
            finally:
                self._rest()  # also when cancelled: a motor that is driven on burns
        return False

    def _rest(self):
        for pin in self._pins:
            pin.value(0)
