"""A full data partition: told in time, said on the display; no start that could not be ended."""

from host_tests.e2e.charger import HEAD, charger, outcome, step, tap
from tillctl.port import Port
from tillsim.play import while_pumping

# Leaves so much room that less than the worst session fits beside the reserve.
FILL = """
import hwconfig, os
try:
    hwconfig.mount_data()
except OSError:
    pass
with open(hwconfig.DATA + "/other", "wb") as file:
    while os.statvfs(hwconfig.DATA)[3] > 26:
        file.write(bytes(4096))
        file.flush()
answer = os.statvfs(hwconfig.DATA)[3]
"""


def on_board(playing, code):
    """Runs `code` on the board instead of the firmware."""
    board = playing.charger.board
    board.power_on(mode="raw")
    port = Port(board.console.path, lambda line: None)
    answer = while_pumping(playing.charger.kernel, lambda: port.ask(code))
    board.kill()
    return answer


def test_no_session_starts_where_its_end_might_not_fit(tmp_path):
    text = HEAD + step(3, "plug", kw=11) + tap(5) + step(40, "end")
    with charger(tmp_path, text) as playing:
        assert on_board(playing, FILL) <= 26
        playing.run()
        result = outcome(playing, tmp_path / "out")
    assert result.records == [] and result.truth["sessions"] == []
    assert "Out of order | memory is full" in result.shown()
    assert "Not possible: | memory is full" in result.shown()
    assert {"journal_filling", "journal_full", "start_refused"} <= set(result.events)
    assert result.events.count("journal_filling") == 1
