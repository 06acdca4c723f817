"""The token list: found exactly what was put in, in few reads, and damage is never an answer."""

import binascii
import hmac
import random
import struct

import pytest

from evtill.core import tokens
from evtill.core.tokens import ASK, BLOCKED, FREE, PREPAID, TokenList, TokenListError, token_of
from host_tests.micropython import run
from tillctl.token_list import Token, build

KEY = bytes(range(32))
GROUPS = ["", "1", "fleet", "Stadtwerke München", "x" * 36]


def cards(n, chance):
    """n cards with all that a list can say of them."""
    return {
        chance.randbytes(chance.choice((4, 7, 8, 10))): Token(
            chance.choice(GROUPS), chance.randrange(16),
            chance.choice((None, 1 << 31, *range(1800000000, 1860000000, 86400))),
            chance.choice((None, 0, 500, 2000, (1 << 32) - 1)),
        ) for _ in range(n)
    }  # fmt: skip


def opened(data, key=KEY):
    return TokenList(lambda offset, n: data[offset : offset + n], key)


def meaning(token):
    return token.group or None, token.flags, token.expires, token.ceiling


@pytest.mark.parametrize("n", [0, 1, 2, 41, 42, 43, 44, 85, 86, 999])
def test_every_token_is_found_and_no_other(n):
    chance = random.Random(n)
    given = cards(n, chance)
    data = build(given, KEY).encode()
    found = opened(data)
    assert (found.count, found.size) == (len(given), len(data))
    for uid, token in given.items():
        assert found.find(token_of(KEY, uid)) == meaning(token)
    assert all(found.find(chance.randbytes(8)) is None for _ in range(999))


def test_a_hundred_thousand_in_at_most_17_reads():
    chance = random.Random(1)
    given = cards(100000, chance)
    data = build(given, KEY).encode()
    assert len(data) <= 12 * 100000 + 4096
    reads = []
    found = TokenList(lambda offset, n: reads.append(n) or data[offset : offset + n], KEY)
    assert reads == [tokens.HEADER]
    for uid in [*chance.sample(sorted(given), 3000), *(chance.randbytes(7) for _ in range(999))]:
        reads.clear()
        known = given.get(uid)
        assert found.find(token_of(KEY, uid)) == (known and meaning(known))
        assert len(reads) <= 17 and max(reads) <= 512


def test_a_token_is_a_keyed_hash():
    """HMAC-SHA256, checked with hashlib's own hmac."""
    uid = bytes.fromhex("04A2243B6C5E80")
    assert token_of(KEY, uid) == hmac.digest(KEY, uid, "sha256")[:8]
    assert token_of(KEY, uid) != token_of(bytes(32), uid)


def test_another_chargers_list_is_refused():
    data = build({b"abcd": Token()}, KEY).encode()
    with pytest.raises(TokenListError, match="made under another key"):
        opened(data, bytes(32))
    assert opened(data, None).count == 1


def test_a_damaged_header_is_noticed():
    data = build(cards(5, random.Random(5)), KEY).encode()
    for length in range(tokens.HEADER):
        with pytest.raises(TokenListError):
            opened(data[:length])
    for bit in range(8 * tokens.HEADER):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenListError):
            opened(bytes(bad))


def test_a_list_cut_short_says_so_or_knows_nobody():
    chance = random.Random(6)
    given = cards(200, chance)
    data = build(given, KEY).encode()
    told = 0
    for length in range(tokens.HEADER, len(data), 7):
        found = opened(data[:length])
        for uid in list(given)[::20]:
            try:
                assert found.find(token_of(KEY, uid)) == meaning(given[uid])
            except TokenListError:
                told += 1
    assert told > 1000


def test_entries_out_of_order_are_no_answer():
    """Whatever lies where entries should: an error, the entry's own meaning, or nobody."""
    chance = random.Random(8)
    given = cards(1000, chance)
    data = build(given, KEY).encode()
    found = opened(data)
    told = 0
    for _ in range(300):
        spoilt = bytearray(data)
        n = chance.randrange(1, 5000)
        at = chance.randrange(found.entries, len(data) - n)
        spoilt[at : at + n] = chance.randbytes(n)
        damaged = opened(bytes(spoilt))
        for _ in range(20):
            token = chance.randbytes(8)
            try:
                assert damaged.find(token) is None
            except TokenListError:
                told += 1
    assert told > 100


def test_an_entry_whose_tables_do_not_hold_its_values_is_damage():
    data = bytearray(build({b"abcd": Token("fleet")}, KEY).encode())
    data[-1] = 0xFF
    with pytest.raises(TokenListError, match="an entry"):
        opened(bytes(data)).find(token_of(KEY, b"abcd"))


def test_what_the_list_says_decides():
    day = 86400
    for found, unix_s, why in (
        (None, day, ("token_unknown", "card is not known")),
        ((None, 0, None, None), None, None),
        (("fleet", PREPAID | FREE | ASK, None, 5), day, None),
        ((None, BLOCKED, None, None), day, ("token_blocked", "card is blocked")),
        ((None, BLOCKED, day, None), None, ("token_blocked", "card is blocked")),
        ((None, PREPAID, None, None), day, ("start_refused", "credit is not known")),
        ((None, 0, day, None), day - 1, None),
        ((None, 0, day, None), day, ("token_expired", "card has expired")),
        ((None, 0, day, None), None, ("start_refused", "clock is not set")),
    ):
        assert tokens.why_not(found, unix_s) == why


def test_a_stamp_says_which_list_it_is():
    good = tokens.stamp(7, KEY)
    assert len(good) == tokens.STAMP
    assert tokens.unstamp(good) == (7, KEY)
    assert good[:40] == b"EVTS" + struct.pack("<I", 7) + KEY
    assert good[40:] == struct.pack("<I", binascii.crc32(good[:40]))
    for length in range(len(good)):
        with pytest.raises(TokenListError):
            tokens.unstamp(good[:length])
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenListError):
            tokens.unstamp(bytes(bad))


_SEARCH = """
import gc, sys
gc.threshold(8192)  # as the app does: else what lives on lies scattered among the garbage
from evtill.core.tokens import TokenList, token_of
file = open(sys.argv[1], "rb")
def read_at(offset, n):
    file.seek(offset)
    return file.read(n)
key = bytes(range(32))
tokens = TokenList(read_at, key)
for uid in open(sys.argv[2]):
    gc.collect()
    token = token_of(key, bytes.fromhex(uid.strip()))
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    found = tokens.find(token)
    used = gc.mem_alloc() - before
    gc.enable()
    print(used, found)
"""


@pytest.mark.parametrize("bits", [32, 64])
def test_the_same_on_micropython_in_2_kb_of_heap(bits, tmp_path):
    chance = random.Random(bits)
    given = cards(100000, chance)
    path = tmp_path / "tokens.bin"
    path.write_bytes(build(given, KEY).encode())
    uids = [*chance.sample(sorted(given), 100), *(chance.randbytes(7) for _ in range(20))]
    asked = tmp_path / "uids"
    asked.write_text("\n".join(uid.hex() for uid in uids))
    said = run(_SEARCH, str(path), str(asked), bits=bits)
    lines = said.splitlines()
    assert len(lines) == len(uids)
    for uid, line in zip(uids, lines, strict=True):
        used, found = line.split(" ", 1)
        assert eval(found) == (meaning(given[uid]) if uid in given else None)
        assert int(used) <= (2048 if bits == 32 else 4096)
