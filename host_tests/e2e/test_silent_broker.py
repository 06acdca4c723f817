"""The meter is read on time, and the display lives, whatever the network does not answer.

In real time and by the real clock: the simulated one waits for a loop that a call blocks."""

import itertools
import time

import pytest

from host_tests.e2e.charger import HEAD, charger, step, tap
from host_tests.soak import sampled

PERIOD_S = 1.0
LATE_S = 0.2


@pytest.mark.parametrize("from_s", sampled([8, 0.1], 2))
def test_a_silent_broker_delays_no_reading(tmp_path, from_s):
    """It takes the connection and says nothing: from the first one on, or within a session."""
    text = HEAD + step(from_s, "proxy", half_open=True) + step(1, "plug", kw=11) + tap(2)
    with charger(tmp_path, text + step(15, "end"), real_time=True) as playing:
        virtual = playing.charger
        read, shown = [], []
        feed = virtual.meter.feed

        def listen(data):
            read.append(time.monotonic())
            return feed(data)

        def look(screen):
            if screen["lines"][0].startswith("Charging"):
                shown.append(time.monotonic())

        virtual.meter.feed, virtual.on_display = listen, look
        playing.run()
    assert len(shown) > 5
    gaps = [max(later - before for before, later in itertools.pairwise(times))
            for times in ([at for at in read if at > shown[0]], shown)]  # fmt: skip
    print(f"longest gaps: {gaps[0]:.3f} s at the meter, {gaps[1]:.3f} s at the display")
    assert max(gaps) <= PERIOD_S + LATE_S
