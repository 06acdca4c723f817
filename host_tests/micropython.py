"""Runs Python code on the real MicroPython interpreter, with the firmware as .mpy on its path."""

import os
import subprocess
import tempfile
from pathlib import Path

from tillctl import firmware
from tillsim import runtime

HERE = Path(__file__).parent


def run(code: str, *args: str, bits: int = 32, heap: str = "112k", timeout_s: int = 120) -> str:
    """Standard output of `code` on MicroPython of `bits`, heap size as on the board.

    The path holds the firmware (.mpy), host_tests/on_micropython and umqtt. Raises AssertionError
    with what the interpreter said when it exits with anything but 0."""
    tree = firmware.build(firmware.BUILD / "mpy" / "test", firmware.ROOT / "firmware")
    paths = [tree, HERE / "on_micropython", runtime.FROZEN]
    environment = os.environ | {"MICROPYPATH": ":".join(map(str, paths)) + ":.frozen"}
    with tempfile.TemporaryDirectory() as folder:  # the script's folder comes first on its path
        script = Path(folder) / "script.py"
        script.write_text(code)
        done = subprocess.run(
            [*runtime.micropython(bits), "-X", f"heapsize={heap}", str(script), *args],
            env=environment, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
