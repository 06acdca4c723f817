"""The journal's files on real LittleFS, on the board's interpreter: power cuts, room and heap."""

import os
from pathlib import Path

import pytest

from host_tests import micropython
from tillsim import bench_flash

SCRIPTS = Path(micropython.__file__).parent / "on_micropython"
SOAK = bool(os.environ.get("EVTILL_SOAK"))
SEED = int(os.environ.get("EVTILL_SEED", "1"))


def run(script: str, *args: object, bits: int = 32, heap: str = "2M", timeout_s: int = 120) -> str:
    code = (SCRIPTS / script).read_text()
    return micropython.run(code, *map(str, args), bits=bits, heap=heap, timeout_s=timeout_s)


def test_the_store_keeps_its_promises_and_writes_little() -> None:
    programs, erases = run("check_flash_store.py").split()
    # Nine appends: about 18 programs and one erase each is what LittleFS takes for a long file.
    assert int(programs) < 200
    assert float(erases) < 16


def cut(blocks: int, sessions: int, stride: int, second_every: int) -> tuple[int, ...]:
    said = run(
        "powercut_journal.py", blocks, sessions, stride, SEED, second_every, bits=64, timeout_s=3000
    )
    print(f"seed {SEED}:", said)
    return tuple(map(int, said.split()))


def test_a_power_cut_at_any_write_loses_and_doubles_nothing() -> None:
    cases, expected, found, lost, doubled = cut(24, 5, 1 if SOAK else 3, 3)
    assert (lost, doubled, found) == (0, 0, expected)
    assert cases >= (500 if SOAK else 150)


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="long: EVTILL_SOAK=1")
@pytest.mark.parametrize("second_every", [0, 1])
def test_power_cuts_over_many_sessions_and_compactions(second_every: int) -> None:
    cases, expected, found, lost, doubled = cut(48, 25, 1, second_every)
    assert (lost, doubled, found) == (0, 0, expected)
    assert cases > 2000


def test_a_thousand_waiting_records_on_the_boards_heap(tmp_path: Path) -> None:
    image = tmp_path / "flash.img"
    flash_bytes, used_pct = bench_flash.fill(image)
    assert flash_bytes <= 1500
    assert used_pct < 70
    cost = bench_flash.reopen(image)
    assert cost["sent"] == 1000
    assert cost["held"] <= 8192 and cost["sending"] <= 8192
    assert cost["needs"] <= 12288


def test_the_flash_lasts_more_than_twenty_years() -> None:
    """At the default interval of checkpoints, with a car that charges day and night."""
    _, years = bench_flash.wear(600, bench_flash.checkpoints_a_session())
    assert years > bench_flash.GOAL_YEARS
