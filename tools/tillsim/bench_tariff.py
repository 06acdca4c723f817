"""Figures on tariffs for `make bench`: sizes of tables and code, cost and garbage of a tick."""

import json
import statistics
import subprocess

from tillctl import firmware
from tillctl.tariff_compile import compile_tariff
from tillsim import runtime

_CASES = firmware.ROOT / "host_tests" / "vectors" / "tariff_cases"
_MODULES = ("tariff", "pricing", "bill", "price_words")
_TREE = firmware.BUILD / "mpy" / "bench-tariff"
_TICKS = 10000
_PROGRAM = """
import gc, time
from evtill.core.tariff import load
from evtill.core.pricing import Pricer, CHARGING
gc.collect()
before = gc.mem_alloc()
tariff = load(bytes.fromhex("{table}"))
pricer = Pricer(tariff, {start_ms}, 1045120)
pricer.tick(0, 0, CHARGING, 11000000, 16000)
pricer.tick(1000, 0, CHARGING, 11000000, 16000)
gc.collect()
heap = gc.mem_alloc() - before
gc.disable()
before = gc.mem_alloc()
since = time.ticks_us()
i = 0
while i < {ticks}:
    pricer.tick(1000 + i * 50, i // 50, CHARGING, 11000000, 16000)
    i += 1
took = time.ticks_diff(time.ticks_us(), since)
garbage = gc.mem_alloc() - before
gc.enable()
print(heap, garbage, took, len(pricer.state()))
"""


def dynamic_tariff() -> dict:
    """The 48-element tariff of the reference set (hourly prices of two days)."""
    for line in (_CASES / "reference.jsonl").read_text().splitlines():
        case = json.loads(line)
        if len(case["tariff"]["elements"]) == 48:
            return case["tariff"]
    raise LookupError("no tariff of 48 elements in the reference set")


def table_sizes(timezone: str = "Europe/Amsterdam") -> list[int]:
    """Bytes of each of the reference set's tables, offsets for ten years included."""
    files = sorted((_CASES / "tariffs").glob("*.json"))
    return [len(compile_tariff(json.loads(f.read_text()), timezone)) for f in files]


def code_sizes() -> dict[str, int]:
    """Bytes of .mpy of each module on the board."""
    folder = firmware.build(_TREE, firmware.ROOT / "firmware") / "evtill" / "core"
    return {name: (folder / f"{name}.mpy").stat().st_size for name in _MODULES}


def ticks(table: bytes, start_ms: int = 1772435645000) -> tuple[int, int, int, int]:
    """On 32-bit MicroPython: heap of tariff and pricer, bytes that 10,000 ticks within a period
    leave behind with the collector off, their microseconds, and bytes of the journalled state."""
    tree = firmware.build(_TREE, firmware.ROOT / "firmware")
    program = _PROGRAM.format(table=table.hex(), start_ms=start_ms, ticks=_TICKS)
    said = subprocess.run(
        [*runtime.micropython(32), "-X", "heapsize=112k", "-c", program],
        env={"MICROPYPATH": f"{tree}:.frozen"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    heap, garbage, took, state = map(int, said.stdout.split())
    return heap, garbage, took, state


def lines() -> list[str]:
    """Printable figures, one a line."""
    sizes = table_sizes()
    dynamic = compile_tariff(dynamic_tariff(), "Europe/Amsterdam")
    code = code_sizes()
    heap, garbage, took, state = ticks(dynamic, 1755691200000)
    return [
        f"tariff tables: median {statistics.median(sizes):g} B of {len(sizes)} "
        f"({min(sizes)}-{max(sizes)}), 48 elements {len(dynamic)} B",
        f"tariff code: {sum(code.values())} B of .mpy "
        f"({', '.join(f'{name} {size}' for name, size in code.items())})",
        f"pricing, 32-bit, 48 elements: {heap} B of heap, {garbage} B of garbage in {_TICKS:,} "
        f"ticks, {took / _TICKS:.1f} us a tick on this PC, journalled state {state} B",
    ]
