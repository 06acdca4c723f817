"""Fifty taps a minute of cards of all kinds, good ones among them: a sample; an hour in soak."""

import random
import re

from host_tests.drivers.test_soak import sample_and_soak
from host_tests.e2e.charger import CARD, HEAD, check, run, step
from host_tests.e2e.test_cards import AES, touch
from host_tests.e2e.test_commands import command

PERIOD_S = 1.2
TAPS = {  # what each may be, and the events that it may cause
    "stranger": ({"card": "uid", "uid": "11223344"}, "card_unproven"),
    "clone": ({"card": "uid"}, "card_unproven"),
    "wrong": ({"card": "desfire", "key": "wrong", "uid": "04112233445566"}, "card_refused"),
    "phone": ({"card": "phone"}, "card_anonymous"),
    "foreign": ({"card": "ntag424", "key": "none"}, "card_unproven"),
    "brief": ({"card": "ntag424", "hidden": True, "held_ms": 40}, None),
}


@sample_and_soak("minutes", 2, 60)
def test_fifty_taps_a_minute(tmp_path, minutes):
    """Nobody but the genuine card starts or stops anything, and no task ever dies."""
    rng = random.Random(minutes)
    text = HEAD + AES + step(2, "plug", kw=11)
    at, sessions, given = 5.0, 0, []
    end = at + minutes * 60
    while at < end:
        # The genuine card now and then, to start and, half a minute later, to stop.
        if len(given) % 50 == 10:
            text += touch(round(at, 3), "ntag424", held_ms=700)
            sessions += 1
            given.append("genuine")
        elif len(given) % 50 == 35:
            text += touch(round(at, 3), "ntag424", held_ms=700)
            given.append("genuine")
        else:
            name = rng.choice(sorted(TAPS))
            given.append(name)
            what = {"held_ms": 500, **TAPS[name][0]}
            text += touch(round(at, 3), what.pop("card"), what.pop("key", "right"),
                          what.pop("uid", CARD), **what)  # fmt: skip
        at += PERIOD_S
    text += command(65, "diagnostics") + command(round(end + 20, 3), "diagnostics")
    result = run(tmp_path, text + step(round(end + 30, 3), "end"))
    check(result, sessions=sessions)
    assert {record["auth"]["assurance"] for record in result.records} == {"aes"}
    assert {record["stop_reason"] for record in result.records} == {"Local"}
    before, after = (int(re.search(r"heap (\d+) used", said)[1]) for _, said in result.results)
    assert after - before < 3000  # of 64 bits: nothing grows by the tap
    told = set(result.events)
    assert "task_restarted" not in told and "reader_fault" not in told
    assert b"MemoryError" not in (tmp_path / "out" / "console.log").read_bytes()
    for name, (_, event) in TAPS.items():
        if name in given and event:
            assert event in told
