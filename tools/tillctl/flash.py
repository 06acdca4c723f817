"""tillctl flash: puts the firmware on a board."""

import argparse
import hashlib
from pathlib import Path

from tillctl import firmware
from tillctl.port import Port, PortError

BOARDS = firmware.ROOT / "boards"
# The files that MicroPython itself looks for, on the root filesystem; and, below, what lies in a
# board's folder for other readers than the board itself.
ON_ROOT = ("boot.py", "main.py")
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
    """The compiled tree for `board`."""
    target = firmware.BUILD / "mpy" / board
    return firmware.build(target, firmware.ROOT / "firmware", BOARDS / board,
                          leave_out=_NOT_FOR_THE_BOARD, linked=True)  # fmt: skip


def flash(port: Port, board: str = "virtual") -> None:
    """Puts the firmware for `board` on it, drops what older firmware left, checks every hash.

    A board with a ROM partition gets the tree as a ROMFS image, in which .mpy files run in place;
    boot.py and main.py, and on other boards everything, go onto the root filesystem."""
    source = tree(board)
    has_rom = port.ask("import vfs\nanswer = hasattr(vfs, 'rom_ioctl') and vfs.rom_ioctl(1) > 0")
    files = {p.relative_to(source).as_posix(): p for p in sorted(source.rglob("*")) if p.is_file()}
    rom = {name: p for name, p in files.items() if has_rom and name not in ON_ROOT}
    size = sum(p.stat().st_size for p in files.values())
    port.say(f"flash: {len(files)} files, {size} bytes to {port.path}")
    if rom:
        image = firmware.romfs(source, source.with_suffix(".romfs"), leave_out=ON_ROOT)
        port.mpremote("romfs", "deploy", str(image))
    port.put_tree(source, [name for name in files if name not in rom])
    drop_stale(port, [name for name in files if name not in rom])
    check(port, {("/rom/" if name in rom else "/") + name: p for name, p in files.items()})


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
    here = "p.split('/')[0] not in ('data', 'rom')"
    present = port.ask(f"{_LIST}answer = [p for p in walk('') if {here}]")
    stale = [p for p in present if p not in keep and (p.endswith((".py", ".mpy")))]
    if stale:
        port.say(f"flash: removing {', '.join(stale)}")
        port.ask(f"import os\nfor p in {stale!r}: os.remove('/' + p)\nanswer = 1")


def check(port: Port, files: dict[str, Path]) -> None:
    """Compares the SHA-256 of every file on the board with the one sent. Raises PortError."""
    on_board = port.ask(f"""
import hashlib, binascii
answer = {{}}
b = bytearray(512)
for p in {list(files)!r}:
    h = hashlib.sha256()
    with open(p, 'rb') as f:
        while True:
            n = f.readinto(b)
            if not n: break
            h.update(memoryview(b)[:n])
    answer[p] = binascii.hexlify(h.digest()[:8]).decode()""")
    for name, local in files.items():
        if on_board.get(name) != hashlib.sha256(local.read_bytes()).hexdigest()[:16]:
            raise PortError(f"{name} arrived damaged: flash again")
    port.say("flash: every file checked by its SHA-256")
