"""How long the display keeps others waiting: its drivers on the 32-bit interpreter, beside a task
that wants to run every 5 ms, as a meter's does when its answer has come.

The bus takes its real time (9 bits a byte at its clock), and as on a board nothing else runs while
it sends."""

import json
import os
import subprocess

from tillctl import firmware
from tillsim import runtime

GOAL_MS = 50

# Arguments: driver, bus clock in Hz. Says {"bytes", "frame_ms", "late_ms", "second_bytes"}.
BOARD = """
import asyncio, framebuf, json, sys, time
driver, hz = sys.argv[1], int(sys.argv[2])
sent = [0]

class Bus:
    def writeto(self, address, data):
        sent[0] += 1 + len(data)
        until = time.ticks_add(time.ticks_us(), (9 * (1 + len(data)) + 2) * 1000000 // hz)
        while time.ticks_diff(until, time.ticks_us()) > 0:
            pass

if driver == "SSD1306":
    from evtill.drivers.ssd1306 import SSD1306
    display = SSD1306(Bus(), framebuf.FrameBuffer, framebuf.MONO_VLSB)
else:
    from evtill.drivers.hd44780 import HD44780
    display = HD44780(Bus())

qr = (29, bytes([0xA5] * 106))
screens = (
    (["Charging     1:09:51", "11.60 kWh    11.0 kW", "Cost        9.03 EUR",
      "0.5831 EUR/kWh"], None),
    (["Tap card or", "scan", "0.5831", "EUR/kWh"], qr if display.room(True) else None),
    (["Finished     1:09:59", "Total       9.05 EUR", "11.63 kWh", "Stopped by card"], None),
)

async def send(lines, code):
    display.show(lines, code)
    wait_ms = display.step()
    while wait_ms is not None:
        await asyncio.sleep_ms(wait_ms)
        wait_ms = display.step()

async def main():
    late = [0]

    async def meter():
        due = time.ticks_ms()
        while True:
            due = time.ticks_add(time.ticks_ms(), 5)
            await asyncio.sleep_ms(5)
            late[0] = max(late[0], time.ticks_diff(time.ticks_ms(), due))

    await send(*screens[0])
    task = asyncio.create_task(meter())
    await asyncio.sleep_ms(20)
    alone, late[0] = late[0], 0
    sent[0] = 0
    began = time.ticks_us()
    for i in range(30):
        display.anew()
        await send(*screens[i % 3])
    frame_us, size = time.ticks_diff(time.ticks_us(), began) // 30, sent[0] // 30
    worst = late[0]
    task.cancel()
    await send(*screens[0])
    sent[0] = 0
    lines = list(screens[0][0])
    lines[0] = "Charging     1:09:52"
    await send(lines, None)
    print(json.dumps({"bytes": size, "frame_us": frame_us, "late_ms": worst, "alone_ms": alone,
                      "second_bytes": sent[0]}))

asyncio.run(main())
"""


def measure(driver: str, hz: int) -> dict[str, int]:
    """What BOARD says. Raises CalledProcessError when the interpreter ends with an error."""
    tree = firmware.build(firmware.BUILD / "mpy" / "bench-link", firmware.ROOT / "firmware")
    paths = ":".join(map(str, (tree, runtime.FROZEN, ".frozen")))
    done = subprocess.run(
        [*runtime.micropython(32), "-X", "heapsize=112k", "-c", BOARD, driver, str(hz)],
        env=os.environ | {"MICROPYPATH": paths}, stdout=subprocess.PIPE, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)
    return found


def lines() -> list[str]:
    """The benchmark's report, a line for each display and bus."""
    said = []
    for driver, hz in (("SSD1306", 400_000), ("SSD1306", 100_000), ("HD44780", 100_000)):
        found = measure(driver, hz)
        said.append(
            f"{driver} at {hz // 1000} kHz: the whole screen {found['bytes']} bytes in "
            f"{found['frame_us'] / 1000:.0f} ms, a second of charging {found['second_bytes']} "
            f"bytes; a meter sample waits {found['late_ms']} ms at most (goal {GOAL_MS}; "
            f"{found['alone_ms']} without a display)"
        )
    return said


if __name__ == "__main__":
    print("\n".join(lines()))
