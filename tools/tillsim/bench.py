"""`make bench`: sizes and speeds, each beside a named peer measured in the same run."""

import sys
import time

from tillback import bench as ingest
from tillsim import (
    bench_cards,
    bench_crypto,
    bench_display,
    bench_flash,
    bench_heap,
    bench_link,
    bench_meter,
    bench_session,
    bench_tariff,
    bench_tokens,
)


def main() -> int:
    for title, lines in (
        ("Heap (32-bit MicroPython)", bench_heap.lines),
        ("Flash: 2 MB of LittleFS (the times are this machine's)", bench_flash.lines),
        ("Tariffs", bench_tariff.lines),
        ("Token lists", bench_tokens.lines),
        ("Cards", bench_cards.lines),
        ("Meters", bench_meter.lines),
        ("Display (32-bit MicroPython)", bench_display.lines),
        ("Session states", bench_session.lines),
        ("Link: records a second, against plain umqtt.simple", bench_link.lines),
        ("tillback: records stored, verified and billed, through mosquitto", ingest.lines),
        ("P-256: executed instructions (valgrind's cachegrind, 32-bit)", _crypto),
    ):
        began = time.monotonic()
        print(f"\n{title}", flush=True)
        for line in lines():
            print(f"  {line}", flush=True)
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


def _crypto() -> list[str]:
    rows = bench_crypto.table()
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {figure}" for name, figure in rows]


if __name__ == "__main__":
    sys.exit(main())
