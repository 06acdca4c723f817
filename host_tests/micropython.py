"""Runs Python code on the real MicroPython interpreter, with the firmware in its ROM."""

from pathlib import Path

from tillsim import on_board

HERE = Path(__file__).parent


def run(code: str, *args: str, bits: int = 32, heap: str = "112k", timeout_s: int = 120) -> str:
    """As tillsim.on_board.run, with host_tests/on_micropython on the path as well."""
    return on_board.run(code, *args, bits=bits, heap=heap, timeout_s=timeout_s,
                        folders=(HERE / "on_micropython",))  # fmt: skip
