"""The token list: found exactly what was put in, and a damaged file is never searched."""

import random

import pytest

from evtill.core.tokens import BLOCKED, TokenList, TokenListError, encode, token_of
from host_tests.micropython import run

KEY = bytes(range(32))


def opened(data):
    return TokenList(lambda offset, n: data[offset : offset + n], len(data))


def test_every_token_is_found_and_no_other():
    chance = random.Random(7)
    entries = {
        chance.randbytes(8): (chance.randrange(65536), chance.randrange(2)) for _ in range(999)
    }
    tokens = opened(encode(entries))
    assert tokens.count == 999
    assert all(tokens.find(token) == entry for token, entry in entries.items())
    assert all(tokens.find(chance.randbytes(8)) is None for _ in range(999))


def test_an_empty_list_knows_nobody():
    assert opened(encode({})).find(bytes(8)) is None


def test_a_token_is_a_keyed_hash():
    """HMAC-SHA256, checked with hashlib's own hmac."""
    import hmac

    uid = bytes.fromhex("04A2243B6C5E80")
    assert token_of(KEY, uid) == hmac.digest(KEY, uid, "sha256")[:8]
    assert token_of(KEY, uid) != token_of(bytes(32), uid)


def test_any_damage_is_noticed():
    good = encode({bytes([i] * 8): (0, BLOCKED) for i in range(5)})
    for length in range(len(good)):
        with pytest.raises(TokenListError):
            opened(good[:length])
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenListError):
            opened(bytes(bad))


def test_the_same_on_micropython():
    said = run("""
import gc
gc.threshold(8192)  # as the app does: else what lives on lies scattered among the garbage
from evtill.core.tokens import TokenList, encode, token_of
entries = {token_of(b"k" * 32, bytes([i >> 8, i & 255, 1, 2])): (i, i & 1) for i in range(150)}
data = encode(entries)
tokens = TokenList(lambda offset, n: data[offset : offset + n], len(data))
print(tokens.count, all([tokens.find(t) == entries[t] for t in entries]), tokens.find(b"x" * 8))
""")
    assert said.split() == ["150", "True", "None"]
