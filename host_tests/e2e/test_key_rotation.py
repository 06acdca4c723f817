"""A charger gets a new record key: made on the board, named by the old one, told to the backend."""

import pytest

from evtill.core import key_rotation
from host_tests.e2e.charger import CARD, HEAD, charger, session, step
from tillctl import provision
from tillctl.__main__ import main as tillctl
from tillctl.public_key import PublicKey
from tillctl.sources import claimed
from tillsim import play


def rotate(playing, folder, *words):
    """`tillctl rotate-key` at the board's port; the board is off afterwards."""
    board = playing.charger.board
    board.kill()
    board.power_on(mode="raw")
    command = ["rotate-key", board.console.path, "--out", str(folder), *words]
    try:
        return play.while_pumping(playing.charger.kernel, lambda: tillctl(command))
    finally:
        board.kill()


def another_session(playing):
    """A minute of charging on the board's next boot."""
    kernel, do = playing.charger.kernel, playing.charger.do
    playing.charger.board.power_on()
    begin = kernel.now_ms
    for at_s, name, args in ((20, "tap", {"uid": CARD}), (23, "plug", {"kw": 11}),
                             (80, "tap", {"uid": CARD}), (90, "unplug", {})):  # fmt: skip
        kernel.at(begin + at_s * 1000, lambda name=name, args=args: do(name, args))
    kernel.at(begin + 150_000, kernel.stop)
    kernel.run()


def published(playing):
    return [row.jws for row in playing.charger.store.records()]


@pytest.mark.parametrize("steps", ["at once", "one by one"])
def test_the_chain_goes_on_under_the_new_key(tmp_path, capsys, steps):
    keys = tmp_path / "keys"
    with charger(tmp_path, HEAD + session(5, 1) + step(120, "end")) as playing:
        provision.write(keys, playing.registration)
        playing.run()
        database = f"sqlite:///{playing.charger.board.image.parent}/tillback.sqlite"
        old = PublicKey(playing.registration["public_key"])
        if steps == "at once":
            assert rotate(playing, keys, "--database", database) == 0
        else:
            assert rotate(playing, keys) == 0
            assert rotate(playing, keys) == 0  # tried again: the same successor
            [file] = keys.glob("*.rotation-*.jws")
            from tillback.cli import main as tillback

            assert tillback(["rotate", str(file), "--database", database]) == 0
            assert rotate(playing, keys, "--adopt") == 0
        new = PublicKey.read(keys / "DE_EVT_E000123.json")
        assert new.kid != old.kid
        another_session(playing)
        records = published(playing)
        assert [claimed(one, "kid") for one in records] == [old.kid, new.kid]
        assert playing.charger.store.refusals() == []
        capsys.readouterr()
        assert tillctl(["verify", database, "--no-tariff"]) == 0
    said = capsys.readouterr().out
    assert "ok   chain: seq 1 to 2 without a hole, each names the last" in said
    assert f"ok   rotation: from seq 2 on key {new.kid}, signed by the key before it" in said
    # And without the ledger, from the first key alone.
    for number, one in enumerate(records):
        (keys / f"{number}.jws").write_bytes(one)
    [kept] = keys.glob("*.rotation-*.pub.pem")
    assert PublicKey.read(kept).kid == old.kid
    assert tillctl(["verify", str(keys), "--key", str(kept), "--no-tariff"]) == 0
    [file] = keys.glob("*.rotation-*.jws")
    assert claimed(file.read_bytes().strip(), "typ") == key_rotation.ROTATION


def test_a_successor_is_not_adopted_once_the_old_key_has_signed_another_record(tmp_path, capsys):
    keys = tmp_path / "keys"
    with charger(tmp_path, HEAD + session(5, 1) + step(120, "end")) as playing:
        provision.write(keys, playing.registration)
        assert rotate(playing, keys) == 0
        playing.run()
        assert rotate(playing, keys, "--adopt") == 1
        assert "records were made since" in capsys.readouterr().err
        another_session(playing)
        assert len({claimed(one, "kid") for one in published(playing)}) == 1
    assert PublicKey.read(keys / "DE_EVT_E000123.json").pem == playing.registration["public_key"]
