"""The bolt that keeps a cable in the charger's socket, moved by a motor, with a feedback contact.

Pins are objects with `value()`: 1 at one of the motor's two drives it that way, 1 at the feedback
means that the bolt is in.
"""

import asyncio

# IEC 62196 leaves the times to the makers: their motors move in 300 ms and must not be driven on.
_DRIVE_MS = 600
_LOOK_MS = 50
_REST_MS = 500  # before it is tried again, while a driver moves the plug a little
_TRIES = 3


async def move(lock, inwards):
    """Whether the bolt of `lock`, pins (outwards, inwards, feedback), is where it should be after
    _TRIES at most: in (inwards: True) or out."""
    feedback = lock[2]
    for i in range(_TRIES):
        if i:
            await asyncio.sleep_ms(_REST_MS)
        try:
            lock[inwards].value(1)
            for _ in range(_DRIVE_MS // _LOOK_MS):
                await asyncio.sleep_ms(_LOOK_MS)
                if feedback.value() == inwards:
                    return True
        finally:
            lock[inwards].value(0)  # also when cancelled: a motor that is driven on burns
    return False
