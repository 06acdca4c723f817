"""Records in flash: the same bytes come back, and few of them are kept."""

import hashlib
import random

import pytest

from evtill.core import packing
from host_tests.fakes import records

SIGNER = records.Signer()


def kept_bytes(parts) -> bytes:
    return b"".join(bytes(part) for part in parts)


def test_a_record_comes_back_and_takes_under_900_bytes() -> None:
    jws = records.signed(SIGNER, 1042, records.sha256(b"previous"), assurance="uid")
    form, header, parts, digest = packing.split(jws)
    assert digest == hashlib.sha256(jws).digest()
    assert (form, header) == (packing.WORDS_1, jws.split(b".")[0])
    kept = kept_bytes(parts)
    assert packing.join(form, header, kept) == jws
    assert len(kept) < 900 < len(jws) // 3


def test_a_record_of_many_periods_comes_back() -> None:
    bill = records.bill()
    bill["periods"] *= 7
    jws = records.envelope(SIGNER, records.payload(SIGNER, records.facts(), bill))
    form, header, parts, digest = packing.split(jws)
    assert digest == hashlib.sha256(jws).digest()
    assert form == packing.WORDS_1 and packing.join(form, header, kept_bytes(parts)) == jws


@pytest.mark.parametrize(
    "jws",
    [
        b"", b".", b"..", b"a.b.c", b"no dots at all", "é.é.é".encode(), b"a.b.c.d",
        b"aGVhZGVy.w6k." + b"A" * 86,  # a payload that is not ASCII
        b"aGVhZGVy.AAAA." + b"A" * 86,  # zero bytes
        b"aGVhZGVy.YQ." + b"A" * 85 + b"B",  # base64 with bits that mean nothing
        b"aGVhZGVy.YR." + b"A" * 86, b"aGVhZGVy.YQ==." + b"A" * 86,
        b"aGVhZGVy.Y Q." + b"A" * 86, b"aGVhZGVy.YQ." + b"A" * 84,
    ],
)  # fmt: skip
def test_whatever_is_not_such_a_jws_is_kept_as_it_is(jws: bytes) -> None:
    form, header, parts, digest = packing.split(jws)
    assert digest == hashlib.sha256(jws).digest()
    assert form == packing.RAW
    assert packing.join(form, header, kept_bytes(parts)) == jws


def test_words_in_every_order_come_back() -> None:
    rng = random.Random(5)
    words = packing._WORDS.split(b"\n")
    assert len(words) <= 0x65  # 0xE5 begins frames
    assert len(set(words)) == len(words) and all(words)
    for _ in range(200):
        text = b"".join(
            rng.choice(words)[: rng.randrange(1, 90)] + b"x" * rng.randrange(2) for _ in range(9)
        )
        packed = packing.pack(text)
        assert packed is not None and packing.unpack(packed) == text


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form 9"):
        packing.join(9, b"", b"")
