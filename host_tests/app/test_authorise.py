"""Whether a card may charge: the list, the backend, what it said before, the configuration."""

import asyncio
from types import SimpleNamespace

import pytest

from evtill.app.charge_point import ChargePoint
from evtill.core.tokens import ASK, BLOCKED, FREE

NOW = 1800000000
TOKEN = b"12345678"
YES, NO = (True, None, "A-1", 900), (False, "no credit left", None, None)


@pytest.fixture
def authorise(tmp_path):
    """authorise(found, answer, floor) -> (event, (auth, auth_method, free) or why)."""

    def call(found, answer, floor_minor=0, later_s=0):
        asked = []

        async def ask(token, currency):
            asked.append(token)
            return answer

        point = object.__new__(ChargePoint)
        point._tokens = SimpleNamespace(folder=str(tmp_path), find=lambda token: found)
        point._till = SimpleNamespace(tariff=None)
        point._clock = SimpleNamespace(unix_ms=lambda: (NOW + later_s) * 1000)
        point._config = {"auth_cache_s": 60, "offline_floor_minor": floor_minor}
        point._report = lambda name, detail: None
        point._show = lambda lines: None
        point._tapped = (TOKEN, "aes")
        point.ask = ask
        event, why = asyncio.run(point._authorise(TOKEN))
        if event == "refused":
            return event, why, len(asked)
        auth, _, how = point._claim
        assert (auth["token"], auth["assurance"]) == (TOKEN.hex(), "aes")
        return event, (auth["ref"], auth["ceiling_minor"], how, bool(point._free)), len(asked)

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
