"""A token list on its way into flash: swapped in whole, or the old one stays, whatever is wrong."""

import asyncio
import hashlib
import os
import random
from pathlib import Path

import pytest

from evtill.app.token_intake import Intake, opener
from evtill.app.token_store import TokenStore
from evtill.core.errors import ArtefactError, EvtillError, SignatureError
from evtill.core.tokens import TokenListError, stamp, token_of
from host_tests import micropython
from tillctl import artefacts
from tillctl.token_list import Token, build, diff

KEY = bytes(range(32))
SOAK = bool(os.environ.get("EVTILL_SOAK"))
NOW = 1800000000
SCRIPTS = Path(micropython.__file__).parent / "on_micropython"


def cards(n, seed):
    chance = random.Random(seed)
    return {chance.randbytes(7): Token(chance.choice(("", "a", "b"))) for _ in range(n)}


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    return artefacts.OperatorKey(tmp_path_factory.mktemp("key") / "operator.pem", make=True)


def sealed(content, operator, version, typ="tokens", audience="charger:E1"):
    return artefacts.seal(content, typ, audience, version, NOW - 9, NOW + 9, operator)


class App:
    """What opener() and an Intake take of compose.App."""

    def __init__(self, folder, operator):
        self.hw = self.clock = self
        self.DATA = str(folder)
        self.config = {"charger_id": "E1", "charger_group": "G"}
        self.given = cards(120, 1)
        self.list = build(self.given, KEY)
        old = self.list.encode()
        (folder / "tokens.bin").write_bytes(old + stamp(5, hashlib.sha256(old).digest()))
        point = b"".join(n.to_bytes(32, "big") for n in operator.public.point)
        (folder / "operator.key").write_bytes(point)
        self.tokens = TokenStore(str(folder), KEY)
        self.is_set = True

    def trust(self):
        return "S" if self.is_set else "U"

    def unix_ms(self):
        return NOW * 1000

    def take(self, signed, piece=777, spare_bytes=0):
        intake = Intake(self.tokens, spare_bytes)
        try:
            for at in range(0, len(signed), piece):
                intake.write(signed[at : at + piece])
            intake.check(opener(self))
            return asyncio.run(intake.finish())
        except EvtillError:
            intake.abort()
            raise


@pytest.fixture
def app(tmp_path, operator):
    return App(tmp_path, operator)


def left(app):
    return sorted(path.name for path in Path(app.DATA).iterdir())


@pytest.mark.parametrize("piece", [1, 100, 4096])
def test_a_list_and_a_delta_are_swapped_in(app, operator, piece):
    full = build(cards(130, 2), KEY)
    data = full.encode()
    assert app.take(sealed(data, operator, 6, audience="group:G"), piece) == 6
    assert app.tokens.installed() == (6, hashlib.sha256(data).digest())
    new_cards = {**cards(130, 2), **cards(9, 3)}
    new = build(new_cards, KEY, full).encode()
    assert app.take(sealed(diff(data, new), operator, 7, "tokens-delta"), piece) == 7
    assert app.tokens.installed() == (7, hashlib.sha256(new).digest())
    for uid, token in new_cards.items():
        assert app.tokens.find(token_of(KEY, uid)) == (token.group or None, 0, None, None)
    app.tokens.close()
    again = TokenStore(app.DATA, KEY)
    assert (again.version, again.sha256) == (7, hashlib.sha256(new).hexdigest())
    assert left(app) == ["operator.key", "tokens.bin"]


def test_the_same_again_is_no_error(app, operator):
    signed = sealed(build(cards(9, 2), KEY).encode(), operator, 6)
    assert app.take(signed) == app.take(signed) == 6


def test_flash_that_fails_right_after_the_swap_shows_nobody_the_old_lists_groups(app, operator):
    new_cards = cards(130, 2)
    read_at, broken = app.tokens.read_at, []

    def failing(offset, n):
        if broken:
            raise OSError(5)
        return read_at(offset, n)

    swap = app.tokens.swap

    def swapped(path):
        broken.append(True)
        swap(path)

    app.tokens.read_at, app.tokens.swap = failing, swapped
    with pytest.raises(OSError):
        app.take(sealed(build(new_cards, KEY).encode(), operator, 6))
    with pytest.raises(OSError):
        app.tokens.find(token_of(KEY, next(iter(new_cards))))
    broken.clear()
    for uid, token in new_cards.items():
        assert app.tokens.find(token_of(KEY, uid)) == (token.group or None, 0, None, None)
    assert app.tokens.version == 6


def test_whatever_is_wrong_the_old_list_stays(app, operator, tmp_path_factory):
    stranger = artefacts.OperatorKey(tmp_path_factory.mktemp("key") / "operator.pem", make=True)
    listed = build(cards(90, 2), KEY)
    data = listed.encode()
    words = list(listed.words())
    words[3], words[4] = words[4], words[3]
    listed.words = lambda: iter(words)
    unordered = listed.encode()
    good = sealed(data, operator, 6)
    foreign = build(cards(9, 2), KEY)
    delta = diff(foreign.encode(), data)
    before = (Path(app.DATA) / "tokens.bin").read_bytes()
    for signed, error, why in (
        (sealed(data, stranger, 6), SignatureError, "does not verify"),
        (sealed(data, operator, 4), ArtefactError, "lower than 5"),
        (sealed(data, operator, 5), ArtefactError, "other content"),
        (sealed(data, operator, 6, "tariff"), ArtefactError, "it is tariff"),
        (sealed(data, operator, 6, audience="charger:E2"), ArtefactError, "for charger:E2"),
        (good[:-1], ArtefactError, "not what was signed"),
        (good + b"x", ArtefactError, "not what was signed"),
        (data, EvtillError, "envelope"),
        (b"", ArtefactError, "no envelope"),
        (good[:100], ArtefactError, "no envelope"),
        (sealed(unordered, operator, 6), TokenListError, "order"),
        (sealed(data[:-12], operator, 6), TokenListError, "bytes, not"),
        (sealed(data + bytes(12), operator, 6), TokenListError, "bytes, not"),
        (sealed(data[:4] + b"\x03" + data[5:], operator, 6), TokenListError, "another version"),
        (sealed(build({}, bytes(32)).encode(), operator, 6), TokenListError, "another key"),
        (sealed(b"", operator, 6), TokenListError, "not a token list"),
        (sealed(delta, operator, 6), TokenListError, "not a token list"),
        (sealed(data, operator, 6, "tokens-delta"), TokenListError, "not a delta"),
        (sealed(delta, operator, 6, "tokens-delta"), ArtefactError, "of another list"),
        (sealed(delta[:-1], operator, 6, "tokens-delta"), TokenListError, "delta cut short"),
    ):
        with pytest.raises(error, match=why):
            app.take(signed)
        assert app.tokens.version == 5
        assert (Path(app.DATA) / "tokens.bin").read_bytes() == before
        assert left(app) == ["operator.key", "tokens.bin"]
    app.is_set = False
    with pytest.raises(ArtefactError, match="clock is not set"):
        app.take(good)
    app.is_set = True
    with pytest.raises(ArtefactError, match="no room"):
        app.take(good, spare_bytes=1 << 60)
    os.remove(app.DATA + "/operator.key")
    with pytest.raises(ArtefactError, match="no operator key"):
        app.take(good)
    for uid in app.given:
        assert app.tokens.find(token_of(KEY, uid))


def test_random_bytes_are_never_a_list(app, operator):
    chance = random.Random(9)
    good = sealed(build(cards(40, 2), KEY).encode(), operator, 6)
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        if bytes(bad) == good:
            continue
        with pytest.raises(EvtillError):
            app.take(bytes(bad[: chance.choice((len(bad), chance.randrange(len(bad))))]))
        assert app.tokens.version == 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory, operator):
    """Lists and updates for the scripts on MicroPython."""
    made = tmp_path_factory.mktemp("lists")
    old, full = build(cards(150, 1), KEY), build({**cards(150, 1), **cards(60, 2)}, KEY)
    new = build({**dict(list(cards(150, 1).items())[20:]), **cards(70, 2)}, KEY, full)
    for name, listed in (("old", old), ("full", full), ("new", new)):
        (made / f"{name}.bin").write_bytes(listed.encode())
    (made / "full.signed").write_bytes(sealed(full.encode(), operator, 1))
    delta = diff(full.encode(), new.encode())
    (made / "delta.signed").write_bytes(sealed(delta, operator, 2, "tokens-delta"))
    (made / "operator.key").write_bytes(
        b"".join(n.to_bytes(32, "big") for n in operator.public.point)
    )
    return made


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=[
    pytest.mark.soak, pytest.mark.skipif(not SOAK, reason="long: EVTILL_SOAK=1")])])  # fmt: skip
def test_a_power_cut_at_any_write_leaves_a_whole_list(folder, stride):
    code = (SCRIPTS / "powercut_tokens.py").read_text()
    said = micropython.run(code, str(folder), str(stride), bits=64, heap="4M", timeout_s=280)
    cases, writes = map(int, said.split())
    print(said)
    assert cases >= 3 * (writes // stride) and writes > 50


_TAKE = """
import asyncio, gc, os, sys
gc.threshold(4096)  # as the app does
import ramflash
from evtill.app.token_store import TokenStore
from evtill.core.tokens import stamp
folder = sys.argv[1]
def copy(name, to, end=b""):
    with open(folder + "/" + name, "rb") as source, open("/f/" + to, "wb") as file:
        file.write(source.read())
        file.write(end)
flash = ramflash.Flash(22)
ramflash.mount(flash, make=True)
copy("old.bin", "tokens.bin", stamp(0, bytes(32)))
copy("operator.key", "operator.key")
class App:
    DATA = "/f"
    config = {"charger_id": "E1", "charger_group": ""}
    def trust(self):
        return "I"
    def unix_ms(self):
        return 1800000000000
app = App()
app.hw = app.clock = app
app.tokens = TokenStore("/f", bytes(range(32)))
for name in ("full", "delta"):
    from evtill.app.token_intake import Intake, opener
    intake = Intake(app.tokens, 0)
    with open(folder + "/" + name + ".signed", "rb") as file:
        while True:
            piece = file.read(512)
            if not piece:
                break
            intake.write(piece)
    intake.check(opener(app))
    print(asyncio.run(intake.finish()), app.tokens.sha256)
"""


def test_signed_updates_on_the_boards_interpreter_and_heap(folder):
    """With 88 kB of flash in the same heap, and the signatures checked by core's own P-256."""
    said = micropython.run(_TAKE, str(folder), bits=32, heap="200k")
    assert said.split() == [
        word for n, name in ((1, "full"), (2, "new"))
        for word in (str(n), hashlib.sha256((folder / f"{name}.bin").read_bytes()).hexdigest())
    ]  # fmt: skip
