"""The chain of a charger's records, key rotations included, over a folder and a database."""

import json

import pytest
from jwcrypto import jwk
from jwcrypto import jws as reference_jws

from evtill.core import jws, key_rotation, record_check
from evtill.core.errors import EvtillError, RecordError, SignatureError
from host_tests.fakes import records
from tillback.intake import Intake
from tillback.store import Store
from tillctl.__main__ import main
from tillctl.chain import follow
from tillctl.key_ring import KeyRing
from tillctl.verify import verify

A, B, C = (records.Signer(secret) for secret in (1, 2, 3))


def rotation(old, new, seq, prev, charger=records.CHARGER):
    return key_rotation.signed(charger, seq, prev, new.public.point, old.public.kid, old.sign)


def chain(*signers, pages=None):
    """Published records 1, 2, ... signed by these, and the rotations between them."""
    found, rotations, prev = [], [], records.ZEROS
    for seq, signer in enumerate(signers, 1):
        if seq > 1 and signer is not signers[seq - 2]:
            rotations.append(rotation(signers[seq - 2], signer, seq, prev))
        facts = records.facts(seq, prev)
        of = records.ocmf_facts(facts) | ({"pagination": pages[seq - 1]} if pages else {})
        ocmf = records.written_ocmf(of, signer.sign)
        body = records.record.build(facts | {"ocmf": ocmf}, records.bill())
        found.append(records.envelope(signer, body))
        prev = records.sha256(found[-1])
    return found, rotations


def checked(published, rotations, *roots):
    """(whether each record holds, {name: texts} of the chain's failures, of its notes)."""
    ring = KeyRing([(None, root.public) for root in roots or (A,)], rotations)
    done = [verify(one, ring) for one in published]
    found = {"FAIL": [], "note": [], "ok": []}
    for checks in follow(done, ring).values():
        for check in checks:
            found[check.result].append(f"{check.name}: {check.text}")
    return [one.holds(True) for one in done], found["FAIL"] + ring.faults, found["note"]


# --- rotations -----------------------------------------------------------------------------------


def test_a_rotation_is_a_jws_that_jwcrypto_verifies():
    made = rotation(A, B, 7, "ab" * 32)
    token = reference_jws.JWS()
    token.deserialize(made.decode())
    token.verify(jwk.JWK.from_pem(A.public.pem.encode()), alg="ES256")
    assert token.jose_header == {"alg": "ES256", "typ": key_rotation.ROTATION, "kid": A.public.kid}
    new = jwk.JWK.from_pem(B.public.pem.encode())
    assert json.loads(token.payload) == {
        "charger": records.CHARGER, "seq": 7, "prev": "ab" * 32, "kid": new.thumbprint(),
        "public_key": B.public.spki.hex(),
    }  # fmt: skip
    found = record_check.parse_rotation(token.payload)
    assert found["point"] == B.public.point


def test_a_chain_goes_on_under_the_keys_that_the_keys_before_named():
    published, rotations = chain(A, A, B, B, C)
    assert checked(published, rotations) == ([True] * 5, [], [])
    assert checked(published[::-1], rotations[::-1] + rotations) == ([True] * 5, [], [])
    ring = KeyRing([(None, A.public)], rotations)
    assert [(t.first, t.last) for t in ring.terms.values()] == [(1, 2), (3, 4), (5, None)]


def test_without_the_rotation_the_new_key_is_a_strangers():
    published, rotations = chain(A, A, B)
    holds, _, _ = checked(published, [])
    assert holds == [True, True, False]
    assert checked(published, rotations, B)[0] == [False, False, True]
    assert checked(published, rotations, A, B) == ([True] * 3, [], [])


def test_a_key_signs_only_while_it_is_in_force():
    published, rotations = chain(A, A, B)
    late = records.signed(A, 3, records.sha256(published[1]))
    early = records.signed(B, 2, records.sha256(published[0]))
    holds, fails, _ = checked([*published[:2], late], rotations)
    assert (holds, fails) == ([True, True, False], [])
    assert checked([published[0], early, published[2]], rotations)[0] == [True, False, True]
    ring = KeyRing([(None, A.public)], rotations)
    [check] = [check for check in verify(late, ring).checks if check.name == "key in force"]
    assert check.text == "the key signed up to seq 2, this is 3"


def test_a_rotation_is_a_link_of_the_chain():
    published, _ = chain(A, A, B)
    other = rotation(A, B, 3, "12" * 32)
    assert checked(published, [other])[1] == [
        f"rotation: to {B.public.kid} names another record before seq 3"
    ]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: rotation(B, C, 3, records.ZEROS), "unknown key"),
        (lambda: rotation(A, C, 3, records.ZEROS)[:-4] + b"AAAA", "does not verify"),
        (lambda: rotation(A, A, 3, records.ZEROS), "used before"),
        (lambda: jws.es256_sign(b"{}", key_rotation.ROTATION, A.public.kid, A.sign), "is missing"),
        (lambda: rotation(A, B, 0, records.ZEROS), "seq"),
        (lambda: rotation(A, B, 3, "x"), "prev"),
    ],
)
def test_a_rotation_that_is_none_is_a_fault(made, says):
    ring = KeyRing([(None, A.public)], [made()])
    assert says in ring.faults[0]
    assert [(term.key.kid, term.last) for term in ring.terms.values()] == [(A.public.kid, None)]


def test_a_key_names_one_other_key_and_never_one_of_before():
    one, two = rotation(A, B, 3, records.ZEROS), rotation(A, C, 4, records.ZEROS)
    assert "has named another key" in KeyRing([(None, A.public)], [one, two]).faults[0]
    back = rotation(B, A, 5, records.ZEROS)
    assert "used before" in KeyRing([(None, A.public)], [one, back]).faults[0]
    early = rotation(B, C, 2, records.ZEROS)
    assert "before the old key's first" in KeyRing([(None, A.public)], [one, early]).faults[0]


def test_a_rotation_of_another_charger_changes_nothing_here():
    ring = KeyRing([("X", A.public)], [rotation(A, B, 3, records.ZEROS)])
    assert f"of charger {records.CHARGER}" in ring.faults[0]
    done = verify(records.signed(A, 1), ring)
    assert not done.holds(True)
    assert "the key is X's" in str(done.checks[-1 - 6])


def test_every_flipped_bit_of_a_rotation_is_noticed():
    made = rotation(A, B, 3, records.ZEROS)
    for at in range(8 * len(made)):
        flipped = bytearray(made)
        flipped[at >> 3] ^= 1 << (at & 7)
        ring = KeyRing([(None, A.public)], [bytes(flipped)])
        assert ring.faults
        assert list(ring.terms) == [A.public.kid]


@pytest.mark.parametrize(
    "change",
    [{"seq": 1.5}, {"prev": "0"}, {"kid": "A" * 43}, {"public_key": "00" * 91}, {"charger": ""},
     {"more": 1}, {"public_key": B.public.spki.hex().upper()}],
)  # fmt: skip
def test_a_rotations_payload_is_checked(change):
    _, payload, _ = rotation(A, B, 3, records.ZEROS).split(b".")
    good = json.loads(jws.b64url_decode(payload))
    record_check.parse_rotation(json.dumps(good).encode())
    with pytest.raises((RecordError, SignatureError)):
        record_check.parse_rotation(json.dumps(good | change).encode())


# --- the chain -----------------------------------------------------------------------------------


def test_holes_breaks_doubles_and_copies():
    (one, two, three, four, five), _ = chain(*[A] * 5)
    other = records.signed(A, 2, records.sha256(one), stop_reason="Remote")
    assert checked([one, two, three], [])[1:] == ([], [])
    assert checked([one, two, two], [])[1:] == (
        [], ["chain: seq 2 is here 2 times, the same bytes"]
    )
    assert checked([one, three], [])[1] == ["chain: seq 2, between 1 and 3, is missing"]
    assert checked([one, two, five], [])[1] == ["chain: seq 3 to 4, between 2 and 5, are missing"]
    assert "chain: seq 2 stands twice, with other content" in checked([one, two, other], [])[1]
    assert "does not name" in checked([one, other, three], [])[1][0]
    assert checked([four, five], [])[2] == ["chain: begins at seq 4: what was before is not here"]


def test_a_skipped_pagination_is_a_note_and_a_repeated_one_is_not():
    published, _ = chain(A, A, A, A, pages=[1, 2, 4, 8])
    _, fails, notes = checked(published, [])
    assert fails == []
    assert [note.partition(",")[0] for note in notes] == [
        "pagination: T2 at seq 2", "pagination: T4 at seq 3"
    ]  # fmt: skip
    assert "a number was skipped" in notes[0]
    assert "3 numbers were skipped" in notes[1]
    for pages in ([1, 1], [2, 1]):
        published, _ = chain(A, A, pages=pages)
        [fail] = checked(published, [])[1]
        assert fail == f"pagination: T1 at seq 2 after T{pages[0]} at seq 1"


# --- on the command line -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    published, rotations = chain(A, A, B, B)
    (tmp_path / "r").mkdir()
    for number, one in enumerate(published):
        (tmp_path / "r" / f"{number}.jws").write_bytes(one)
    (tmp_path / "r" / "rotation.jws").write_bytes(rotations[0] + b"\n")
    (tmp_path / "r" / "other.txt").write_text("nothing of ours")
    (tmp_path / "key.pem").write_text(A.public.pem)
    return tmp_path


def tillctl(capsys, *args):
    code = main(["verify", *map(str, args), "--no-tariff"])
    return code, capsys.readouterr().out.splitlines()


def test_a_folder_is_one_command(folder, capsys):
    code, lines = tillctl(capsys, folder / "r", "--key", folder / "key.pem")
    assert code == 0
    assert [line.split()[:2] for line in lines[:4]] == [
        ["ok", f"{records.CHARGER}-{seq}"] for seq in range(1, 5)
    ]
    assert "12.345 kWh" in lines[0]
    assert "7.20 EUR" in lines[0]
    assert lines[4] == "ok   chain: seq 1 to 4 without a hole, each names the last"
    assert lines[5].startswith(f"ok   rotation: from seq 3 on key {B.public.kid}")
    assert lines[6] == "4 records, 0 of them not good; the chain is whole"


def test_bills_that_were_not_recomputed_are_told_and_are_not_good(folder, capsys):
    command = ["verify", str(folder / "r"), "--key", str(folder / "key.pem")]
    assert main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines[:4]] == ["skip"] * 4
    assert lines[-2] == "4 records, 0 of them not good; the chain is whole"
    assert lines[-1].startswith("the bills were not recomputed")
    assert main([*command, "--all", "--no-tariff"]) == 0
    assert "jws signature: ES256" in capsys.readouterr().out


def test_a_hole_in_a_folder_is_told_by_words_and_exit_code(folder, capsys):
    (folder / "r" / "1.jws").unlink()
    code, lines = tillctl(capsys, folder / "r", "--key", folder / "key.pem")
    assert code == 1
    assert "FAIL chain: seq 2, between 1 and 3, is missing" in lines
    assert lines[-1] == "3 records, 0 of them not good; the chain is BROKEN"


def test_a_changed_record_in_a_folder_is_explained_beside_its_copy(folder, capsys):
    good = (folder / "r" / "2.jws").read_bytes()
    header, payload, signature = good.split(b".")
    text = jws.b64url_decode(payload).replace(b'"EUR"', b'"USD"')
    (folder / "r" / "2a.jws").write_bytes(
        b".".join([header, jws.b64url_encode(text), signature])
    )
    code, lines = tillctl(capsys, folder / "r", "--key", folder / "key.pem")
    assert code == 1
    assert any("is 'USD', signed was 'EUR'" in line for line in lines)


def test_a_file_in_a_folder_that_is_no_record_hides_no_other(folder, capsys):
    (folder / "r" / "9.jws").write_bytes(b"junk")
    code, lines = tillctl(capsys, folder / "r", "--key", folder / "key.pem")
    assert code == 1
    assert "FAIL chain: 1 of 5 records cannot be read" in lines
    assert sum(line.startswith(f"ok   {records.CHARGER}-") for line in lines) == 4


def test_a_folder_needs_a_key_from_elsewhere(folder, capsys):
    (folder / "r" / "key.pub.pem").write_text(A.public.pem)
    assert main(["verify", str(folder / "r"), "--no-tariff"]) == 1
    assert "--key is needed" in capsys.readouterr().err


def test_an_empty_folder_and_no_database_get_one_line(tmp_path, capsys):
    for name in (str(tmp_path), f"sqlite:///{tmp_path}/x.sqlite"):
        assert main(["verify", name, "--no-tariff"]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.sqlite").exists()


def test_a_database_is_verified_with_the_keys_that_it_has_registered(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    store = Store(url)
    intake = Intake(store)
    for charger, signer in (("X", B), ("Y", C)):
        store.register(charger, signer.public.pem, bytes(32))
        prev = records.ZEROS
        for seq in (1, 2):
            one = records.signed(signer, seq, prev, charger=charger, id=f"{charger}-{seq}")
            assert not intake.take(f"evtill/v1/{charger}/usage", one).refused
            prev = records.sha256(one)
    store.close()
    code, lines = tillctl(capsys, url)
    assert (code, lines[-1]) == (0, "4 records, 0 of them not good; the chain is whole")
    assert "X  ok   chain: seq 1 to 2 without a hole, each names the last" in lines
    code, lines = tillctl(capsys, url, "--charger", "Y")
    assert (code, len(lines)) == (0, 4)


def test_a_record_by_another_chargers_key_does_not_hold():
    ring = KeyRing([("X", B.public), ("Y", C.public)])
    assert verify(records.signed(B, 1, charger="X", id="X-1"), ring).holds(True)
    assert not verify(records.signed(B, 1, charger="Y", id="Y-1"), ring).holds(True)
    with pytest.raises(EvtillError, match="the key is X's"):
        ring.check({"charger": "Y", "seq": 1}, B.public.kid)
