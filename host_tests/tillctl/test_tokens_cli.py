"""`tillctl tokens`: what goes in comes out, on CPython and on the board's interpreter; what is
wrong is said in one line that names the place."""

import hashlib
import hmac
import json
import random
from datetime import UTC, datetime

import pytest
from jwcrypto import jwk, jws

from evtill.core import tokens
from tillctl import provision, token_list
from tillctl.__main__ import main

CSV = """uid,group,expires,flags,ceiling_minor
04A2243B6C5E80,fleet,2027-12-31,,5000
04:b2:24:3b,fleet,2027-12-31T18:00:00+01:00,blocked|free,
a2-24-3b-6c-5e-80-11-22-33-44,17,,prepaid ask,0
0123456789abcdef,,,,
"""
UNIX = datetime(2028, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cards.csv").write_text(CSV)
    return tmp_path


def tillctl(*words):
    return main(["tokens", *words])


def build(csv="cards.csv", out="tokens.bin", *more):
    return tillctl("build", csv, "-o", out, "--key", "tokens.key", *more)


def lookup(capsys, uid, file="tokens.bin", on="cpython"):
    capsys.readouterr()
    assert tillctl("lookup", file, uid, "--key", "tokens.key", "--on", on, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"found", "group", "flags", "ceiling", "flash_reads", "heap_bytes"}
    assert said.pop("flash_reads") <= 17 and 0 < said.pop("heap_bytes") <= 2048
    return said


@pytest.mark.parametrize("on", ["cpython", "micropython32"])
def test_what_was_built_is_found(files, capsys, on):
    assert build() == 0
    assert (files / "tokens.key").stat().st_mode & 0o777 == 0o600
    known = {"04A2243B6C5E80": ("fleet", [], 5000),
             "04B2243B": ("fleet", ["blocked", "free"], None),
             "A2243B6C5E8011223344": (17, ["prepaid", "ask"], 0),
             "0123456789ABCDEF": (None, [], None)}  # fmt: skip
    for uid, (group, flags, ceiling) in known.items():
        assert lookup(capsys, uid, on=on) == {
            "found": True, "group": group, "flags": flags, "ceiling": ceiling
        }  # fmt: skip
    assert lookup(capsys, "04A2243B6C5E81", on=on) == {
        "found": False, "group": None, "flags": [], "ceiling": None
    }  # fmt: skip


def test_the_file_is_what_its_description_says(files):
    """The offsets of core.tokens' table, read by hand; hashes by hashlib's own hmac."""
    build()
    data = (files / "tokens.bin").read_bytes()
    key = bytes.fromhex((files / "tokens.key").read_text())
    assert data[:5] == b"EVTK\x02" and data[8:12] == b"\4\0\0\0"
    assert data[20:28] == hmac.digest(key, b"evtill tokens", "sha256")[:8]
    hashes = [data[at : at + 8] for at in range(len(data) - 48, len(data), 12)]
    uids = [bytes.fromhex(uid) for uid in ("04A2243B6C5E80", "04B2243B", "A2243B6C5E8011223344",
                                           "0123456789ABCDEF")]  # fmt: skip
    assert hashes == sorted(hmac.digest(key, uid, "sha256")[:8] for uid in uids)
    listed = token_list.Listed.decode(data)
    assert listed.entries[tokens.token_of(key, uids[0])].expires == UNIX  # all of its last day
    assert listed.entries[tokens.token_of(key, uids[1])].expires == UNIX - 7 * 3600


@pytest.mark.parametrize(
    "csv, said",
    [
        ("uid,group\n04A2243B,x,y\n", "row 2: more cells than columns"),
        ("group\nx\n", "row 1: no column uid"),
        ("uid,colour\n04A2243B,red\n", "row 1: unknown column 'colour'"),
        ("uid\n04A2243B\n04A2\n", "row 3, uid: '04A2' is not a card UID"),
        ("uid,group\n04A2243B,\n,x\n", "row 3, uid: '' is not a card UID"),
        ("uid,group\n04A2243B," + "x" * 37, "row 2, group: "),
        ("uid,expires\n04A2243B,31.12.2027", "row 2, expires: '31.12.2027' is neither"),
        ("uid,expires\n04A2243B,2027-12-31T10:00:00", "row 2, expires: "),
        ("uid,expires\n04A2243B,2107-01-01", "row 2, expires: '2107-01-01' is out of range"),
        ("uid,flags\n04A2243B,vip", "row 2, flags: 'vip' is none of blocked, prepaid, free, ask"),
        ("uid,ceiling_minor\n04A2243B,5.00", "row 2, ceiling_minor: '5.00' is not a whole number"),
        ("uid,ceiling_minor\n04A2243B,-5", "row 2, ceiling_minor: "),
        ("uid,group\n04A2243B,a\n04a2243b,b\n", "row 3, uid: 04a2243b stands in row 2 with other"),
        ("{}", "token 1, uid: missing"),
        ("[1]", "token 1: not an object"),
        ("[", "not JSON"),
        ('{"data": 5}', "not a list of OCPI tokens"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(files, capsys, csv, said):
    (files / "bad.csv").write_text(csv)
    assert build("bad.csv") == 1
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"tillctl: bad.csv: {said}") and error.count("\n") == 1
    assert not (files / "tokens.bin").exists()


def test_what_does_not_fit_is_refused_with_the_reason(files, capsys):
    rows = [f"{n:08x},{n},{1000 + n}" for n in range(20000)]
    (files / "many.csv").write_text("\n".join(["uid,group,ceiling_minor", *rows]))
    assert build("many.csv") == 1
    said = "19999 groups (15 bits), 0 expiries (0 bits), 20000 ceilings (15 bits) do not fit"
    assert said in capsys.readouterr().err
    rows = [f"{n:08x},{n},{1000 + n % 8000}" for n in range(20000)]  # 15 and 13 bits
    (files / "many.csv").write_text("\n".join(["uid,group,ceiling_minor", *rows]))
    assert build("many.csv") == 0
    assert lookup(capsys, "00004e1f") == {
        "found": True, "group": 19999, "flags": [], "ceiling": 1000 + 19999 % 8000
    }  # fmt: skip


def test_ocpi_tokens(files, capsys):
    """Field names and values of OCPI 2.2.1's Token object, 12.3.2, and WhitelistType, 12.4.6."""

    def token(uid, **fields):
        return {"country_code": "DE", "party_id": "TNM", "uid": uid, "type": "RFID",
                "contract_id": "DE8ACC12E46L89", "issuer": "TheNewMotion", "valid": True,
                "whitelist": "ALWAYS", "last_updated": "2026-06-29T22:39:09Z"} | fields  # fmt: skip

    found = [token("01020304050607", group_id="DF000-2001-8999"), token("AA020304", valid=False),
             token("AB020304", whitelist="ALLOWED_OFFLINE"), token("AC020304", whitelist="NEVER"),
             token("AD020304", whitelist="NEVER", valid=False), token("x", type="APP_USER"),
             token("08010203")]  # fmt: skip
    (files / "ocpi.json").write_text(json.dumps({"status_code": 1000, "data": found}))
    assert build("ocpi.json") == 0
    said = capsys.readouterr().out
    assert "1 tokens are no cards" in said and "1 valid cards with whitelist NEVER" in said
    assert "1 UIDs of 4 bytes begin with 08" in said
    for uid, group, flags in (
        ("01020304050607", "DF000-2001-8999", []), ("AA020304", None, ["blocked"]),
        ("AB020304", None, ["ask"]), ("AD020304", None, ["blocked"]),
    ):  # fmt: skip
        assert lookup(capsys, uid) == {
            "found": True, "group": group, "flags": flags, "ceiling": None
        }  # fmt: skip
    assert not lookup(capsys, "AC020304")["found"]


def test_a_block_list_wins(files, capsys):
    (files / "block.csv").write_text("uid\n04A2243B6C5E80\nFFFFFFFF\n")
    assert build("cards.csv", "tokens.bin", "--block", "block.csv") == 0
    assert lookup(capsys, "04A2243B6C5E80") == {
        "found": True, "group": "fleet", "flags": ["blocked"], "ceiling": 5000
    }  # fmt: skip
    assert lookup(capsys, "FFFFFFFF")["flags"] == ["blocked"]


def test_another_key_is_noticed(files, capsys):
    build()
    (files / "tokens.key").write_text("00" * 32)
    assert tillctl("lookup", "tokens.bin", "04A2243B6C5E80", "--key", "tokens.key") == 1
    assert "made under another key" in capsys.readouterr().err
    (files / "tokens.key").write_text("00" * 31)
    assert build() == 1
    assert "tokens.key: not a token key" in capsys.readouterr().err


def test_sign_and_show(files, capsys):
    build()
    words = ("--audience", "charger:DE*EVT*E1", "--version", "7", "--expires", "2099-01-01")
    assert tillctl("sign", "tokens.bin", "--key", "op.pem", "--make-key", *words) == 0
    envelope, content = (files / "tokens.bin.signed").read_bytes().split(b"\n", 1)
    assert content == (files / "tokens.bin").read_bytes()
    token = jws.JWS()
    token.deserialize(envelope.decode(), jwk.JWK.from_pem((files / "op.pem.pub").read_bytes()))
    said = json.loads(token.payload)
    assert (said["typ"], said["version"], said["expires"]) == ("tokens", 7, 4070908800)
    assert said["sha256"] == hashlib.sha256(content).hexdigest()
    capsys.readouterr()
    assert tillctl("show", "tokens.bin.signed", "--operator-key", "op.pem.pub", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["audience"] == "charger:DE*EVT*E1" and shown["tokens"] == 4
    assert shown["groups"] == {"17": 1, "fleet": 2} and shown["signed by"]
    assert lookup(capsys, "04A2243B6C5E80", "tokens.bin.signed")["found"]
    assert lookup(capsys, "04A2243B6C5E80", "tokens.bin.signed", "micropython32")["found"]
    (files / "bad").write_bytes(envelope + b"\n" + content[:-1] + b"x")
    assert tillctl("show", "bad") == 1
    assert "not what was signed" in capsys.readouterr().err
    assert tillctl("show", "tokens.bin", "--operator-key", "op.pem.pub") == 1
    assert "not signed" in capsys.readouterr().err
    for name, audience in (("cards.csv", "all"), ("tokens.bin", "E1")):
        words = ("--key", "op.pem", "--audience", audience, "--version", "1")
        assert tillctl("sign", name, *words) == 1
    assert "audience must be all, charger:ID or group:NAME" in capsys.readouterr().err


def test_diff(files, capsys):
    build("cards.csv", "old.bin")
    (files / "cards.csv").write_text(CSV.replace("0123456789abcdef", "aabbccdd"))
    build("cards.csv", "new.bin", "--after", "old.bin")
    assert tillctl("diff", "old.bin", "new.bin", "-o", "delta") == 0
    capsys.readouterr()
    assert tillctl("show", "delta", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["removed"], shown["added or changed"]) == (1, 1)
    assert shown["changes"] == hashlib.sha256((files / "old.bin").read_bytes()).hexdigest()
    assert shown["makes"] == hashlib.sha256((files / "new.bin").read_bytes()).hexdigest()


def test_damaged_and_random_files_are_refused_in_one_line(files, capsys):
    build()
    good = (files / "tokens.bin").read_bytes()
    chance = random.Random(1)
    for _ in range(300):
        bad = bytearray(good[: chance.choice((len(good), chance.randrange(len(good))))])
        if bad:
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        (files / "bad").write_bytes(chance.choice((bytes(bad), chance.randbytes(99))))
        for words in (
            ("show", "bad"), ("diff", "bad", "tokens.bin", "-o", "delta"),
            ("sign", "bad", "--key", "k", "--audience", "all", "--version", "1"),
        ):  # fmt: skip
            assert tillctl(*words) == 1
            assert capsys.readouterr().err.count("\n") == 1


def test_what_provisioning_puts_into_flash(files):
    build()
    key = bytes.fromhex((files / "tokens.key").read_text())
    data = (files / "tokens.bin").read_bytes()
    stamped = provision.token_file(key, data)
    assert stamped[: len(data)] == data
    assert tokens.unstamp(stamped[len(data) :]) == (0, hashlib.sha256(data).digest())
    tillctl("sign", "tokens.bin", "--key", "op.pem", "--make-key", "--audience", "all",
            "--version", "9")  # fmt: skip
    signed = (files / "tokens.bin.signed").read_bytes()
    assert tokens.unstamp(provision.token_file(key, signed)[len(data) :])[0] == 9
    with pytest.raises(provision.ConfigError, match="another key"):
        provision.token_file(bytes(32), data)
    listed = provision.token_file(key, token_list.read_source(files / "cards.csv").cards)
    assert listed == stamped
    (files / "plain").write_text("04A2243B6C5E80\n0123456789abcdef\n")
    assert len(token_list.read_source(files / "plain").cards) == 2
