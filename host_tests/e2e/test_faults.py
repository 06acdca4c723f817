"""Faults that scenarios can give: flash writes cut short, failing flash, and a bad network.

Whatever happens: exactly one correct record for each session in which energy flowed."""

import itertools
import json
import os
import random

import pytest

from host_tests.e2e.charger import HEAD, charger, check, outcome, run, session, step, tap
from host_tests.soak import sampled
from tillsim.board import HOWS
from tillsim.mqtt_tap import PUBLISH, packet_end
from tillsim.play import CHARGER

SEED = int(os.environ.get("EVTILL_SEED", "20260302"))
SESSION_WRITES = 170  # what test_writes_are_counted sees, and what a boot writes
KILLS = 12  # for each way of HOWS
CONFIG = "[config]\ncheckpoint_s = 20\nmessage_s = 5\n"


def check_cut(result):
    """As check(), where a session may have no record if nothing flowed in it."""
    true = result.truth["sessions"]
    told = [(record["meter"]["start_wh"], record["meter"]["end_wh"]) for record in result.records]
    flowed = [(one["start_wh"], one["end_wh"]) for one in true if one["end_wh"] > one["start_wh"]]
    assert [one for one in told if one[1] > one[0]] == flowed
    idle = [one["start_wh"] for one in true if one["end_wh"] == one["start_wh"]]
    for start_wh, end_wh in told:
        if end_wh == start_wh:
            idle.remove(start_wh)  # at most one each, and none that never was
    assert [record["seq"] for record in result.records] == list(range(1, len(told) + 1))
    assert not told or result.verify() == 0


def test_writes_are_counted(tmp_path):
    text = HEAD + CONFIG + session(10, 1.5)
    with charger(tmp_path, text) as playing:
        board = playing.charger.board
        after = []
        playing.besides += [(ms, lambda: after.append(board.flash_writes)) for ms in (5000, 130000)]
        playing.run()
        check(outcome(playing, tmp_path / "out"))
    print("writes of one session:", after[1] - after[0])
    assert 100 < after[1] - after[0] < SESSION_WRITES


@pytest.mark.parametrize("how", sampled(HOWS, 3))
def test_power_cut_in_a_flash_write(tmp_path, how):
    """A session each, cut at a write anywhere in it; a third of the boots that follow are cut too,
    at one of their first forty writes."""
    rng = random.Random(f"{SEED} {how}")
    width = SESSION_WRITES / KILLS
    cuts = [1 + int(i * width + rng.random() * width) for i in range(KILLS)]
    rng.shuffle(cuts)
    text = HEAD + CONFIG
    again = []
    for i, n in enumerate(cuts):
        at = 20 + i * 300
        text += step(at - 1, "kill", at_write=n, how=how) + session(at, 1.5)
        if i % 3 == 0:
            again.append(rng.randrange(1, 41))
            text += step(at + 150, "kill") + step(at + 151, "kill", at_write=again[-1], how=how)
            text += step(at + 152, "boot") + step(at + 170, "kill")
        text += step(at + 180, "boot")
    print(f"seed {SEED}, {how}: cut at writes {cuts}, boots at {again}")
    with charger(tmp_path, text + step(20 + KILLS * 300, "end")) as playing:
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check_cut(result)
    assert len(result.records) >= KILLS * 3 // 4


def test_a_full_flash_refuses_a_session_and_says_so(tmp_path):
    text = HEAD + CONFIG + step(20, "flash", state="full") + tap(30) + step(33, "plug", kw=11)
    text += step(60, "unplug") + step(100, "flash", state="ok") + session(120, 1.5)
    result = run(tmp_path, text + step(300, "end"))
    check(result)
    assert "memory fault" in result.shown()
    assert "start_refused" in result.events


def test_a_session_outlives_a_full_flash(tmp_path):
    """No checkpoint can be written for two minutes; the record tells the whole of it, and so does
    the display, all the time."""
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(40, "flash", state="full")
    text += step(160, "flash", state="ok") + tap(300) + step(310, "unplug") + session(400, 1)
    result = run(tmp_path, text + step(600, "end"))
    check(result, sessions=2)
    assert "journal_fault" in result.events and "task_restarted" not in result.events
    shown = [row["at"] for row in result.display if "Charging" in row["lines"][0]]
    assert max(b - a for a, b in itertools.pairwise(shown) if b < 300) < 10


def test_a_session_that_ends_while_the_flash_is_full(tmp_path):
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(40, "flash", state="full")
    text += tap(100) + step(110, "unplug") + step(200, "kill")
    text += step(201, "flash", state="ok") + step(210, "boot")
    result = run(tmp_path, text + session(400, 1) + step(600, "end"))
    check(result, sessions=2)


@pytest.mark.parametrize("state", ["full", "read_error"])
def test_a_session_that_ends_meanwhile_is_settled_when_flash_is_well_again(tmp_path, state):
    """The driver reads the total; nobody else may charge until the record is durable."""
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(40, "flash", state=state)
    text += tap(100) + step(110, "unplug") + session(150, 0.5) + step(200, "flash", state="ok")
    with charger(tmp_path, text + session(300, 1) + step(500, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 1
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=2)
    first = result.records[0]
    assert first["stop_reason"] == "Local" and "closed_at_boot" not in first["flags"]
    assert "Stopped by card" in result.shown() and "Out of order | memory fault" in result.shown()
    assert "task_restarted" not in result.events and result.events.count("link_up") == 1


@pytest.mark.parametrize("after_ms", sampled(range(300, 1000, 100), 3))
def test_flash_that_fails_while_a_session_starts(tmp_path, after_ms):
    """The contactor opens again, or never closes, or a session has begun that is settled."""
    text = HEAD + CONFIG + tap(5) + step(8, "plug", kw=11)
    text += step(8 + after_ms / 1000, "flash", state="full") + step(60, "flash", state="ok")
    text += step(70, "unplug") + session(100, 1)
    with charger(tmp_path, text + step(300, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 1
        result = outcome(playing, tmp_path / "out")
    assert len(result.records) in (1, 2) and "task_restarted" not in result.events
    check(result, sessions=len(result.records))


def test_unreadable_flash_while_nobody_charges(tmp_path):
    """A card is not found in a long list, or no session can start; afterwards it can, without a
    restart."""
    others = ", ".join(f'"{n:08X}"' for n in range(4000))
    text = HEAD.replace('["', f'[{others}, "') + CONFIG + step(20, "flash", state="read_error")
    text += tap(30) + step(33, "plug", kw=11) + step(60, "unplug") + step(80, "flash", state="ok")
    with charger(tmp_path, text + session(200, 1) + step(400, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 1
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert "memory fault" in result.shown()
    assert "start_refused" in result.events


def test_unreadable_flash_for_a_while(tmp_path):
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(40, "flash", state="read_error")
    text += step(160, "flash", state="ok") + tap(300) + step(310, "unplug") + session(400, 1)
    with charger(tmp_path, text + step(600, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 1
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=2)


def test_unreadable_flash_at_boot(tmp_path):
    """Out of order, no format, no crash loop; all is there when the flash can be read again."""
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(60, "kill")
    text += step(61, "flash", state="read_error") + step(62, "boot") + step(300, "kill")
    text += step(301, "flash", state="ok") + step(302, "boot") + step(305, "unplug")
    with charger(tmp_path, text + session(400, 1) + step(600, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 3
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=2)
    assert "Out of order" in result.shown()


def test_a_session_found_at_boot_waits_for_a_flash_that_is_full(tmp_path):
    """Out of order, no crash loop; settled without another boot when there is room again."""
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(60, "kill")
    text += step(61, "flash", state="full") + step(62, "boot") + step(200, "flash", state="ok")
    text += step(210, "unplug") + session(300, 1)
    with charger(tmp_path, text + step(500, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 2
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=2)
    assert "Out of order" in result.shown() and "task_restarted" not in result.events


def test_flash_that_can_be_read_again_after_boot_needs_nobody(tmp_path):
    text = HEAD + CONFIG + tap(10) + step(13, "plug", kw=11) + step(60, "kill")
    text += step(61, "flash", state="read_error") + step(62, "boot")
    text += step(300, "flash", state="ok") + step(310, "unplug") + session(400, 1)
    with charger(tmp_path, text + step(600, "end")) as playing:
        playing.run()
        assert len(playing.charger.board.booted_at_ms) == 2
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=2)


def test_the_connection_is_cut_after_so_many_bytes(tmp_path):
    """Somewhere in the 7 kB of a session: within CONNECT, a record, an acknowledgement."""
    rng = random.Random(SEED)
    counts = [0, 1] + [rng.randrange(2, 7000) for _ in range(8)]
    print(f"seed {SEED}: cut after {counts}")
    text = HEAD + CONFIG
    for i, n in enumerate(counts):
        text += step(19 + i * 200, "proxy", cut_after=n) + session(20 + i * 200, 1.5)
    with charger(tmp_path, text + step(20 + len(counts) * 200, "end")) as playing:
        playing.run()
        assert playing.charger.relay.cuts >= 7
        check(outcome(playing, tmp_path / "out"), sessions=len(counts))


class Cutter:
    """Cuts the board's connections, each `pitch` bytes further on than the last, the first after
    `first` bytes. way: "up" counts all that the board says, from CONNECT, until its status says
    that no record waits; "down" what the backend says on usage/ack, until it has said all of it."""

    def __init__(self, playing, way, first, pitch):
        self.relay, self.store = playing.charger.relay, playing.charger.store
        self.after, self.pitch, self.done = first, pitch, False
        tap = playing.charger.tap
        if way == "up":
            self.heard, tap.connected = tap.connected, self.on_connected
        else:
            self.heard, tap.down = tap.down, self.on_down

    def on_connected(self, link):
        self.heard(link)
        if any(self.store.records(CHARGER)):
            said = [json.loads(row.payload) for row in self.store.statuses(CHARGER)[-9:]]
            waiting = [one["records_waiting"] for one in said if "records_waiting" in one]
            self.done = waiting[-1:] == [0]  # the others are last wills
        self.relay.faults.cut_after = None if self.done else self.after
        self.after += self.pitch

    def on_down(self, link, data):
        self.heard(link, data)
        topic = f"evtill/v1/{CHARGER}/usage/ack".encode()
        if topic in data and not self.done:
            start = data.index(topic) - 2 - 3  # lengths, of 2 and of 2 bytes, and the first byte
            self.relay.faults.cut_down_after = start + self.after
            self.done = self.after >= packet_end(data[start:])[1]
            self.after += self.pitch


SOAK = [
    pytest.mark.soak, pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak"),
]  # fmt: skip


@pytest.mark.parametrize("pitch", [53, pytest.param(1, marks=SOAK)])
@pytest.mark.parametrize(("way", "least"), [("up", 2000), ("down", 200)])
def test_the_connection_is_cut_after_every_byte(tmp_path, way, least, pitch):
    """Of a record's publish and of all before it, or of its acknowledgement: the board tries again
    each time, the backend has the record once."""
    first = random.Random(SEED).randrange(pitch)
    text = HEAD + CONFIG + step(2, "proxy", half_open=True) + session(10, 0.5)
    text += step(100, "proxy", clear=True)
    with charger(tmp_path, text + step(10**6, "end")) as playing:
        sent = listen(playing, b"/usage")
        cutter = Cutter(playing, way, first, pitch)
        playing.run(until=lambda: cutter.done)
        kernel, cuts = playing.charger.kernel, playing.charger.relay.cuts
        told = f"{cuts} cuts in {kernel.now_ms / 1000:.0f} s, the record sent {len(sent)} times"
        kernel.after(200_000, kernel.stop)
        kernel.run()
        result = outcome(playing, tmp_path / "out")
    print(told)
    assert cuts >= least // pitch
    assert kernel.now_ms / 1000 - sent[-1] > 190  # it is confirmed: never sent again
    check(result)


def test_half_open_for_minutes(tmp_path):
    """All is swallowed, nothing is closed; the session goes on, its record comes afterwards."""
    text = HEAD + CONFIG + session(20, 3) + step(60, "proxy", half_open=True)
    text += step(900, "proxy", clear=True)
    with charger(tmp_path, text + step(1100, "end")) as playing:
        playing.besides.append((899_000, lambda: outcome(playing, tmp_path / "before")))
        playing.run()
        result = outcome(playing, tmp_path / "out")
    assert (tmp_path / "before" / "records.jsonl").read_text() == ""
    check(result)
    assert "Stopped by card" in result.shown()


def test_lost_acknowledgements(tmp_path):
    """The records are sent again until one is acknowledged; the backend has each but once."""
    text = HEAD + CONFIG + step(5, "proxy", acks="drop") + session(20, 1) + session(200, 1)
    with charger(tmp_path, text + step(500, "proxy", clear=True) + step(1500, "end")) as playing:
        sent = []
        for ms in (130_000, 499_000, 1_490_000):
            playing.besides.append((ms, lambda: sent.append(playing.charger.relay.bytes_up)))
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=2)
    print("bytes sent by the board:", sent)
    assert sent[1] - sent[0] > 20_000  # again and again


def test_doubled_acknowledgements(tmp_path):
    text = HEAD + CONFIG + step(5, "proxy", acks="duplicate") + session(20, 1) + session(200, 1)
    result = run(tmp_path, text + step(400, "end"))
    check(result, sessions=2)
    assert "ack_invalid" not in result.events


def listen(playing, topic):
    """Simulated seconds at which the board's publishes to `topic` reach the broker: grows."""
    tap, kernel = playing.charger.tap, playing.charger.kernel
    up, heard = tap.up, []

    def on_up(link, data):
        up(link, data)
        if topic in data and data[0] >> 4 == PUBLISH:
            heard.append(kernel.now_ms / 1000)

    tap.up = on_up
    return heard


@pytest.mark.parametrize("fault", [{"acks": "reorder"}, {"ack_delay_ms": 45_000}])
def test_acknowledgements_in_the_wrong_order_or_long_after_a_resend(tmp_path, fault):
    """Of three records that waited for the backend; each was sent 30 s after the first time too."""
    text = HEAD + CONFIG + step(1, "backend", state="stop")
    text += "".join(session(10 + 70 * i, 0.5) for i in range(3)) + step(230, "proxy", **fault)
    text += step(240, "backend", state="start") + step(1500, "end")
    with charger(tmp_path, text) as playing:
        sent = listen(playing, b"/usage")
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check(result, sessions=3)
    print("records sent at:", sent)
    assert len(sent) > 3
    assert sent[-1] < 300  # all are confirmed: resends would be at about 320, 390 and 1450
    assert "ack_invalid" not in result.events


def test_a_slow_network(tmp_path):
    """Three seconds a round trip: the link comes up, slowly, and stays."""
    text = HEAD + CONFIG + step(0, "proxy", delay_ms=1500) + session(20, 2)
    check(run(tmp_path, text + step(300, "end")))
