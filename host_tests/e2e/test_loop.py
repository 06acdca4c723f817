"""Nothing on the network stops the charging loop: the meter is read on time, come what may.

In real time, so that computing counts too."""

import itertools

import pytest

from host_tests.e2e.charger import HEAD, charger, outcome, step, tap

LINKS = {
    "swallowed": step(0, "proxy", half_open=True),
    "refused": step(0, "broker", state="stop"),
}


@pytest.mark.parametrize("link", LINKS)
def test_the_meter_is_read_on_time(tmp_path, link):
    text = HEAD + LINKS[link] + tap(2) + step(3, "plug", kw=11) + step(14, "end")
    with charger(tmp_path, text, real_time=True) as playing:
        kernel, meter = playing.charger.kernel, playing.charger.meter
        asked, feed = [], meter.feed

        def timed(data):
            asked.append(kernel.now_ms)
            return feed(data)

        meter.feed = timed
        playing.run()
        result = outcome(playing, tmp_path / "out")
    (true,) = result.truth["sessions"]
    # From the second whole reading on: the first ones belong to the start.
    during = [at for at in asked if at > true["contactor_closed_at"] * 1000 + 1500]
    gaps = [b - a for a, b in itertools.pairwise(during)]
    assert len(gaps) >= 6
    assert max(gaps) <= 1000 + 200
    shown = [row["at"] for row in result.display if row["lines"][0].startswith("Charging")]
    assert max(b - a for a, b in itertools.pairwise(shown[2:])) <= 2 * 1.0 + 0.2
