"""`make powercut`: whole charging sessions on real LittleFS, the power cut at any flash write.

The charger's own code boots and runs on MicroPython from a flash that dies at the Nth program or
erase, in three ways: nothing of it written, half of it, the block garbled
(host_tests/on_micropython/powercut_session.py says what a case is and what is checked)."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evtill.core.errors import EvtillError
from tillctl import firmware
from tillctl.chain import verify_chain
from tillctl.public_key import PublicKey
from tillctl.tariff_compile import compile_tariff
from tillctl.tariff_file import TariffFile
from tillctl.verify import FAIL, verify
from tillsim import runtime
from tillsim.board import SILICON

_SCRIPTS = firmware.ROOT / "host_tests" / "on_micropython"
_PLANS = ("session", "compaction", "long", "backlog")
_WAYS = 3
_SECOND_WITHIN = 100  # writes: a boot, its recovery and the delivery are about so many
_KEY = int.from_bytes(bytes(range(1, 33)), "big")  # as powercut_session.py has it
_HEAP = "4M"
_SHOWN = 10  # failing cases that are spelled out

# Dearer in the evening: the price changes ten minutes into the sessions.
_TARIFF = {
    "country_code": "DE", "party_id": "EVT", "id": "DE*EVT*T1", "currency": "EUR",
    "last_updated": "2026-01-01T00:00:00Z",
    "elements": [
        {"restrictions": {"start_time": "06:00", "end_time": "20:00"},
         "price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}]},
        {"price_components": [{"type": "FLAT", "price": 0.50, "vat": 19.0, "step_size": 1},
                              {"type": "ENERGY", "price": 0.61, "vat": 19.0, "step_size": 1},
                              {"type": "TIME", "price": 1.20, "vat": 19.0, "step_size": 60}]},
    ],
}  # fmt: skip

# As on the board: the firmware runs in place, from a ROM image that is mapped into memory.
_START = """
import sys
sys.path[:] = [%(silicon)r, ".frozen"]
import rom
rom.mount(%(image)r, 0, %(size)d, "/rom")
sys.path[:] = ["/rom", %(scripts)r, %(frozen)r, ".frozen"]
import powercut_session
powercut_session.main(%(cases)r, bytes.fromhex(%(table)r))
"""


class PowercutError(EvtillError):
    """The run itself went wrong: no interpreter, a case that nobody can read."""


@dataclass(frozen=True)
class Case:
    """The power goes at the write after `left` others of `plan`, and again after `second` others
    (-1: not again). silent: the meter answers no boot. real: signed with P-256."""

    plan: str
    left: int
    how: int
    second: int = -1
    second_how: int = 0
    silent: int = 0
    real: int = 0

    def __str__(self) -> str:
        return ":".join(map(str, astuple(self)))

    @classmethod
    def parse(cls, text: str) -> "Case":
        """What str() gave. Raises PowercutError."""
        plan, *numbers = text.split(":")
        if plan not in _PLANS or len(numbers) != 6 or not all(n.isdigit() or n == "-1"
                                                              for n in numbers):  # fmt: skip
            raise PowercutError(f"{text} is not a case, such as session:17:1:-1:0:0:0")
        return cls(plan, *map(int, numbers))


@dataclass
class Outcome:
    """What a case gave. wrong: empty when all is as it must be."""

    case: Case
    writes: int
    expected: int
    found: int
    lost: int
    doubled: int
    wrong: str = ""


@dataclass
class Total:
    """What all cases gave. bad: those with anything lost, doubled or wrong otherwise."""

    cases: int = 0
    expected: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    bad: list[Outcome] = field(default_factory=list)

    def add(self, one: Outcome) -> None:
        self.cases += 1
        self.expected += one.expected
        self.found += one.found
        self.lost += one.lost
        self.doubled += one.doubled
        if one.lost or one.doubled or one.wrong:
            self.bad.append(one)

    def __str__(self) -> str:
        return (
            f"powercut: {self.cases} cases, {self.expected} sessions expected, "
            f"{self.found} found, {self.lost} lost, {self.doubled} doubled"
        )


class Bench:
    """Firmware, tariff and public key for interpreters that run cases.

    sources: the firmware's tree; builds: where what is made of it goes."""

    def __init__(self, sources: Path = firmware.ROOT / "firmware",
                 builds: Path = firmware.BUILD / "mpy") -> None:  # fmt: skip
        tree = firmware.build(builds / "powercut", sources)
        self._image = firmware.romfs(tree, builds / "powercut.romfs")
        self._table = compile_tariff(_TARIFF, "Europe/Berlin", 2026)
        private = ec.derive_private_key(_KEY, ec.SECP256R1())
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._key = PublicKey(pem)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tariff.bin"
            path.write_bytes(self._table)
            self._tariff = TariffFile(path)

    def run(self, cases: list[Case]) -> Iterator[Outcome]:
        """Runs cases one by one in one interpreter. Raises PowercutError."""
        with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
            listed = Path(folder) / "cases"
            listed.write_text("".join(f"{' '.join(map(str, astuple(case)))}\n" for case in cases))
            code = _START % {
                "silicon": str(SILICON), "image": str(self._image),
                "size": self._image.stat().st_size, "scripts": str(_SCRIPTS),
                "frozen": str(runtime.FROZEN), "cases": str(listed), "table": self._table.hex(),
            }  # fmt: skip
            with open(Path(folder) / "stderr", "w+b") as said, subprocess.Popen(
                [*runtime.micropython(64), "-X", f"heapsize={_HEAP}", "-c", code],
                env=os.environ | {"MICROPYPATH": ".frozen"},
                stdout=subprocess.PIPE, stderr=said, text=True,
            ) as process:  # fmt: skip
                try:
                    yield from self._outcomes(process, cases, Path(said.name))
                finally:
                    process.kill()

    def _outcomes(
        self, process: subprocess.Popen[str], cases: list[Case], stderr: Path
    ) -> Iterator[Outcome]:
        assert process.stdout is not None
        waiting = iter(cases)
        left = len(cases)
        records: list[bytes] = []
        for line in process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "record":
                records.append(rest.encode())
            elif word == "case":
                writes, expected, found, lost, doubled, wrong = rest.split(" ", 5)
                one = Outcome(next(waiting), int(writes), int(expected), int(found), int(lost),
                              int(doubled), wrong)  # fmt: skip
                if one.case.real:
                    one.wrong = one.wrong or self._verified(records)
                records = []
                left -= 1
                yield one
        if left:
            said = stderr.read_text().strip().splitlines() or ["it said nothing"]
            raise PowercutError(f"MicroPython ended with {left} cases left: {said[-1]}")

    def _verified(self, published: list[bytes]) -> str:
        """What an outsider's check has against the records, signatures and bills included."""
        records = [verify(one, self._key, self._tariff) for one in published]
        checks = [check for one in records for check in one.checks]
        if len(records) > 1:
            checks.append(verify_chain(records))
        return "; ".join(str(check) for check in checks if check.result == FAIL)


def every_case(bench: Bench, seed: int) -> list[Case]:
    """A case for each write of each plan and each way to die; which of them are cut again while
    they recover, have a silent meter or are signed for real is drawn with `seed`."""
    rng = random.Random(seed)
    cases = []
    for whole in bench.run([Case(plan, -1, 0) for plan in _PLANS]):
        if whole.wrong or whole.lost or whole.doubled:
            raise PowercutError(f"{whole.case.plan} without a power cut: {whole.wrong}")
        for left in range(whole.writes):
            for how in range(_WAYS):
                again = rng.random() < 1 / 3
                cases.append(
                    Case(
                        whole.case.plan, left, how,
                        rng.randrange(_SECOND_WITHIN) if again else -1, rng.randrange(_WAYS),
                        int(rng.random() < 1 / 5), int(rng.random() < 1 / 40),
                    )
                )  # fmt: skip
    return cases


def drawn(cases: list[Case], n: int, seed: int) -> list[Case]:
    """`n` of the cases; all of them when there are no more."""
    if n >= len(cases):
        return cases
    return random.Random(seed).sample(cases, n)


def run(
    bench: Bench, cases: list[Case], jobs: int, say: Callable[[Outcome], None] = lambda one: None
) -> Total:
    """Runs the cases in `jobs` interpreters; `say` is told of each. Raises PowercutError."""
    total = Total()
    lock = threading.Lock()
    failed: list[BaseException] = []

    def work(share: list[Case]) -> None:
        try:
            for one in bench.run(share):
                with lock:
                    total.add(one)
                    say(one)
                    if failed:
                        return
        except BaseException as e:  # noqa: BLE001  (raised again below, in the caller's thread)
            failed.append(e)

    shares = [cases[i::jobs] for i in range(jobs)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares if share]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        failed.append(PowercutError("interrupted"))  # ends the threads at their next case
        raise
    if failed:
        raise failed[0]
    return total


@contextmanager
def _bar(n: int) -> Iterator[Callable[[Outcome], None]]:
    """A progress bar where somebody watches."""
    if not sys.stdout.isatty():
        yield lambda one: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress("powercut", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  transient=True) as progress:  # fmt: skip
        task = progress.add_task("", total=n)
        yield lambda one: progress.advance(task)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="powercut", description="Sessions under power cuts.")
    top.add_argument("--cases", default="200", metavar="N", help="how many, or all "
                     "(default: %(default)s)")  # fmt: skip
    top.add_argument("--seed", type=int, default=1, help="of the sample (default: %(default)s)")
    top.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="interpreters side by "
                     "side (default: %(default)s)")  # fmt: skip
    top.add_argument("--case", action="append", metavar="CASE", help="run only this one, as a "
                     "failing run has printed it")  # fmt: skip
    return top


def main() -> int:
    args = parser().parse_args()
    if args.cases != "all" and not (args.cases.isdigit() and int(args.cases)):
        print(f"powercut: CASES={args.cases}: a number from 1 on, or all", file=sys.stderr)
        return 2
    try:
        bench = Bench()
        if args.case:
            cases = [Case.parse(text) for text in args.case]
        else:
            cases = every_case(bench, args.seed)
            n = len(cases)
            if args.cases != "all":
                cases = drawn(cases, int(args.cases), args.seed)
            print(f"powercut: seed {args.seed}, {len(cases)} of {n} cases", flush=True)
        with _bar(len(cases)) as say:
            total = run(bench, cases, max(1, args.jobs), say)
    except (EvtillError, runtime.RuntimeMissing) as e:
        print(f"powercut: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for one in total.bad[:_SHOWN]:
        why = one.wrong or f"{one.lost} lost, {one.doubled} doubled"
        print(f"powercut: {why} (make powercut CASE={one.case})", file=sys.stderr)
    if len(total.bad) > _SHOWN:
        print(f"powercut: and {len(total.bad) - _SHOWN} more", file=sys.stderr)
    print(total)
    return 1 if total.bad else 0


if __name__ == "__main__":
    sys.exit(main())
