"""`make demo`: one charging session on the virtual charger, shown live, with receipt and proof."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tillback import receipt
from tillctl import __main__ as tillctl
from tillctl.public_key import PublicKey
from tillsim import play
from tillsim.scenario import Scenario, load

SCENARIO = Path(__file__).parent / "scenario.toml"
_BOX = "+" + "-" * 22 + "+"
_FRAME_S = 0.04  # a picture at most this often; a terminal cannot show more


class LiveDisplay:
    """The driver's display in the terminal: redrawn in place, or a line each when piped."""

    def __init__(self) -> None:
        self._tty = sys.stdout.isatty()
        self._drawn = False
        self._shown_at = 0.0
        self._last = ""

    def show(self, shown: dict[str, Any]) -> None:
        seconds, lines = int(shown["at"]), shown["lines"]
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        if not self._tty:
            if lines[0] != self._last or seconds % 600 == 0:
                self._last = lines[0]
                print(f"  {clock}  " + " | ".join(line.strip() for line in lines if line.strip()))
            return
        now = time.monotonic()
        if lines[0] == self._last and now - self._shown_at < _FRAME_S:
            return
        self._last, self._shown_at = lines[0], now
        if self._drawn:
            print("\x1b[7A", end="")
        self._drawn = True
        print(f"  {_BOX}")
        for line in lines:
            print(f"  | {line} |")
        print(f"  {_BOX}\n  {clock} since power-on    ", flush=True)


def run(out: Path, real_time: bool = False, bits: int = 64, heap: str = "") -> int:
    """Plays the demo; leaves its files in `out`. Returns tillctl verify's exit code."""
    scenario = load(SCENARIO)
    _head("A blank virtual board is flashed and provisioned over its serial port")
    options: dict[str, Any] = {"real_time": real_time, "bits": bits, "heap": heap}
    with play.playing(scenario, blank=True, say=_say, **options) as played:
        charger = played.charger
        _head(f"Broker ({charger.broker.engine}) and tillback start, the board boots")
        charger.on_display = LiveDisplay().show
        began = time.monotonic()
        played.run()
        real_s = time.monotonic() - began
        _say(f"{charger.kernel.now_ms / 1000:.0f} simulated seconds in {real_s:.1f} s")
        played.write(out)
        records = played.records()
    if len(records) != 1:
        print(f"tillsim: {len(records)} records, not one: see {out}/console.log", file=sys.stderr)
        return 1
    return _show(out, scenario, records[0])


def _show(out: Path, scenario: Scenario, record: dict[str, Any]) -> int:
    (out / "record.jws").write_text(record["jws"])
    (out / "record.ocmf").write_text(record["ocmf"])
    (out / "session.json").write_text(json.dumps(record["payload"], indent=2) + "\n")
    tariff = out / "tariff.json"
    tariff.write_text(json.dumps(scenario.tariff, indent=2) + "\n")
    _head("The receipt")
    key = PublicKey((out / "charger.pub.pem").read_text())
    view = receipt.model(record["jws"].encode(), key)
    print(receipt.text(view))
    (out / "receipt.html").write_text(receipt.html(view))
    command = ["verify", f"{out}/record.jws", "--key", f"{out}/charger.pub.pem",
               "--tariff", f"{out}/tariff.json"]  # fmt: skip
    _head("tillctl " + " ".join(command))
    verdict = tillctl.main(command)
    print(f"\nEverything is in {out}/; open {out}/receipt.html")
    return verdict


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _head(text: str) -> None:
    print(f"\n\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)
