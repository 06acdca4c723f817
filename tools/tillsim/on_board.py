"""Runs Python code on MicroPython as it runs on a board: with the firmware in its ROM."""

import os
import subprocess
import tempfile
from pathlib import Path

from tillctl import firmware
from tillsim import runtime
from tillsim.board import SILICON

# As on the board: the firmware runs in place, from a ROM image that is mapped into memory.
_START = """
import sys
sys.path[:] = [%(silicon)r, ".frozen"]
import rom
rom.mount(%(image)r, 0, %(size)d, "/rom")
sys.path[:] = %(path)r
del rom
execfile(sys.argv.pop(1))
"""


def run(
    code: str, *args: str, bits: int = 32, heap: str = "112k", timeout_s: float = 120,
    folders: tuple[Path, ...] = (),
) -> str:  # fmt: skip
    """Standard output of `code` on MicroPython of `bits`, heap size as on the board.

    The path holds the firmware, `folders` and umqtt. Raises AssertionError with what the
    interpreter said when it exits with anything but 0."""
    tree = firmware.build(firmware.BUILD / "mpy" / "test", firmware.ROOT / "firmware")
    image = firmware.romfs(tree, firmware.BUILD / "mpy" / "test.romfs")
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "script.py"
        script.write_text(code)
        start = _START % {
            "silicon": str(SILICON), "image": str(image), "size": image.stat().st_size,
            "path": ["/rom", *map(str, folders), str(runtime.FROZEN), ".frozen"],
        }  # fmt: skip
        done = subprocess.run(
            [*runtime.micropython(bits), "-X", f"heapsize={heap}", "-c", start, str(script), *args],
            env=os.environ | {"MICROPYPATH": ".frozen"},
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout
