"""tillctl flash: puts the firmware on a board."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tillctl import firmware
from tillctl.port import Port, PortError

BOARDS = firmware.ROOT / "boards"
# What lies in a board's folder for other readers than the board itself.
_NOT_FOR_THE_BOARD = ("silicon", "manifest.py", "pins.csv", "wiring.md", "README.md")


def add_parser(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "flash",
        help="put the firmware on a board",
        description="Compiles firmware/ to .mpy and copies it, with the board's hwconfig, to a "
        "board on a serial port. Files that are there already are not written again. "
        "Configuration, keys and records stay as they are.",
    )
    p.add_argument("port", help="serial port, such as /dev/ttyUSB0")
    p.add_argument("--board", default="virtual", choices=boards(), help="default: %(default)s")
    p.add_argument("--no-reset", action="store_true", help="do not start the firmware afterwards")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    flash(Port(args.port), args.board)
    if not args.no_reset:
        Port(args.port).reset()
    return 0


def boards() -> list[str]:
    """The boards that there is a hwconfig for."""
    return sorted(path.parent.name for path in BOARDS.glob("*/hwconfig.py"))


def tree(board: str) -> Path:
    """The compiled tree for `board`, as it goes on its root filesystem."""
    target = firmware.BUILD / "mpy" / board
    return firmware.build(target, firmware.ROOT / "firmware", BOARDS / board,
                          leave_out=_NOT_FOR_THE_BOARD)  # fmt: skip


def flash(port: Port, board: str = "virtual") -> None:
    """Copies the firmware for `board`, drops what older firmware left, and checks every hash."""
    source = tree(board)
    files = sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())
    size = sum((source / name).stat().st_size for name in files)
    port.say(f"flash: {len(files)} files, {size} bytes to {port.path}")
    port.put_tree(source)
    drop_stale(port, files)
    check(port, source, files, port.say)


_LIST = """
import os
def walk(d):
    for e in os.ilistdir(d):
        p = d + '/' + e[0]
        if e[1] & 0x4000:
            yield from walk(p)
        else:
            yield p[1:]
"""


def drop_stale(port: Port, keep: list[str]) -> None:
    """Removes modules that this firmware does not have: an old one would shadow a new one."""
    present = port.ask(_LIST + "answer = [p for p in walk('') if p[:5] != 'data/']")
    stale = [p for p in present if p not in keep and (p.endswith((".py", ".mpy")))]
    if stale:
        port.say(f"flash: removing {', '.join(stale)}")
        port.ask(f"import os\nfor p in {stale!r}: os.remove('/' + p)\nanswer = 1")


def check(port: Port, source: Path, files: list[str], say: Callable[[str], None]) -> None:
    """Compares every file's SHA-256 on the board with the one sent. Raises PortError."""
    import hashlib

    on_board = port.ask(f"""
import hashlib, binascii
answer = {{}}
b = bytearray(512)
for p in {files!r}:
    h = hashlib.sha256()
    with open('/' + p, 'rb') as f:
        while True:
            n = f.readinto(b)
            if not n: break
            h.update(memoryview(b)[:n])
    answer[p] = binascii.hexlify(h.digest()).decode()""")
    for name in files:
        if on_board.get(name) != hashlib.sha256((source / name).read_bytes()).hexdigest():
            raise PortError(f"{name} arrived damaged: flash again")
    say("flash: every file checked by SHA-256")
