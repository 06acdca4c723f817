"""What the firmware leaves of an ESP32's heap: code and data apart, on the 32-bit interpreter."""

import dataclasses
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tillctl import firmware, flash
from tillsim import play, runtime
from tillsim.board import SILICON, SILICON_KB
from tillsim.kernel import BoardHung
from tillsim.scenario import Scenario, load

SCENARIO = Path(__file__).parent / "demo" / "scenario.toml"

# Everything that a running charger has imported, in the heap at which it then stands.
_IMPORT = """
import gc, micropython, sys
sys.path[:] = [%(silicon)r, ".frozen"]
import rom
if %(rom)r:
    rom.mount(%(rom)r, 0, %(size)d, "/rom")
sys.path[:] = [%(tree)r, "/rom", %(frozen)r, ".frozen"]
import asyncio, umqtt.simple
gc.collect()
micropython.qstr_info()
before = gc.mem_alloc()
for name in %(modules)r:
    __import__(name)
gc.collect()
after = gc.mem_alloc()
micropython.qstr_info()
print(after - before)
"""
# Loaded only while a charger is provisioned, or by tools alone, or with another meter or display.
_NOT_LOADED = (
    "provisioning", "record_check", "journal_reader", "pulse", "iskra", "language_file", "ssd1306",
    "font", "hd44780", "status_light", "buzzer",
)  # fmt: skip
# Loaded only while an artefact is taken in, and given back: but for their names, which stay.
_NOW_AND_THEN = ("artefact", "token_update", "token_intake", "token_fetch")


def lines() -> list[str]:
    """Printable figures."""
    tree = flash.tree("virtual")
    rom = firmware.romfs(tree, firmware.BUILD / "mpy" / "bench.romfs", leave_out=flash.ON_ROOT)
    files = [p for p in tree.rglob("*.mpy")]
    scenario = load(SCENARIO)
    used, free = _idle(scenario)
    over_tls, rest = _idle(dataclasses.replace(scenario, tls=True))
    own = SILICON_KB[32] * 1024
    return [
        f"{len(files)} .mpy files, {sum(p.stat().st_size for p in files)} bytes of flash",
        f"code, run in place from ROM:       {_imported(tree, rom):6} bytes of heap",
        f"code, were it loaded from .mpy:    {_imported(tree, None):6} bytes of heap",
        f"charger at idle, link up:          {used - own:6} bytes used, {free} free of 112 kB",
        f"... over TLS:                      {over_tls - own:6} bytes used, {rest} free; its",
        "  records and handshake lie outside of this heap, on a board as well",
        f"smallest heap that a whole session runs in: {_smallest(scenario) - SILICON_KB[32]} kB",
        f"  (the virtual board's own Python apart, {SILICON_KB[32]} kB: an ESP32 has that in C)",
    ]


def names() -> int:
    """How many names the firmware knows that the interpreter does not know already."""
    tree = flash.tree("virtual")
    rom = firmware.romfs(tree, firmware.BUILD / "mpy" / "bench.romfs", leave_out=flash.ON_ROOT)
    before, after = map(int, re.findall(r"n_qstr=(\d+)", _run_import(tree, rom, _NOT_LOADED)))
    return after - before


def _imported(tree: Path, rom: Path | None) -> int:
    return int(_run_import(tree, rom, _NOT_LOADED + _NOW_AND_THEN).split("\n")[-2])


def _run_import(tree: Path, rom: Path | None, leave_out: tuple[str, ...]) -> str:
    modules = [
        ".".join(p.relative_to(tree).with_suffix("").parts)
        for p in sorted((tree / "evtill").rglob("*.mpy"))
        if p.stem not in ("__init__", *leave_out)
    ]
    code = _IMPORT % {
        "silicon": str(SILICON), "frozen": str(runtime.FROZEN), "modules": modules,
        "rom": str(rom) if rom else "", "size": rom.stat().st_size if rom else 0,
        "tree": "/rom" if rom else str(tree),
    }  # fmt: skip
    done = subprocess.run(
        [*runtime.micropython(32), "-X", "heapsize=400k", "-c", code],
        env=os.environ | {"MICROPYPATH": ".frozen"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def _idle(scenario: Scenario) -> tuple[int, int]:
    with play.playing(scenario, bits=32) as playing:
        said = playing.charger.console
        playing.run(until=lambda: b"heap " in said and said.endswith(b"\n"))
        match = re.search(rb"heap (\d+) used, (\d+) free", said)
    assert match is not None
    return int(match[1]), int(match[2])


def _smallest(scenario: Scenario) -> int:
    """kB, by bisection; a session has run when its record is in the ledger."""
    return _bisect(60, 112 + SILICON_KB[32], lambda kb: _runs(scenario, kb))


def _bisect(low: int, high: int, good: Callable[[int], bool]) -> int:
    while high - low > 2:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def _runs(scenario: Scenario, kb: int) -> bool:
    with play.playing(scenario, bits=32) as playing:
        playing.charger.board.use_heap(f"{kb}k")
        try:
            playing.run()
        except BoardHung:
            return False
        return len(playing.records()) == 1 and b"MemoryError" not in playing.charger.console
