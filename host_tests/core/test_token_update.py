"""Token lists that arrive: a delta makes exactly the new list, and nothing damaged passes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtill.core import token_update
from evtill.core.tokens import ENTRY, TokenList, TokenListError
from tillctl.token_list import Listed, Token, build, diff

KEY = bytes(range(32))
TOKENS = st.builds(
    Token, st.sampled_from(("", "a", "fleet")), st.integers(0, 15),
    st.sampled_from((None, 1800000000, 1900000000)), st.sampled_from((None, 0, 500)),
)  # fmt: skip
CARDS = st.dictionaries(st.integers(0, 300).map(lambda n: n.to_bytes(4, "big")), TOKENS)


def reader(data):
    return lambda offset, n: data[offset : offset + n]


def merged(old, delta):
    out = []
    for _ in token_update.merge(TokenList(reader(old)), reader(old), reader(delta), len(delta),
                                lambda piece: out.append(bytes(piece))):  # fmt: skip
        pass
    return b"".join(out)


def check(data):
    for _ in token_update.check(reader(data), len(data), KEY):
        pass


@settings(max_examples=200, deadline=None)
@given(CARDS, CARDS, st.booleans())
def test_a_delta_makes_exactly_the_new_list(before, after, keep):
    listed = build(before, KEY)
    old = listed.encode()
    new = build(after, KEY, listed if keep else None).encode()
    delta = diff(old, new)
    assert merged(old, delta) == new
    check(new)
    assert Listed.decode(new).entries == build(after, KEY).entries


def test_a_small_change_to_a_long_list_is_a_small_delta():
    chance = random.Random(2)
    cards = {chance.randbytes(7): Token("fleet", 0, 1800000000 + n % 500 * 86400) for n in
             range(20000)}  # fmt: skip
    listed = build(cards, KEY)
    old = listed.encode()
    assert len(old) <= 12 * 20000 + 4096
    for uid in list(cards)[:50]:
        del cards[uid]
    cards |= {chance.randbytes(7): Token("depot", 0, 1700000000) for _ in range(50)}
    new = build(cards, KEY, listed).encode()
    delta = diff(old, new)
    assert len(delta) < 5000
    assert merged(old, delta) == new


def test_a_damaged_list_does_not_pass():
    chance = random.Random(3)
    cards = {chance.randbytes(4): Token("a", 1, 1800000000, 5) for _ in range(90)}
    good = build(cards, KEY).encode()
    check(good)
    for length in range(len(good)):
        with pytest.raises(TokenListError):
            check(good[:length])
    for _ in range(3000):
        bad = bytearray(good)
        bad[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        with pytest.raises(TokenListError):
            check(bytes(bad))
    with pytest.raises(TokenListError, match="another key"):
        check(build({}, bytes(32)).encode())


def test_entries_out_of_order_do_not_pass_though_their_crc_is_right():
    listed = build({bytes([n, 0, 0, 0]): Token() for n in range(99)}, KEY)
    words = list(listed.words())
    for i, j in ((0, 1), (41, 42), (97, 98), (5, 5)):
        spoilt = list(words)
        spoilt[i], spoilt[j] = words[j], words[i]
        if i == j:
            spoilt[i + 1] = words[i]  # twice
        listed.words = lambda spoilt=spoilt: iter(spoilt)
        with pytest.raises(TokenListError, match="order"):
            check(listed.encode())


def test_a_damaged_delta_is_refused_or_makes_another_list():
    """Which one it should make, its SHA-256 says: app.token_intake compares."""
    chance = random.Random(4)
    listed = build({chance.randbytes(4): Token() for _ in range(99)}, KEY)
    old = listed.encode()
    new = build({chance.randbytes(4): Token("a") for _ in range(60)}, KEY, listed).encode()
    delta = diff(old, new)
    for length in range(len(delta)):
        with pytest.raises(TokenListError):
            merged(old, delta[:length])
    refused = 0
    for _ in range(2000):
        bad = bytearray(delta)
        at = chance.randrange(token_update.DELTA_HEADER, len(delta))
        bad[at] ^= 1 << chance.randrange(8)
        try:
            assert merged(old, bytes(bad)) != new
        except TokenListError:
            refused += 1
    assert refused > 100


def test_changes_out_of_order_and_removals_of_nobody_are_refused():
    listed = build({bytes([n, 0, 0, 0]): Token() for n in range(9)}, KEY)
    old = listed.encode()
    delta = diff(old, build({}, KEY).encode())
    first, second = delta[-2 * ENTRY : -ENTRY], delta[-ENTRY:]
    with pytest.raises(TokenListError, match="out of order"):
        merged(old, delta[: -2 * ENTRY] + second + first)
    with pytest.raises(TokenListError, match="not there"):
        merged(old, delta[:-ENTRY] + b"\xff" * ENTRY)
