"""OCMF strings against pyocmf, a stranger's reader, verifier and judge of calibration law."""

import hashlib
import json
import os
import random
import re

import pytest
from pyocmf import OCMF
from pyocmf.exceptions import PyOCMFError

from evtill.core import ocmf, record_check
from evtill.core.crypto.der import der_decode, der_encode
from evtill.core.errors import RecordError
from host_tests.fakes import records

SIGNER = records.Signer()
SPKI = SIGNER.public.spki.hex()
# 1 in 256 has a short r, and 1 in 256 a short s.
COUNT = 30000 if os.environ.get("EVTILL_SOAK") else 3000


def judged(text):
    """(signature holds, errors, warnings) by pyocmf in its strict mode."""
    holds, issues = OCMF.from_string(text, strict=True).verify(SPKI)
    codes = {"error": [], "warning": []}
    for issue in issues:
        codes[issue.severity.value].append(issue.code.value)
    return holds, codes["error"], codes["warning"]


def sealed(**changes):
    return records.sealed_ocmf(SIGNER, records.facts(**changes)).decode()


def payload_of(text):
    return json.loads(text.split("|")[1], parse_float=str)


def test_a_usual_session_is_valid_without_a_remark():
    assert judged(sealed()) == (True, [], [])


@pytest.mark.parametrize("tx", ["E", "L", "R", "A", "P"])
def test_every_ending_is_valid(tx):
    text = sealed(tx=tx)
    assert judged(text) == (True, [], [])
    assert [reading["TX"] for reading in payload_of(text)["RD"]] == ["B", tx]


@pytest.mark.parametrize("letters", ["UU", "US", "UR", "IS", "SI", "SR", "II", "RR"])
def test_a_clock_that_is_not_synchronised_is_said_and_only_warned_of(letters):
    start_s = 12 if letters == "UU" else records.START_S
    text = sealed(clock_start=letters[0], clock_end=letters[1], start_unix_s=start_s,
                  end_unix_s=start_s + 4662)  # fmt: skip
    stamps = [reading["TM"][-1] for reading in payload_of(text)["RD"]]
    assert "".join(stamps) == letters
    warned = ["TIME_SYNC"] * sum(letter != "S" for letter in letters)
    assert judged(text) == (True, [], warned)


def test_a_start_put_right_by_the_monotonic_clock_makes_both_readings_relative():
    """R and then S would be two clocks to law's readers: an error, not a warning."""
    text = sealed(clock_start="R", clock_end="S")
    assert [reading["TM"][-2:] for reading in payload_of(text)["RD"]] == [" R", " R"]
    assert judged(text) == (True, [], ["TIME_SYNC"] * 2)
    two_clocks = sealed().replace("+0100 S", "+0100 R", 1)
    issues = OCMF.from_string(two_clocks, strict=True).check_eichrecht()
    assert ("TIME_SYNC", "error") in [(i.code.value, i.severity.value) for i in issues]


def test_what_does_not_fit_the_buffer_is_refused_and_never_cut():
    of = records.ocmf_facts(records.facts())
    whole = records.written_ocmf(of, SIGNER.sign)
    for room in range(0, len(whole), 7):
        out = bytearray(room)
        with pytest.raises(RecordError, match=f"longer than {room} bytes"):
            ocmf.seal(out, ocmf.build(of, out), 1 << 255, 1 << 255)
        assert len(out) == room


def test_the_longest_of_every_field_fits_the_buffer():
    of = records.facts(
        2**31, charger="*" * 34, firmware="1" * 32, tariff_text="x|" * 125,
        meter={"vendor": "v" * 20, "model": "m" * 32, "serial": '"' * 32, "start_wh": 10**9,
               "end_wh": 10**10},
        auth={"method": "app", "token": None, "assurance": "app", "ref": "r" * 64,
              "ceiling_minor": None},
    )  # fmt: skip
    assert judged(records.sealed_ocmf(SIGNER, of).decode()) == (True, [], [])


def test_the_fields_are_those_of_the_design():
    text = sealed(seq=42)
    found = payload_of(text)
    assert found["FV"] == "1.3"
    assert found["PG"] == "T42"
    assert found["IS"] is True
    assert (found["IL"], found["IF"], found["IT"]) == ("HEARSAY", ["RFID_PLAIN"], "LOCAL")
    begin, end = found["RD"]
    assert sorted(begin) == sorted(end) == ["EF", "RI", "RT", "RU", "RV", "ST", "TM", "TX"]
    assert begin["TM"] == "2026-03-02T08:14:05,000+0100 S"
    assert (begin["RV"], end["RV"]) == ("1045.120", "1057.465")
    assert begin["ST"] == end["ST"] == "G"
    assert text.isascii()
    assert text.count("|") == 2


@pytest.mark.parametrize(
    ("auth", "level", "flags", "kind", "identity"),
    [
        (("rfid", "ab" * 8, "uid", None), "HEARSAY", ["RFID_PLAIN"], "LOCAL", "ab" * 8),
        (("rfid", "ab" * 8, "aes", None), "SECURE", ["RFID_PSK"], "LOCAL", "ab" * 8),
        (("prepaid", "ab" * 8, "uid", None), "HEARSAY", ["RFID_PLAIN"], "LOCAL", "ab" * 8),
        (("app", None, "app", "ref-1"), "TRUSTED", [], "CENTRAL", "ref-1"),
        (("card", None, "card", "pi_123"), "TRUSTED", [], "CARD_TXN_NR", "pi_123"),
        (("terminal", None, "card", "000017"), "TRUSTED", [], "CARD_TXN_NR", "000017"),
        (("card", None, "card", "4111111111111111"), "NONE", [], "NONE", ""),
        (("card", None, "card", None), "NONE", [], "NONE", ""),
    ],
)
def test_who_charged_is_told_as_far_as_it_is_known_and_never_by_a_card_number(
    auth, level, flags, kind, identity
):
    names = ("method", "token", "assurance", "ref")
    text = sealed(auth=dict(zip(names, auth, strict=True)) | {"ceiling_minor": None})
    found = payload_of(text)
    assert (found["IL"], found["IF"], found["IT"], found["ID"]) == (level, flags, kind, identity)
    assert found["IS"] is bool(identity)
    assert judged(text) == (True, [], [])


def test_odd_texts_stay_ascii_and_in_their_fields():
    meter = records.facts()["meter"] | {"serial": 'a|b"c\\d\u00e9', "vendor": "|" * 8}
    text = sealed(meter=meter, tariff_text="0,49 \u20ac/kWh | " * 40, firmware="1.2.3-" + "x" * 30)
    found = payload_of(text)
    assert text.isascii()
    assert text.count("|") == 2
    assert (found["MS"], found["MV"]) == ('a|b"c\\d\u00e9', "|" * 8)
    assert (len(found["TT"]), len(found["CF"])) == (250, 25)
    assert judged(text) == (True, [], [])


def _random_facts(rng):
    start_s = rng.randrange(1700000000, 4102444800)
    duration_s = rng.randrange(200000)
    start_wh = rng.randrange(10 ** rng.randrange(1, 10))
    methods = (("rfid", "uid"), ("rfid", "aes"), ("app", "app"), ("card", "card"))
    method, assurance = rng.choice(methods)
    return {
        "seq": rng.randrange(10 ** rng.randrange(1, 8)) + 1, "start_unix_s": start_s,
        "end_unix_s": start_s + duration_s, "offset_s": rng.randrange(-48, 57) * 900,
        "meter": {"model": "SDM630", "serial": str(rng.randrange(10**8)), "start_wh": start_wh,
                  "end_wh": start_wh + rng.randrange(10**5)},
        "auth": {"method": method, "token": f"{rng.getrandbits(64):016x}", "assurance": assurance,
                 "ref": f"ref-{rng.getrandbits(40):x}", "ceiling_minor": None},
        "tx": rng.choice("ELRAP"), "tariff_text": "x" * rng.randrange(300),
    }  # fmt: skip


def test_random_records_verify_and_say_what_they_were_made_of():
    rng = random.Random(2026)
    short = set()
    for _ in range(COUNT):
        changes = _random_facts(rng)
        text = sealed(**changes)
        assert judged(text) == (True, [], []), text
        body, found, der = record_check.parse_ocmf(text)
        assert SIGNER.public.is_signed(body, der)
        short |= {i for i, n in enumerate(der_decode(der)) if n < 1 << 248}
        begin, end = found["RD"]
        assert (begin["unix_s"], end["unix_s"]) == (changes["start_unix_s"], changes["end_unix_s"])
        assert (begin["wh"], end["wh"]) == (
            changes["meter"]["start_wh"], changes["meter"]["end_wh"],
        )  # fmt: skip
    assert short == {0, 1}  # an r and an s whose first byte is 0


@pytest.mark.parametrize("r", [1, 127, 128, 255, 1 << 247, (1 << 248) - 1, 1 << 255])
def test_a_short_signature_is_minimal_der(r):
    text = records.written_ocmf(records.ocmf_facts(records.facts()), lambda _: (r, 1 << 240))
    sd = json.loads(text.split(b"|")[2])["SD"]
    assert sd == der_encode(r, 1 << 240).hex()
    assert not re.match("3044022000[0-7]", sd)
    length = int(sd[6:8], 16)
    assert int(sd[8 : 8 + 2 * length], 16) == r
    assert length == r.bit_length() // 8 + 1


@pytest.mark.filterwarnings("ignore")  # of what the changes make of it
def test_a_changed_byte_is_noticed():
    text = sealed()
    body = text.split("|")[1]
    for at in range(0, len(body), 7):
        changed = body[:at] + chr(ord(body[at]) ^ 1) + body[at + 1 :]
        forged = text.replace(body, changed)
        try:
            assert not OCMF.from_string(forged).verify_signature(SPKI)
        except PyOCMFError:
            continue
    signed, _, der = record_check.parse_ocmf(text)
    assert not SIGNER.public.is_signed(signed + b" ", der)
    assert not records.Signer(7).public.is_signed(signed, der)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("OCMF|", "OCMX|"), ('"T42"', '"T042"'), ('"FV":"1.3"', '"FV":"1.4"'),
        ("1045.120", "1045.12"), ("1045.120", "1045120"), ("1045.120", "1e3"),
        ("1045.120", '"1045.120"'), ('"ST":"G"', '"ST":"M"'), ('"EF":""', '"EF":"E"'),
        ('"TX":"B"', '"TX":"C"'), ("+0100 S", "+01:00 S"), ("+0100 S", "+0100 X"),
        ("ECDSA-secp256r1-SHA256", "ECDSA-secp256k1-SHA256"), ('"SD":"30', '"SD":"zz'),
        ('"PG":', '"PG":"T1","PG":'), ('"MM":', '"MX":'), ("|{", "|{}|{"), (",000+", ",001+"),
        ("2026-03-02", "2026-02-30"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_refused(old, new):
    text = sealed(seq=42)
    assert old in text
    with pytest.raises(RecordError):
        record_check.parse_ocmf(text.replace(old, new, 1))


def test_the_signature_is_over_exactly_the_bytes_between_the_bars():
    text = sealed()
    digest = hashlib.sha256(text.split("|")[1].encode()).digest()
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = serialization.load_der_public_key(bytes.fromhex(SPKI))
    der = bytes.fromhex(json.loads(text.split("|")[2])["SD"])
    key.verify(der, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
