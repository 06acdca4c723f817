"""Figures on the session's states for `make bench`: time and garbage of a step, and what stays."""

import subprocess

from tillctl import firmware
from tillsim import runtime

_TREE = firmware.BUILD / "mpy" / "bench-session"
_SESSIONS = 1000
# A whole session: from the tap to the record, by way of a card that is not its owner's.
_EVENTS = (
    "tap accepted plugged started idle active tap tap closed unplugged remote started stop closed"
)
_PROGRAM = """
import gc, time
from evtill.core.session import INITIAL, step
events = "{events}".split()
details = [None] * len(events)
details[0] = details[7] = b"12345678"
details[6] = b"87654321"
details[10] = (b"12345678", None, None)
details[12] = "Remote"
def play(state):
    i = 0
    while i < len(events):
        state = step(state, events[i], details[i])[0]
        i += 1
    return state
state = play(INITIAL)
since = took = garbage = before = 0
def many():
    global state, since, took
    since = time.ticks_us()
    for _ in range({sessions}):
        state = play(state)
    took = time.ticks_diff(time.ticks_us(), since)
many()
gc.collect()
before = gc.mem_alloc()
gc.disable()
play(state)
garbage = gc.mem_alloc() - before
gc.enable()
many()
gc.collect()
print(garbage, took, gc.mem_alloc() - before, state[0])
"""


def steps() -> tuple[int, int, int, int]:
    """On 32-bit MicroPython: how many steps a session has here, the bytes of garbage that they
    leave, microseconds of a thousand such sessions, and the bytes of heap that these have taken."""
    tree = firmware.build(_TREE, firmware.ROOT / "firmware")
    said = subprocess.run(
        [*runtime.micropython(32), "-X", "heapsize=112k", "-c",
         _PROGRAM.format(events=_EVENTS, sessions=_SESSIONS)],
        env={"MICROPYPATH": f"{tree}:.frozen"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    garbage, took, kept, state = said.stdout.split()
    assert state == "available", state
    return len(_EVENTS.split()), int(garbage), int(took), int(kept)


def lines() -> list[str]:
    """Printable figures, one a line."""
    count, garbage, took, kept = steps()
    return [
        f"a step, 32-bit: {garbage / count:.0f} B of garbage, {took / count / _SESSIONS:.1f} us on "
        f"this PC; {kept} B of heap more after {_SESSIONS * count:,} of them",
    ]
