"""A record that was tampered with: every flipped bit is noticed, and what was changed is named."""

import hashlib
import json
import os
import random
import re

import pytest
from pyocmf import OCMF
from pyocmf.exceptions import PyOCMFError

from evtill.core import jws, record_check
from evtill.core.errors import EvtillError
from host_tests.fakes import records
from tillctl.__main__ import main
from tillctl.explain import differences, explain, spans
from tillctl.public_key import OpenSsl
from tillctl.verify import verify

SIGNER = records.Signer()
KEY = SIGNER.public
SIGNED = records.signed(SIGNER)
HEADER, PAYLOAD, SIGNATURE = SIGNED.split(b".")
TEXT = jws.b64url_decode(PAYLOAD)
UNDONE = "with this put back, everything is as signed:"
SOAK = os.environ.get("EVTILL_SOAK") == "1"


def flips(data):
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            yield bytes(changed)


def changed(old, new):
    """The published record with a piece of its payload replaced."""
    assert TEXT.count(old) == 1
    return HEADER + b"." + jws.b64url_encode(TEXT.replace(old, new)) + b"." + SIGNATURE


# --- noticed -------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_record_is_noticed():
    """All of them: header, payload and signature, dots included."""
    tried = 0
    for flipped in flips(SIGNED):
        with pytest.raises(EvtillError):
            jws.es256_verify(flipped, jws.USAGE, KEY.point, OpenSsl())
        tried += 1
    assert tried == 8 * len(SIGNED) > 20000


@pytest.mark.filterwarnings("ignore")  # of what the flips make of it
def test_every_flipped_bit_of_the_ocmf_string_is_noticed():
    """All of them: prefix, signed part and signature; by ours, and a sample by pyocmf."""
    text = json.loads(TEXT)["ocmf"].encode()
    assert KEY.is_signed(*_read(text))
    for number, flipped in enumerate(flips(text)):
        try:
            good = KEY.is_signed(*_read(flipped))
        except EvtillError:
            good = False
        assert not good
        if number % (1 if SOAK else 11) == 0:
            assert not _pyocmf_takes(flipped)


def _read(text):
    body, _, der = record_check.parse_ocmf(text.decode("latin-1"))
    return body, der


# To pyocmf upper and lower case hex are the same signature; ours takes one form only.
_CASE = re.compile(rb'"SD":"([0-9A-Fa-f]+)"')


def _pyocmf_takes(flipped):
    try:
        good = OCMF.from_string(flipped.decode("latin-1")).verify_signature(KEY.spki.hex())
    except (PyOCMFError, ValueError):
        return False
    same = _CASE.search(flipped)
    return good and (same is None or same[1].lower() not in TEXT)


@pytest.mark.skipif(not SOAK, reason="EVTILL_SOAK=1 runs it")
@pytest.mark.soak
def test_tillctl_verify_accepts_no_flipped_bit():
    for flipped in flips(SIGNED):
        assert not verify(flipped, KEY).holds(without_tariff=True)


# --- named ---------------------------------------------------------------------------------------


def test_any_flipped_bit_is_found_again():
    """No copy is needed: the one flip that makes the signature hold is the one that was made."""
    rng = random.Random(7)
    some = rng.sample(range(len(SIGNED)), 400 if SOAK else 5)
    for at in [0, len(HEADER), len(SIGNED) - 1, *some]:
        for bit in rng.sample(range(8), 2):
            flipped = bytearray(SIGNED)
            flipped[at] ^= 1 << bit
            said = explain(bytes(flipped), KEY)
            if UNDONE not in said:
                # The last character of the signature has four bits that stand for nothing.
                assert (at, bit < 4) == (len(SIGNED) - 1, True)
                continue
            assert said[-2:] == [UNDONE, differences(bytes(flipped), SIGNED)[0]]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"incl_minor":720}]', b'"incl_minor":120}]', "is '1', signed was '7'"),
        (b'"volume_wh":12345', b'"volume_wh":12945', "is '9', signed was '3'"),
        (b'"end_wh":1057465', b'"end_wh":99', "is '99', signed was '1057465'"),
        (b'"serial":"1234567"', b'"serial":"7"', "signed was '123456'"),
        (b'"token":"9c1f0a6be24d7e35"', b'"token":"' + b"8" * 16 + b'"', "is '88888"),
        (b'07:14:05Z","end', b'01:02:00Z","end', "is '1:02:00', signed was '7:14:05'"),
        (b'"total_energy_wh":12345', b'"total_energy_wh":1', "signed was '2345'"),
        (b"1057.465", b"1057.405", "is '0', signed was '6'"),
    ],
)  # fmt: skip
def test_a_change_is_undone_where_something_else_tells_what_was(old, new, says):
    published = changed(old, new)
    said = explain(published, KEY)
    assert said[-2] == UNDONE
    assert says in said[-1]


def test_the_hash_of_the_record_before_tells_what_prev_was():
    published = changed(b'"prev":"' + b"0" * 64, b'"prev":"' + b"12" * 32)
    assert "more bytes were changed" in explain(published, KEY)[-1]
    said = explain(published, KEY, prev="0" * 64)
    assert said[-1].endswith(": prev")


def test_several_contradictions_are_undone_together():
    once = TEXT.replace(b'"end_wh":1057465', b'"end_wh":1045121')
    twice = once.replace(b'"total_energy_wh":12345', b'"total_energy_wh":1')
    said = explain(b".".join([HEADER, jws.b64url_encode(twice), SIGNATURE]), KEY)
    assert UNDONE in said
    assert {line.rpartition(": ")[2] for line in said[4:]} == {"meter.end_wh", "total_energy_wh"}


def test_beside_a_copy_every_range_of_bytes_is_named():
    published = changed(b'"currency":"EUR"', b'"currency":"USD"')
    assert "more bytes were changed" in explain(published, KEY)[-1]
    other = records.signed(SIGNER, 43)
    for copies in ([SIGNED], [other, SIGNED], [published, SIGNED]):
        *_, title, line = explain(published, KEY, copies)
        assert title == "beside a copy that is as signed:"
        match = re.fullmatch(
            r"payload, bytes (\d+) to (\d+): is 'USD', signed was 'EUR' "
            r"\(bytes (\d+) to (\d+) of the JWS\): currency", line,
        )  # fmt: skip
        at, end, first, last = map(int, match.groups())
        assert TEXT[at : end + 1] == b"EUR"
        changes = [i for i in range(len(SIGNED)) if SIGNED[i] != published[i]]
        assert first <= changes[0] <= changes[-1] <= last


def test_a_copy_that_does_not_verify_is_no_witness():
    published = changed(b'"currency":"EUR"', b'"currency":"USD"')
    other = changed(b'"currency":"EUR"', b'"currency":"GBP"')
    assert "more bytes were changed" in explain(published, KEY, [other])[-1]


def test_which_signature_covers_which_bytes_is_said_and_which_fails():
    published = changed(b'"currency":"EUR"', b'"currency":"USD"')
    covers, header, ocmf = explain(published, KEY)[:3]
    _, signed_end, h, p, s, e = map(int, re.findall(r"\d+", covers))
    assert (h + 1, p, signed_end + 1, s, e + 1) == (
        len(HEADER), len(HEADER) + 1, len(HEADER) + 1 + len(PAYLOAD),
        len(HEADER) + len(PAYLOAD) + 2, len(SIGNED),
    )  # fmt: skip
    assert header == "the header is exactly that of this key's records"
    assert "they are as signed" in ocmf
    at, end = map(int, re.search(r"payload bytes (\d+) to (\d+)", ocmf).groups())
    body = TEXT[at : end + 1].replace(b'\\"', b'"')
    digest = hashlib.sha256(body).digest()
    _, _, der = record_check.parse_ocmf(json.loads(TEXT)["ocmf"])
    from evtill.core.crypto.der import der_decode

    assert KEY.verify(digest, *der_decode(der))


def test_both_signatures_gone_leaves_nothing_to_stand():
    text = TEXT.replace(b"1057.465", b"1099.999").replace(b"1057465", b"1099999")
    said = explain(b".".join([HEADER, jws.b64url_encode(text), SIGNATURE]), KEY)
    assert "is not as signed either" in said[2]
    assert "more bytes were changed" in said[-1]


def test_another_key_is_said_to_be_possible():
    said = explain(records.signed(records.Signer(9)), KEY)
    assert said[1] == "the header is not that of this key's records"
    assert said[-1].startswith("another key signed it, or ")


@pytest.mark.parametrize("junk", [b"", b"a", b"..", b"a.b.c", b"\xff" * 40, b"." * 99, PAYLOAD])
def test_junk_is_explained_without_a_traceback(junk):
    assert explain(junk, KEY)
    assert explain(junk + b"." + HEADER + b"." + SIGNATURE, KEY)


def test_damage_of_any_kind_is_explained_without_a_traceback():
    rng = random.Random(5)
    for _ in range(60 if SOAK else 3):
        damaged = bytearray(TEXT)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(damaged))
            end = at + rng.choice([0, 1, 9])
            damaged[at:end] = rng.choice([b"", b'"', b"{", b"]", b"\\", b"|", b"\x00\xff"])
        published = b".".join([HEADER, jws.b64url_encode(bytes(damaged)), SIGNATURE])
        assert all(line.isprintable() for line in explain(published, KEY))
        said = explain(published, KEY, [SIGNED])
        at = said.index("beside a copy that is as signed:")
        assert all(line.startswith("payload, byte") for line in said[at + 1 :])


def test_the_spans_are_those_of_the_values():
    found = json.loads(TEXT)
    at = spans(TEXT.decode())
    line = "charging_periods[0].dimensions[0].incl_minor"
    assert TEXT[slice(*at[line])] == b"720"
    assert json.loads(TEXT[slice(*at["ocmf"])]) == found["ocmf"]
    assert json.loads(TEXT[slice(*at["auth.ref"])]) is None
    assert list(at)[:3] == ["id", "seq", "prev"]
    for end in range(0, len(TEXT), 97):
        spans(TEXT[:end].decode())


# --- on the command line -------------------------------------------------------------------------


def test_tillctl_verify_names_the_bytes(tmp_path, capsys):
    (tmp_path / "key.pem").write_text(KEY.pem)
    (tmp_path / "bad.jws").write_bytes(changed(b'"currency":"EUR"', b'"currency":"USD"'))
    (tmp_path / "good.jws").write_bytes(SIGNED)
    command = ["verify", str(tmp_path / "bad.jws"), "--key", str(tmp_path / "key.pem")]
    assert main([*command, "--no-tariff"]) == 1
    said = capsys.readouterr().out
    assert "FAIL jws signature: " in said
    assert "ok   ocmf signature: " in said
    assert "only a copy that is as signed" in said
    assert main([*command, "--no-tariff", "--against", str(tmp_path / "good.jws")]) == 1
    assert "is 'USD', signed was 'EUR'" in capsys.readouterr().out
    assert main([*command, "--no-tariff", "--against", str(tmp_path), "--json"]) == 1
    [record] = json.loads(capsys.readouterr().out)["records"]
    assert "is 'USD', signed was 'EUR'" in record["not_as_signed"][-1]


def test_each_line_that_holds_says_what_it_proves(tmp_path, capsys):
    (tmp_path / "key.pem").write_text(KEY.pem)
    (tmp_path / "good.jws").write_bytes(SIGNED)
    main(["verify", str(tmp_path / "good.jws"), "--key", str(tmp_path / "key.pem")])
    lines = capsys.readouterr().out.splitlines()
    holding = [line for line in lines if line.startswith("ok ")]
    assert len(holding) == 7
    assert all(" -> " in line for line in holding)
