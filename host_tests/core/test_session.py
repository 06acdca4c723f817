"""The session's states: the whole table walked, and the stories that money depends on."""

import itertools

import pytest

from evtill.core import record
from evtill.core.session import EVENTS, INITIAL, RUNNING, STATES, step
from tillsim import bench_session

A, B = b"\x04\xa2", b"\x99\x99"


def play(*events, state=INITIAL):
    """The state and all effects after events, each a name or (name, detail)."""
    effects = []
    for event in events:
        name, detail = event if isinstance(event, tuple) else (event, None)
        state, more = step(state, name, detail)
        effects += more
    return state, effects


CHARGING = [("tap", A), "accepted", "plugged", "started"]


def test_tap_plug_charge_tap():
    state, effects = play(*CHARGING)
    assert state == ("charging", A, True, None)
    assert effects == [("authorise", A), ("ask_plug", None), ("start", A)]
    state, effects = play(("tap", A), "closed", state=state)
    assert state[0] == "available"
    assert effects == [("stop", "Local"), ("say_finished", "Local")]


def test_plugged_before_the_tap_starts_at_once():
    state, effects = play("plugged", ("tap", A), "accepted")
    assert state[0] == "authorised"
    assert effects[-1] == ("start", A)


def test_a_refused_card_closes_nothing():
    state, effects = play("plugged", ("tap", A), ("refused", "card is not known"))
    assert state == ("available", None, True, None)
    assert effects == [("authorise", A), ("say_refused", "card is not known")]


def test_a_refused_start_closes_nothing():
    state, effects = play("plugged", ("tap", A), "accepted", ("start_failed", "memory is full"))
    assert state == ("available", None, True, None)
    assert effects[-1] == ("say_refused", "memory is full")


def test_another_card_neither_stops_nor_cancels():
    for before in (CHARGING, CHARGING[:2]):
        state, effects = play(*before, ("tap", B))
        assert state == play(*before)[0]
        assert effects[-1] == ("say_in_use", None)


def test_unplugging_stops_even_when_the_start_was_still_going_on():
    assert play(*CHARGING, "unplugged")[1][-1] == ("stop", "EVDisconnected")
    state, effects = play(("tap", A), "accepted", "plugged", "unplugged", "started")
    assert state[0] == "finishing"
    assert effects[-1] == ("stop", "EVDisconnected")


def test_a_full_car_is_suspended_and_still_stops_by_its_card():
    state, _ = play(*CHARGING, "idle")
    assert state[0] == "suspended"
    assert play("active", state=state)[0][0] == "charging"
    assert play(("tap", A), state=state)[1] == [("stop", "Local")]


def test_an_authorisation_expires_and_can_be_cancelled():
    for event in ("expired", ("tap", A), ("stop", "Remote")):
        state, _ = play(("tap", A), "accepted", event)
        assert state == INITIAL


@pytest.mark.parametrize("reason", record.STOP_REASONS.split())
def test_every_stop_reason_ends_a_running_session_once(reason):
    state, effects = play(*CHARGING, ("stop", reason), ("stop", "Local"), ("tap", A), "unplugged")
    assert [e for e in effects if e[0] == "stop"] == [("stop", reason)]
    assert state == ("finishing", A, False, reason)


def test_every_event_in_every_state_leads_to_a_state():
    """The contactor's effects happen only where they may: start when authorised and plugged,
    stop only from a running session, or one whose start has just succeeded."""
    seen = set()
    frontier = [INITIAL]
    details = {"tap": (A, B), "remote": ((A, {}, None), ("ref-1", {}, None)),
               "stop": ("Remote",), "fault": ("GroundFault",)}
    while frontier:
        state = frontier.pop()
        if state in seen:
            continue
        seen.add(state)
        for event in EVENTS.split():
            for detail in details.get(event, (None,)):
                after, effects = step(state, event, detail)
                assert after[0] in STATES.split()
                assert (after[1] is None) == (after[0] in ("available", "faulted", "unavailable"))
                names = [name for name, _ in effects]
                if "start" in names:
                    assert after[0] == "authorised" and after[2]
                if "stop" in names:
                    assert state[0] in RUNNING or event == "started"
                    assert after[0] == "finishing"
                if state[0] in RUNNING and after[0] not in RUNNING:
                    assert names == ["stop"]
                frontier.append(after)
    assert {state[0] for state in seen} == set(STATES.split())


def test_an_unknown_event_is_our_mistake():
    with pytest.raises(KeyError):
        step(INITIAL, "no such event")


def test_nothing_starts_twice():
    for pair in itertools.product(["plugged", "accepted", "started"], repeat=2):
        _, effects = play(("tap", A), "accepted", "plugged", "started", *pair)
        assert [e for e in effects if e[0] == "start"] == [("start", A)]


def test_steps_take_no_growing_heap_on_a_board():
    count, garbage, _, kept = bench_session.steps()
    assert kept <= 0
    assert garbage <= 200 * count  # a state and its effects: tuples, soon forgotten
