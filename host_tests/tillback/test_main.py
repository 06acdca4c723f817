"""`tillback` as a program: commands and one-line errors."""

import json

import pytest

from evtill.core import key_rotation
from host_tests.fakes import records
from tillback.cli import main
from tillback.intake import Intake
from tillback.store import Store
from tillctl.__main__ import main as tillctl

ACK_KEY = bytes(range(32))
SIGNER = records.Signer()
PREFIX = f"evtill/v1/{records.CHARGER}"


@pytest.fixture
def database(tmp_path):
    (tmp_path / "key.pem").write_text(SIGNER.public.pem)
    (tmp_path / "ack.key").write_text(ACK_KEY.hex() + "\n")
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    assert register(url, tmp_path) == 0
    return url


def register(url, folder, charger=records.CHARGER):
    return main(["register", charger, "--database", url, "--key", str(folder / "key.pem"),
                 "--ack-key", str(folder / "ack.key")])  # fmt: skip


def stored(url, *published):
    store = Store(url)
    intake = Intake(store)
    for one in published:
        assert not intake.take(f"{PREFIX}/usage", one).refused
    store.close()


def test_records_are_listed_as_json_lines(database, capsys):
    one = records.signed(SIGNER, 1)
    two = records.signed(SIGNER, 2, records.sha256(one))
    stored(database, one, two)
    capsys.readouterr()
    assert main(["records", "--database", database, "--jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["jws"].encode() for line in lines] == [one, two]
    assert [line["payload"]["seq"] for line in lines] == [1, 2]
    assert all(line["ocmf"] == line["payload"]["ocmf"] for line in lines)
    assert main(["records", "--database", database]) == 0
    assert "12345 Wh" in capsys.readouterr().out


def test_a_receipt_is_checked_against_the_registered_key(database, capsys):
    stored(database, records.signed(SIGNER, 1))
    capsys.readouterr()
    assert main(["receipt", f"{records.CHARGER}-1", "--database", database]) == 0
    assert "Checked    jws signature" in capsys.readouterr().out
    assert main(["receipt", f"{records.CHARGER}-1", "--database", database, "--html"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["receipt", "nobody-1"], "no record nobody-1"),
        (["serve", "--broker", "http://x"], "mqtt://"),
        (["serve", "--broker", "mqtt://x:99999"], "broker"),
        (["serve", "--broker", "@/no/such/file"], "cannot be read"),
        (["register", "a/b", "--key", "{}/key.pem", "--ack-key", "{}/ack.key"], "charger"),
        (["register", "a", "--key", "{}/ack.key", "--ack-key", "{}/ack.key"], "not a public key"),
        (["register", "a", "--key", "{}/key.pem", "--ack-key", "{}/key.pem"], "32 bytes in hex"),
        (["register", "a", "--key", "{}/none", "--ack-key", "{}/ack.key"], "No such file"),
    ],
)
def test_a_wrong_argument_gets_one_line(database, tmp_path, capsys, argv, says):
    capsys.readouterr()
    filled = [one.format(tmp_path) for one in argv]
    assert main([*filled, "--database", database]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_charger_keeps_its_keys(database, tmp_path, capsys):
    assert register(database, tmp_path) == 0
    (tmp_path / "ack.key").write_text("00" * 32)
    assert register(database, tmp_path) == 1
    assert "registered already" in capsys.readouterr().err


def test_a_rotated_key_goes_on_where_the_old_one_ended(database, tmp_path, capsys):
    new = records.Signer(2)
    store = Store(database)
    intake = Intake(store)
    topic = f"{PREFIX}/usage"
    one = records.signed(SIGNER, 1)
    two = records.signed(new, 2, records.sha256(one))
    assert not intake.take(topic, one).refused
    assert intake.take(topic, two).refused
    rotation = key_rotation.signed(
        records.CHARGER, 2, records.sha256(one), new.public.point, SIGNER.public.kid, SIGNER.sign
    )
    (tmp_path / "r.jws").write_bytes(rotation)
    for _ in range(2):  # a second time changes nothing
        assert main(["rotate", str(tmp_path / "r.jws"), "--database", database]) == 0
    assert new.public.kid in capsys.readouterr().out
    assert not intake.take(topic, two).refused  # without a restart
    late = records.signed(SIGNER, 3, records.sha256(two))
    assert intake.take(topic, late).refused
    store.close()
    assert main(["receipt", f"{records.CHARGER}-2", "--database", database]) == 0
    assert "Checked    jws signature" in capsys.readouterr().out
    assert tillctl(["verify", database, "--no-tariff"]) == 0
    said = capsys.readouterr().out
    assert f"ok   rotation: from seq 2 on key {new.public.kid}" in said


@pytest.mark.parametrize("content", [b"", b"x", b"a.b.c", b"e30.e30.e30"])
def test_what_is_no_rotation_is_refused(database, tmp_path, capsys, content):
    (tmp_path / "r.jws").write_bytes(content)
    assert main(["rotate", str(tmp_path / "r.jws"), "--database", database]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_strangers_rotation_is_refused(database, tmp_path, capsys):
    other = records.Signer(9)
    rotation = key_rotation.signed(
        records.CHARGER, 2, records.ZEROS, other.public.point, other.public.kid, other.sign
    )
    (tmp_path / "r.jws").write_bytes(rotation)
    assert main(["rotate", str(tmp_path / "r.jws"), "--database", database]) == 1
    assert "an unknown key" in capsys.readouterr().err
