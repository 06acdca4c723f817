"""The journal's files on real LittleFS, on the board's interpreter: power cuts, room and heap."""

import os
from pathlib import Path

import pytest

from host_tests import micropython

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
    image.write_bytes(b"\xff" * (512 * 4096))
    flash_bytes, used_pct, _ = map(int, run("check_full_journal.py", "fill", image).split())
    assert flash_bytes <= 1500
    assert used_pct < 70
    said = run("check_full_journal.py", "open", image, heap="112k")
    held, _, _, sent, _, sending, _ = map(int, said.split())
    assert sent == 1000
    assert held <= 8192 and sending <= 8192


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="long: EVTILL_SOAK=1")
def test_the_flash_lasts_more_than_twenty_years() -> None:
    _, _, years = run("measure_wear.py", 3000, 12, 30, heap="8M", timeout_s=900).split()
    assert int(years) > 20
