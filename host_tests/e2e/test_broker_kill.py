"""mosquitto, killed and restarted in the middle of a publish: nothing is lost or doubled."""

import pytest

from host_tests import programs
from host_tests.e2e.charger import HEAD, charger, check, outcome, session, step

AWAY_MS = 3000


class Killer:
    """Kills the broker at each of `moments` in turn: "publish", a record is on its way to it;
    "puback", its PUBACK is on its way back; "ack", the backend's acknowledgement is."""

    def __init__(self, virtual, moments):
        self.virtual, self.moments, self.kills = virtual, list(moments), 0
        self.published = False
        self.up, self.down = virtual.tap.up, virtual.tap.down
        virtual.tap.up, virtual.tap.down = self.on_up, self.on_down

    def on_up(self, link, data):
        self.up(link, data)
        if b"/usage" in data and b"/usage/ack" not in data:
            self.published = True
            self.kill_at("publish")

    def on_down(self, link, data):
        self.down(link, data)
        if b"/usage/ack" in data:
            self.kill_at("ack")
        if self.published and data[0] >> 4 == 4:
            self.kill_at("puback")

    def kill_at(self, moment):
        if self.moments[:1] == [moment]:
            self.moments.pop(0)
            self.kills += 1
            self.published = False
            self.virtual.broker.kill()
            self.virtual.do("broker", {"state": "stop"})
            self.virtual.kernel.after(
                AWAY_MS, lambda: self.virtual.do("broker", {"state": "start"})
            )


@pytest.mark.parametrize("persistent", [True, False])
def test_a_broker_killed_while_records_are_on_their_way(tmp_path, persistent):
    programs.program("mosquitto")
    text = HEAD + "".join(session(5 + 60 * i, 0.5) for i in range(3)) + step(400, "end")
    with charger(tmp_path, text) as playing:
        playing.charger.broker.persistent = persistent
        moments = ("publish", "puback", "ack") * 2
        killer = Killer(playing.charger, moments)
        playing.run()
        result = outcome(playing, tmp_path / "out")
        assert playing.charger.broker.engine == "mosquitto"
        assert playing.charger.store.alarms() == []
    assert killer.kills == 6 and result.events.count("link_up") == 7
    check(result, sessions=3)
