"""Whether a card may charge: the list, the backend, what it said before, the configuration."""

import asyncio
from types import SimpleNamespace

import pytest

from evtill.app import exposure
from evtill.app.access import Access
from evtill.core.tokens import ASK, BLOCKED, FREE, PREPAID

NOW = 1800000000
TOKEN = b"12345678"
YES, NO = (True, None, "A-1", 900, 0), (False, "no credit left", None, None, 0)


@pytest.fixture
def authorise(tmp_path):
    """authorise(found, answer, floor) -> (event, (auth, auth_method, free) or why)."""

    def call(found, answer, floor_minor=0, later_s=0, waits=lambda seq: False, **config):
        asked = []

        async def ask(token, currency):
            asked.append(token)
            return answer

        async def wait(seconds):
            """What a driver sees meanwhile."""

        given = {"token_key": "33" * 32, "auth_cache_s": 60, "offline": "floor",
                 "offline_floor_minor": floor_minor, "offline_token_minor": 0,
                 "offline_charger_minor": 0, "payment_s": 8}  # fmt: skip
        access = Access(
            given | config,
            SimpleNamespace(folder=str(tmp_path), find=lambda token: found),
            SimpleNamespace(tariff=None, waits=waits),
            SimpleNamespace(unix_ms=lambda: (NOW + later_s) * 1000),
            SimpleNamespace(count_down=wait),
            lambda name, detail: None,
        )
        access.ask = ask
        access.tapped = (TOKEN, "aes")
        event, why = asyncio.run(access.decide(TOKEN))
        if event == "refused":
            return event, why, len(asked)
        claim = access.claim
        auth = claim.auth
        assert (auth["token"], auth["assurance"]) == (TOKEN.hex(), "aes")
        return event, (auth["ref"], auth["ceiling_minor"], claim.how, claim.free), len(asked)

    return call


def test_a_card_that_is_not_listed(authorise):
    assert authorise(None, None) == ("refused", "card is not known", 1)
    assert authorise(None, None, 500) == ("accepted", (None, 500, "WHITELIST", False), 1)
    assert authorise(None, YES) == ("accepted", ("A-1", 900, "AUTH_REQUEST", False), 1)
    # The backend is away: what it said last counts, for a while.
    assert authorise(None, None, 0, 59) == ("accepted", (None, 900, "WHITELIST", False), 1)
    assert authorise(None, None, 0, 60) == ("refused", "card is not known", 1)
    assert authorise(None, NO) == ("refused", "no credit left", 1)
    assert authorise(None, None) == ("refused", "card is not known", 1)


def test_a_listed_card_is_asked_for_only_where_the_list_says_so(authorise):
    assert authorise((None, 0, None, 5), NO) == ("accepted", (None, 5, "WHITELIST", False), 0)
    assert authorise((None, BLOCKED, None, None), YES) == ("refused", "card is blocked", 0)
    assert authorise((None, BLOCKED | ASK, None, None), YES) == ("refused", "card is blocked", 0)
    ask = (None, ASK | FREE, None, 5)
    assert authorise(ask, None) == ("accepted", (None, 5, "WHITELIST", True), 1)
    assert authorise(ask, NO) == ("refused", "no credit left", 1)
    assert authorise(ask, YES) == ("accepted", ("A-1", 900, "AUTH_REQUEST", True), 1)


def test_a_block_list_wins_over_what_was_remembered(authorise):
    assert authorise(None, YES)[0] == "accepted"
    assert authorise((None, BLOCKED, None, None), None) == ("refused", "card is blocked", 0)


def test_what_is_allowed_while_the_backend_is_away(authorise):
    """Each policy with a card that nobody knows, one that was allowed lately, a listed one."""
    refused = ("refused", "card cannot be checked now", 1)
    ask = (None, ASK, None, 700)
    for policy, unknown, known, listed in (
        ("refuse", refused, refused, refused),
        ("known", ("refused", "card is not known", 1), 900, 700),
        ("floor", 500, 900, 700),
    ):
        for found, before, expected in ((None, NO, unknown), (None, YES, known), (ask, NO, listed)):
            authorise(None, before)
            if isinstance(expected, int):
                expected = ("accepted", (None, expected, "WHITELIST", False), 1)
            assert authorise(found, None, 500, offline=policy) == expected
    # One that is listed without being asked for needs no backend.
    assert authorise((None, 0, None, 5), None, offline="refuse")[0] == "accepted"


@pytest.mark.parametrize("policy", ["refuse", "known", "floor"])
@pytest.mark.parametrize("flags", [PREPAID, PREPAID | ASK])
def test_a_prepaid_card_is_always_asked_for_and_refused_offline(authorise, flags, policy):
    """Whatever its ceiling, the floor, and what the backend has said before."""
    listed = (None, flags, None, 700)
    for before in (YES, (True, None, "A-2", 900, PREPAID)):
        assert authorise(listed, before) == (
            "accepted", (before[2], 900, "AUTH_REQUEST", False), 1
        )  # fmt: skip
        away = authorise(listed, None, 500, offline=policy)
        assert away == ("refused", "card cannot be checked now", 1)
    assert authorise(listed, NO) == ("refused", "no credit left", 1)
    assert authorise((None, flags | BLOCKED, None, 700), YES) == ("refused", "card is blocked", 0)


def test_an_answer_of_prepaid_credit_is_not_remembered(authorise):
    assert authorise(None, YES)[0] == "accepted"
    assert authorise(None, (True, None, "A-2", 900, PREPAID))[0] == "accepted"
    assert authorise(None, None) == ("refused", "card is not known", 1)


def test_what_is_owed_bounds_what_is_allowed_offline(authorise, tmp_path):
    exposure.owe(str(tmp_path), TOKEN, 7, 400, lambda seq: True)
    exposure.owe(str(tmp_path), b"87654321", 8, 300, lambda seq: True)

    def ceiling(answer=None, found=None, waiting=(7, 8), **caps):
        event, what, _ = authorise(found, answer, 500, waits=lambda seq: seq in waiting, **caps)
        return what[1] if event == "accepted" else what

    of_card = "offline limit of the card is reached"
    of_charger = "offline limit of the charger is reached"
    assert ceiling() == 500
    assert ceiling(offline_token_minor=900) == 500
    assert ceiling(offline_token_minor=899) == 499
    assert ceiling(offline_token_minor=401) == 1
    assert ceiling(offline_token_minor=400) == of_card
    assert ceiling(offline_token_minor=400, waiting=(8,)) == 400
    assert ceiling(offline_charger_minor=1000) == 300
    assert ceiling(offline_charger_minor=700) == of_charger
    assert ceiling(offline_charger_minor=700, waiting=(8,)) == 400
    assert ceiling(offline_charger_minor=800, offline_token_minor=450) == 50
    assert ceiling(found=(None, ASK, None, None), offline_token_minor=600) == 200
    assert ceiling(found=(None, ASK | FREE, None, None), offline_token_minor=1) is None
    assert ceiling(found=(None, 0, None, None), offline_token_minor=1) is None
    assert ceiling(YES, offline_token_minor=1) == 900


def test_slots_are_used_again_and_damage_frees_one(tmp_path):
    folder, file = str(tmp_path), tmp_path / "owed.bin"
    config = {"offline_token_minor": 1000, "offline_charger_minor": 0}
    for seq in range(1, 5):
        exposure.owe(folder, TOKEN, seq, 100, lambda seq: True)
    exposure.owe(folder, TOKEN, 4, 150, lambda seq: True)  # the same start, tried again
    assert file.stat().st_size == 4 * 20
    assert exposure.bound(config, folder, TOKEN, lambda seq: True, None)[0] == 550
    exposure.owe(folder, TOKEN, 5, 10, lambda seq: seq != 2)
    assert file.stat().st_size == 4 * 20
    assert exposure.bound(config, folder, TOKEN, lambda seq: True, None)[0] == 640
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data + b"torn")
    assert exposure.bound(config, folder, TOKEN, lambda seq: True, None)[0] == 740
    exposure.owe(folder, TOKEN, 6, 1, lambda seq: True)
    assert exposure.bound(config, folder, TOKEN, lambda seq: True, None)[0] == 739
