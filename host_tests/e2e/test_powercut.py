"""Whole sessions under power cuts: a seeded sample of what `make powercut CASES=all` runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tillctl import firmware
from tillsim import powercut

SOAK = bool(os.environ.get("EVTILL_SOAK"))
SEED = int(os.environ.get("EVTILL_SEED", "1"))


def check(total: powercut.Total) -> None:
    print(f"seed {SEED}:", total)
    assert [(str(one.case), one.wrong) for one in total.bad] == []
    assert (total.lost, total.doubled, total.found) == (0, 0, total.expected)


def test_a_power_cut_at_any_write_costs_no_session_and_doubles_none() -> None:
    bench = powercut.Bench()
    cases = powercut.drawn(powercut.every_case(bench, SEED), 150, SEED)
    assert {case.plan for case in cases} == {"session", "compaction", "long", "backlog"}
    assert any(case.real for case in cases) and any(case.second >= 0 for case in cases)
    check(powercut.run(bench, cases, jobs=1))


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not SOAK, reason="long: EVTILL_SOAK=1")
def test_a_power_cut_at_every_write() -> None:
    bench = powercut.Bench()
    cases = powercut.every_case(bench, SEED)
    assert len(cases) > 3000
    check(powercut.run(bench, cases, jobs=os.cpu_count() or 1))


@pytest.mark.parametrize(
    ("module", "line", "instead", "lost"),
    [
        ("app/compose", "asyncio.run(self.recovery.settle())",
         "self.journal.abandon(); self.recovery.why = None", True),
        # A record of the last durable reading, though the meter answers: energy is missing.
        ("app/till", "self.stop(reason, session.at_ms, register_wh)",
         "self.stop(reason, session.at_ms, session.register_wh)", False),
    ],
)  # fmt: skip
def test_a_charger_that_settles_wrongly_is_found_out(
    tmp_path: Path, module: str, line: str, instead: str, lost: bool
) -> None:
    sources = tmp_path / "firmware"
    shutil.copytree(firmware.ROOT / "firmware", sources)
    file = sources / "evtill" / f"{module}.py"
    before = file.read_text()
    assert before.count(line) == 1
    file.write_text(before.replace(line, instead))
    bench = powercut.Bench(sources, tmp_path)
    cases = [case for case in powercut.every_case(bench, 1)
             if case.plan == "session" and case.left > 100]  # fmt: skip
    total = powercut.run(bench, powercut.drawn(cases, 20, 1), jobs=1)
    assert total.bad
    assert (total.lost > 0) == lost


def test_the_last_line_says_what_came_of_it() -> None:
    def say(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tillsim.powercut", *args],
                              capture_output=True, text=True, check=False)  # fmt: skip

    done = say("--cases", "3", "--seed", "7")
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("powercut: seed 7, 3 of ")
    found = re.fullmatch(
        r"powercut: 3 cases, (\d+) sessions expected, (\d+) found, 0 lost, 0 doubled", last
    )
    assert found is not None and found[1] == found[2]
    bad = say("--cases", "some")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert len(bad.stderr.splitlines()) == 1
