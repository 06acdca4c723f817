"""tillctl card with a simulated PN532 on a pty, and with a virtual charger's own reader."""

import json
import os
import threading
import tty

import pytest

from evtill.core import ev2
from evtill.core.errors import EvtillError
from host_tests.e2e.charger import CARD, HEAD, charger
from tillctl import card_keys
from tillctl.__main__ import main
from tillctl.card_aes import aes
from tillsim.card_sim import BLANK, AesCard, Phone
from tillsim.play import while_pumping
from tillsim.reader_wire import ReaderWire

UID = bytes.fromhex(CARD)


class Adapter:
    """A PN532 behind a USB serial adapter: `path` is what the technician names."""

    def __init__(self):
        self.wire = ReaderWire()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._end, self._tell = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        import select

        while True:
            ready, _, _ = select.select([self._master, self._end], [], [])
            if self._end in ready:
                return
            os.write(self._master, self.wire.feed(os.read(self._master, 4096)))

    def close(self):
        os.write(self._tell, b"x")
        self._thread.join(5)
        for fd in (self._master, self._slave, self._end, self._tell):
            os.close(fd)


@pytest.fixture
def adapter():
    made = Adapter()
    yield made
    made.close()


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "keys.json"


def test_read_a_plain_card(adapter, capsys):
    adapter.wire.present(bytes.fromhex("DEADBEEF"))
    assert main(["card", "read", adapter.path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "uid": "DEADBEEF", "sak": "08", "kind": "plain card",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "uid", "words"),
    [("F", b"12345678", "FeliCa card"), ("B", b"\xa1\xb2\xc3\xd4", "plain")],
)
def test_read_other_kinds(adapter, capsys, kind, uid, words):
    adapter.wire.present_other(kind, uid)
    assert main(["card", "read", adapter.path]) == 0
    said = capsys.readouterr().out
    assert uid.hex().upper() in said and words in said


def test_read_a_phone(adapter, capsys):
    adapter.wire.present_chip(Phone())
    assert main(["card", "read", adapter.path]) == 0
    assert "phone" in capsys.readouterr().out


def test_no_card_and_no_reader_are_one_line_each(adapter, capsys, tmp_path):
    assert main(["card", "read", adapter.path, "--wait", "0"]) == 1
    assert capsys.readouterr().err == "tillctl: no card within 0 s\n"
    adapter.wire.fault = "dead"
    assert main(["card", "read", adapter.path]) == 1
    assert capsys.readouterr().err == "tillctl: the reader does not acknowledge\n"
    assert main(["card", "read", str(tmp_path / "none")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
def test_personalise_a_blank_card(adapter, keys, capsys, kind):
    chip = AesCard(kind, UID)
    adapter.wire.present_chip(chip)
    command = ["card", "personalise", adapter.path, "--keys", str(keys)]

    assert main(command) == 0  # the dry run
    said = capsys.readouterr().out
    assert "would write" in said and kind in said
    assert keys.stat().st_mode & 0o777 == 0o600
    assert all(key == BLANK for app in chip.applications.values() for key in app.keys)
    if kind == "desfire":
        assert not chip.applications

    assert main([*command, "--write"]) == 0
    assert "proves itself" in capsys.readouterr().out
    own = card_keys.load(keys)
    expected = AesCard(kind, UID).issue(own.master, own.issuer, own.aid, own.system)
    assert [app.keys for app in chip.applications.values()] == [
        app.keys for app in expected.applications.values()
    ]

    assert main(["card", "read", adapter.path, "--keys", str(keys), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["proof"], found["true uid"]) == ("genuine", CARD)
    assert main([*command, "--write"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_an_ntag_that_hides_its_uid(adapter, keys, capsys):
    chip = AesCard("ntag424", UID)
    adapter.wire.present_chip(chip)
    assert main(["card", "personalise", adapter.path, "--keys", str(keys), "--hide-uid",
                 "--write"]) == 0  # fmt: skip
    adapter.wire.present_chip(chip)
    capsys.readouterr()
    assert main(["card", "read", adapter.path, "--keys", str(keys), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["uid"].startswith("08") and found["true uid"] == CARD


@pytest.mark.parametrize("write", [[], ["--write"]])
def test_what_a_desfire_cannot_do_is_said_by_the_dry_run_as_well(adapter, keys, capsys, write):
    chip = AesCard("desfire", UID)
    adapter.wire.present_chip(chip)
    command = ["card", "personalise", adapter.path, "--keys", str(keys), "--hide-uid", *write]
    assert main(command) == 1 and not chip.applications
    said = capsys.readouterr()
    assert "would write" not in said.out and "hides its UID by" in said.err


def test_a_card_of_another_operator_is_left_alone(adapter, keys, capsys, tmp_path):
    chip = AesCard("ntag424", UID).issue(b"another operator", b"their issuer key")
    before = [list(app.keys) for app in chip.applications.values()]
    adapter.wire.present_chip(chip)
    assert main(["card", "personalise", adapter.path, "--keys", str(keys), "--write"]) == 1
    assert [app.keys for app in chip.applications.values()] == before
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["card", "read", adapter.path, "--keys", str(keys)]) == 0
    assert "failed" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
def test_a_card_pulled_away_while_it_is_written_is_begun_again(kind):
    """At each byte between reader and card: afterwards the card is whole or can be made so."""
    own = card_keys.Keys(bytes(range(16)), bytes(range(16, 32)), b"\xf5\xe7\x1c", b"evtill")
    goal = AesCard(kind, UID).issue(own.master, own.issuer)

    def talk(chip, dialogue, budget=None):
        reply = None
        while True:
            try:
                command = dialogue.send(reply)
            except StopIteration as end:
                return end.value
            if budget is not None and (budget := budget - len(command)) < 0:
                raise EvtillError("gone")
            reply = chip.apdu(command)
            if budget is not None and (budget := budget - len(reply)) < 0:
                raise EvtillError("gone")

    cut = 0
    for budget in range(0, 2000, 3):
        chip = AesCard(kind, UID)
        try:
            talk(chip, card_keys.personalise(own, kind, False), budget)
        except EvtillError:
            cut += 1
            chip.field_off()
            if talk(chip, card_keys.state(own, UID)) != "ours":
                assert talk(chip, card_keys.personalise(own, kind, False)) == UID
        assert [app.keys[:3] for app in chip.applications.values()] == [
            app.keys[:3] for app in goal.applications.values()
        ]
        assert talk(chip, ev2.prove(aes, own.master, own.aid, own.system, UID, os.urandom)) == UID
    assert cut > 100


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"card_key": 5}', '{"card_key":"00","issuer_key":"00","card_aid":"00"}',
        json.dumps({"card_key": "00" * 15, "issuer_key": "00" * 16, "card_aid": "000000",
                    "card_system": "evtill"}),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_keys_is_named(keys, text):
    keys.write_text(text)
    with pytest.raises(EvtillError, match=r"keys\.json"):
        card_keys.load(keys)


def test_read_with_a_chargers_own_reader(tmp_path, capsys):
    with charger(tmp_path, HEAD) as playing:
        virtual = playing.charger
        virtual.board.power_on(mode="raw")
        virtual.reader.present(UID)
        path = virtual.board.console.path
        assert while_pumping(virtual.kernel, lambda: main(["card", "read", path, "--board"])) == 0
        virtual.reader.remove()
        said = capsys.readouterr().out
        command = ["card", "read", path, "--board", "--wait", "1"]
        assert while_pumping(virtual.kernel, lambda: main(command)) == 1
    assert CARD in said
