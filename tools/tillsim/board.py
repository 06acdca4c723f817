"""A virtual board: a flash image, a MicroPython process, a console and two serial wires."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tillctl import firmware
from tillsim import runtime
from tillsim.kernel import CUT, FLASH, Kernel
from tillsim.wires import Console, SerialWire

SILICON = firmware.ROOT / "boards" / "virtual" / "silicon"
BLOCK = 4096
# name: [first block, blocks]. boards/virtual/README.md states what each is for.
PARTITIONS = {"vfs": [0, 64], "romfs": [64, 192], "data": [256, 512]}
FLASH_BYTES = BLOCK * sum(blocks for _, blocks in PARTITIONS.values())
_POWER_ON = 1
_WATCHDOG_RESET = 3
# An ESP32 without PSRAM leaves about 112 kB, and the same objects take twice that in 64 bits. On
# top comes what the board's own Python costs, which an ESP32 has in C: what it holds, and the table
# for 1,280 more names (8 bytes each, 16 in 64 bits) that MicroPython makes when 1,270 are known,
# which the firmware's alone are not, but always are with the board's. A test measures both.
NAMES_MAX = 1270
SILICON_KB = {32: 13 + 10, 64: 21 + 20}
HEAPS = {32: f"{112 + SILICON_KB[32]}k", 64: f"{224 + SILICON_KB[64]}k"}
HOWS = ("nothing", "half", "garbled")  # what of the write that the power cut meets is done
PANELS = ("text", "ssd1306", "hd44780")
FLASH_STATES = ("ok", "full", "read_error")
BOOT_MS = 300  # what an ESP32 takes from reset to boot.py
SOFT_BOOT_MS = 20  # ... where only its Python starts anew
# Exit codes of boards/virtual/silicon/machine.py: how the board starts after each, and when.
_RESETS = {0x52: ("run", 2, BOOT_MS), 0x53: ("run", 5, SOFT_BOOT_MS),
           0x54: ("raw", 5, SOFT_BOOT_MS)}  # fmt: skip


def blank_image(path: Path) -> Path:
    """An erased flash image at `path` (kept if it is there)."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff" * FLASH_BYTES)
    elif path.stat().st_size != FLASH_BYTES:
        raise ValueError(f"{path} is not a flash image: {FLASH_BYTES} bytes expected")
    return path


# The board's own modules run from a ROM, like those frozen into an ESP32: they cost no heap.
_START = """
import sys, rom
rom.mount(%(rom)r, 0, %(size)d, "/silicon")
sys.path[:] = ["/silicon", ".frozen"]
import board
%(then)s
"""
_OWN = "import gc, micropython\ngc.collect()\nprint(gc.mem_alloc())\nmicropython.qstr_info()"


def silicon_rom() -> Path:
    """The ROM image of boards/virtual/silicon and of what official firmware has frozen in."""
    tree = firmware.build(
        firmware.BUILD / "mpy" / "silicon", SILICON, runtime.FROZEN, leave_out=(".version",)
    )
    return firmware.romfs(tree, firmware.BUILD / "mpy" / "silicon.rom")


def own_share(bits: int) -> tuple[int, int]:
    """(bytes of heap, names) that the board's own Python has before any firmware runs; but for the
    tables of names, which the firmware would need as well."""
    rom = silicon_rom()
    code = _START % {"rom": str(rom), "size": rom.stat().st_size, "then": _OWN}
    said = subprocess.run(
        [*runtime.micropython(bits), "-X", "heapsize=1m", "-c", code],
        env=os.environ | {"MICROPYPATH": f"{SILICON}:.frozen"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    held, told = said.stdout.split("\n", 1)
    names = int(told.partition("n_qstr=")[2].split(",")[0])
    room = 10
    while room < names:
        room = 2 * room + 10  # each table has twice the room of the one before
    return int(held) - room * bits // 4, names


class VirtualBoard:
    """The process that plays the board. Power on, kill, and it resets itself as a board does."""

    def __init__(self, kernel: Kernel, image: Path, *, bits: int = 64, heap: str = "",
                 log: Callable[[bytes], None] = lambda data: None) -> None:  # fmt: skip
        self.image = blank_image(image)
        self.resets = 0
        self.booted_at_ms: list[int] = []
        self.wires: list[SerialWire] = []
        self.panel = "text"  # the display that is connected: of PANELS
        self.on_power = lambda on: None
        self.flash_writes = 0  # programs and erases of the data partition, as last told
        self._told_writes = 0  # of them, by the present process
        self._cut: tuple[int, str] | None = None  # flash_writes at the power cut to come, how
        self._flash_state = "ok"
        self.ports: list[tuple[int, int]] = []  # (as the firmware is told, on this machine)
        self.name_server = 0  # UDP port; 0: this machine's own resolver
        self._kernel = kernel
        self._heap = heap or HEAPS[bits]
        self._interpreter = runtime.micropython(bits)
        self._silicon = silicon_rom()
        self._process: subprocess.Popen | None = None
        self._watchdog = 0
        self.console = Console(kernel, log)
        kernel.on_watchdog = self._feed_watchdog
        kernel.on_writes = self._count_writes
        kernel.on_cut = self._cut_now

    @property
    def powered(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the process that is powered on now."""
        assert self._process is not None
        return self._process.pid

    def power_on(self, mode: str = "run", cause: int = _POWER_ON) -> None:
        """Starts the board; `mode` "raw" stays at the raw prompt, as a soft reset there does."""
        if self._process is not None:
            return
        control, board_control = socket.socketpair()
        repl, board_repl = socket.socketpair()
        for wire in self.wires:
            wire.power_cycle()
        fds = [wire.board_fd for wire in self.wires]
        wiring = {
            "image": str(self.image.resolve()), "partitions": PARTITIONS, "uart": fds,
            "control": board_control.fileno(), "mode": mode, "cause": cause,
            "unique_id": list(b"virtual"), "name_server": self.name_server,
            "ports": self.ports, "panel": self.panel,
        }  # fmt: skip
        rom = self._silicon
        start = _START % {"rom": str(rom), "size": rom.stat().st_size, "then": "board.main()"}
        command = ["-X", f"heapsize={self._heap}", "-c", start]
        self._process = subprocess.Popen(
            [*self._interpreter, *command],
            stdin=board_repl.fileno(), stdout=board_repl.fileno(),
            stderr=board_repl.fileno(), pass_fds=[*fds, board_control.fileno()],
            # By the environment: MicroPython takes no argument of more than 255 characters.
            env=os.environ | {"MICROPYPATH": f"{SILICON}:.frozen", "WIRING": json.dumps(wiring)},
            start_new_session=True,
        )  # fmt: skip
        board_control.close()
        self.booted_at_ms.append(self._kernel.now_ms)
        self._kernel.attach(control, self._ended)
        self.console.attach(repl, board_repl)
        self._told_writes = 0
        self._order_flash()
        self.on_power(True)

    def use_heap(self, heap: str) -> None:
        """Another heap size from the next power-on, such as "96k"."""
        self._heap = heap

    def kill(self) -> None:
        """A power cut: SIGKILL, no last words."""
        self._cut = None
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._gone()

    def kill_at_write(self, n: int, how: str) -> None:
        """A power cut in the `n`th program or erase of the data partition from now on; `how`: one
        of HOWS. kill() before it takes its place."""
        self._cut = (self.flash_writes + n, how)
        self._order_flash()

    def set_flash(self, state: str) -> None:
        """state: one of FLASH_STATES, of the data partition until told otherwise."""
        self._flash_state = state
        self._order_flash()

    def _order_flash(self) -> None:
        if self._process is None:
            return  # it is told when it is powered on
        self._kernel.order(FLASH, FLASH_STATES.index(self._flash_state))
        if self._cut is None:
            return
        at, how = self._cut
        self._kernel.order(CUT, HOWS.index(how), max(1, at - self.flash_writes))

    def _count_writes(self, n: int) -> None:
        """`n`: by the present process, so far."""
        self.flash_writes += n - self._told_writes
        self._told_writes = n

    def _cut_now(self, n: int) -> None:
        self._count_writes(n)
        self.kill()

    def _gone(self) -> None:
        self._process = None
        self._watchdog += 1  # whatever was armed is not any more
        self._kernel.detach()
        self.console.detach()
        self.on_power(False)

    def _ended(self) -> None:
        """The process closed its control line: it asked for a reset, or it died."""
        if self._process is None:
            return
        code = self._process.wait()
        self._gone()
        mode, cause, after_ms = _RESETS.get(code, ("run", _WATCHDOG_RESET, BOOT_MS))
        self.resets += 1
        self._kernel.after(after_ms, lambda: self.power_on(mode, cause))

    def _feed_watchdog(self, timeout_ms: int) -> None:
        self._watchdog += 1
        fed = self._watchdog
        self._kernel.after(timeout_ms, lambda: self._bite(fed))

    def _bite(self, fed: int) -> None:
        if fed == self._watchdog and self._process is not None:
            self.kill()
            self.resets += 1
            self._kernel.after(BOOT_MS, lambda: self.power_on("run", _WATCHDOG_RESET))

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        self.console.close()
        for wire in self.wires:
            wire.close()
