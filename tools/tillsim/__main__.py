"""tillsim: the virtual charger's command line."""

import argparse
import signal
import sys
import types
from pathlib import Path

from evtill.core.errors import EvtillError
from tillctl.cli import Parser
from tillsim import play
from tillsim.board import VirtualBoard
from tillsim.expect import Judge
from tillsim.kernel import BoardHung, Kernel
from tillsim.runtime import RuntimeMissing
from tillsim.scenario import EXPECT, STEPS, Keys, ScenarioError, load

_RUN_HELP = """\
A scenario is a TOML file; times are simulated seconds since first boot:

  start = "2026-03-02T07:14:00Z"   # wall clock at first boot; omit for a clock that is unset
  timezone = "Europe/Amsterdam"
  tariff = "tariff.json"           # an OCPI tariff beside the scenario; omit for the demo's
  tokens = ["04A2243B6C5E80"]      # UIDs that may charge, or a file: "cards.csv"
  [config]                         # overrides of configuration keys
  [[step]]
  at = 5
  do = "tap"
  uid = "04A2243B6C5E80"
  [expect]                         # optional; judged at the end, the exit code says whether all
  sessions = 1                     # of it was met
  shown = ["Ready", "Card accepted | Plug in"]

Examples lie in tools/tillsim/scenarios. Steps and their keys:
"""

_FAULTS_HELP = """
kill at_write: power goes in the Nth program or erase of the data partition from then on; how: what
of it is done. Without keys: at once. proxy: on the board's link to the broker. delay_ms: each way;
cut_after: bytes of the board's from then on, cut_down_after: of the broker's; half_open: swallows
everything until clear, which cuts what has lost bytes; acks and ack_delay_ms: the backend's
acknowledgements; what was set stays until clear.
flash full: every write to the data partition fails with ENOSPC; read_error: every read with EIO.
"""


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="tillsim", description="The virtual charger.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    board = commands.add_parser("board", help="start a virtual board for mpremote",
                                description="Prints the path of the board's serial port, runs "
                                "until Ctrl-C or SIGTERM. Any mpremote talks to it.")  # fmt: skip
    board.add_argument("--image", type=Path, help="flash image, made if absent (default: a new one "
                       "that is forgotten)")  # fmt: skip
    _interpreter(board)
    board.set_defaults(run=run_board)

    run = commands.add_parser("run", help="play a scenario", description=_RUN_HELP + _steps_help(),
                              formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    run.add_argument("scenario", type=Path)
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="where records.jsonl, "
                     "events.jsonl, display.jsonl, truth.json, charger.pub.pem go")  # fmt: skip
    run.add_argument("--real-time", action="store_true", help="at the pace of the real clock")
    _interpreter(run)
    run.set_defaults(run=run_scenario)

    shown = commands.add_parser("demo", help="one session, shown live, with receipt and proof")
    shown.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR")
    shown.add_argument("--real-time", action="store_true", help="at the pace of the real clock")
    _interpreter(shown)
    shown.set_defaults(run=run_demo)
    return top


def _steps_help() -> str:
    """A line for each key of each step, from the table that scenarios are checked by."""
    lines = []
    for do, keys in STEPS.items():
        rows = [(f"{key}: {words}" + _rule(keys, key)) for key, (_, words) in keys.known().items()]
        lines += [f"  {head:8} {row}" for head, row in zip([do] + [""] * len(rows), rows or [""],
                                                          strict=False)]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines) + "\n" + _FAULTS_HELP + _expect_help()


def _expect_help() -> str:
    rows = [f"  {key}: {words}" for key, (_, words) in EXPECT.items()]
    return "\nWhat [expect] may hold:\n" + "\n".join(rows) + "\n"


def _rule(keys: Keys, key: str) -> str:
    if key in keys.one_of:
        return " (one of these)"
    if key in keys.needs:
        return f" (optional, beside {keys.needs[key]})"
    return " (optional)" if key in keys.may else ""


def _interpreter(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bits", type=int, choices=(32, 64), default=64,
                         help="MicroPython's object width (default: %(default)s)")  # fmt: skip
    command.add_argument("--heap", default="", help="MicroPython's heap (default: that of an ESP32 "
                         "without PSRAM, 112k, or twice that in 64 bits, and what the board's own "
                         "Python holds)")  # fmt: skip


def run_board(args: argparse.Namespace) -> int:
    import tempfile

    kernel = Kernel(real_time=True)
    with tempfile.TemporaryDirectory(prefix="tillsim-") as scratch:
        image = args.image or Path(scratch) / "flash.img"
        board = VirtualBoard(kernel, image, bits=args.bits, heap=args.heap)
        board.power_on()
        print(board.console.path, flush=True)
        try:
            kernel.run()
        finally:
            board.close()
    return 0


def run_scenario(args: argparse.Namespace) -> int:
    scenario = load(args.scenario)
    options = {"real_time": args.real_time, "bits": args.bits, "heap": args.heap}
    with play.playing(scenario, **options) as playing:
        try:
            playing.run()
        finally:
            playing.write(args.out)
        findings = Judge(playing).findings() if scenario.expect else []
    for finding in findings:
        print(finding)
    return 0 if all(finding.met for finding in findings) else 1


def run_demo(args: argparse.Namespace) -> int:
    from tillsim import demo

    return demo.run(args.out, args.real_time, args.bits, args.heap)


def _interrupt(_signal: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    # Also where whoever started us ignores Ctrl-C: no process is left behind.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    args = parser().parse_args(argv)
    try:
        return args.run(args)
    except (EvtillError, ScenarioError, RuntimeMissing, BoardHung, OSError, ValueError) as e:
        print(f"tillsim: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
