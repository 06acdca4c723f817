"""Runs Python code on the real MicroPython interpreter, with the firmware in its ROM."""

import os
import subprocess
import tempfile
from pathlib import Path

from tillctl import firmware
from tillsim import runtime
from tillsim.board import SILICON

HERE = Path(__file__).parent

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


def run(code: str, *args: str, bits: int = 32, heap: str = "112k", timeout_s: int = 120) -> str:
    """Standard output of `code` on MicroPython of `bits`, heap size as on the board.

    The path holds the firmware, host_tests/on_micropython and umqtt. Raises AssertionError with
    what the interpreter said when it exits with anything but 0."""
    tree = firmware.build(firmware.BUILD / "mpy" / "test", firmware.ROOT / "firmware")
    image = firmware.romfs(tree, firmware.BUILD / "mpy" / "test.romfs")
    path = ["/rom", str(HERE / "on_micropython"), str(runtime.FROZEN), ".frozen"]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(code)
        start = _START % {
            "silicon": str(SILICON), "image": str(image), "size": image.stat().st_size,
            "path": path,
        }  # fmt: skip
        done = subprocess.run(
            [*runtime.micropython(bits), "-X", f"heapsize={heap}", "-c", start, str(script), *args],
            env=os.environ | {"MICROPYPATH": ".frozen"},
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
