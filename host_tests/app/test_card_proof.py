"""Which cards prove themselves, which are refused, and which are locked out."""

import random

import pytest

from evtill.app.card_proof import CardProof
from evtill.core.errors import ReaderError
from evtill.core.tokens import token_of
from evtill.drivers.pn532 import PN532
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillctl.card_aes import aes
from tillsim.card_sim import AID, SYSTEM, AesCard, Phone
from tillsim.reader_wire import ReaderWire

MASTER = bytes(range(16))
UID = bytes.fromhex("04A2243B6C5E80")
CONFIG = {"card_key": MASTER.hex(), "card_aid": AID.hex(), "card_system": SYSTEM.decode(),
          "least_assurance": "uid", "aes_groups": "", "token_key": "00" * 32}  # fmt: skip
PROVED = (UID, "aes", None)
MINUTE_MS = 60_000


class Reader:
    """A reader with a card on it; `look` is one tap at a time of ours."""

    def __init__(self, config=CONFIG, tokens=None):
        self.wire = ReaderWire()
        self.pn532 = PN532(Uart(self.wire.feed))
        self.proof = CardProof(config, tokens, aes)

    async def tap(self, chip, now_ms=0, uid=None):
        if chip is None:
            self.wire.present(uid)
        else:
            self.wire.present_chip(chip)
        shown = await self.pn532.read_uid(500)
        found = await self.proof.look(self.pn532, shown, now_ms)
        self.wire.remove()
        return found


def taps(*what):
    """What came of (chip, now_ms), one after another."""

    async def go():
        reader = Reader()
        await reader.pn532.begin()
        return [await reader.tap(chip, now_ms) for chip, now_ms in what]

    return run(go())[0]


def names(found):
    return [why and why[0] for _, _, why in found]


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
@pytest.mark.parametrize("random_id", [False, True])
def test_a_card_with_the_right_key(kind, random_id):
    card = AesCard(kind, UID).issue(MASTER)
    card.random_id = random_id
    assert taps((card, 0), (card, 5000)) == [PROVED, PROVED]


def test_a_clone_with_the_right_uid_and_no_key_proves_nothing():
    """A copy of the UID alone; a copy with the application but other keys; one that mimics both
    selections; a recording of a genuine card's answers."""
    genuine = AesCard("ntag424", UID).issue(MASTER)
    assert taps((genuine, 0)) == [PROVED]

    class Recording(AesCard):
        def apdu(self, command):
            return genuine.log[len(self.log)][1] if not self.log.append((command, b"")) else b""

    class Mimic(AesCard):
        def apdu(self, command):
            return b"\x91\x00" if command[1] != 0x71 else bytes(16) + b"\x91\xaf"

    bare = AesCard("ntag424", UID)
    bare.applications.clear()
    clones = [bare, AesCard("ntag424", UID).issue(bytes(16)), Recording("ntag424", UID),
              Mimic("desfire", UID)]  # fmt: skip
    for clone in clones:
        uid, assurance, _ = taps((clone, 0))[0]
        assert (uid, assurance) == (UID, "uid")

    async def plain():
        reader = Reader()
        await reader.pn532.begin()
        return await reader.tap(None, uid=UID)

    assert run(plain())[0] == (UID, "uid", None)


def test_three_failures_lock_a_card_out_for_a_while():
    bad, good = AesCard("desfire", UID).issue(bytes(16)), AesCard("desfire", UID).issue(MASTER)
    found = taps((bad, 0), (bad, 1000), (bad, 2000), (bad, 3000), (good, 4000),
                 (good, 5 * MINUTE_MS), (good, 5 * MINUTE_MS + 2001),
                 (bad, 6 * MINUTE_MS))  # fmt: skip
    assert names(found) == ["card_refused", "card_refused", "card_locked", "card_locked",
                            "card_locked", "card_locked", None, "card_refused"]  # fmt: skip
    assert [assurance for _, assurance, _ in found].count("aes") == 1
    asked = [command for command, _ in bad.log if command[1] == 0x71]
    assert len(asked) == 4  # never while it is locked


def test_a_success_makes_up_for_failures():
    bad, good = AesCard("desfire", UID).issue(bytes(16)), AesCard("desfire", UID).issue(MASTER)
    found = taps(*[(card, 0) for card in (bad, bad, good, bad, bad, good)])
    assert "card_locked" not in names(found)


def test_another_card_is_not_locked_out_with_it():
    bad = AesCard("desfire", UID).issue(bytes(16))
    other = AesCard("desfire", bytes.fromhex("04112233445566")).issue(MASTER)
    assert taps((bad, 0), (bad, 0), (bad, 0), (other, 0))[3] == (other.uid, "aes", None)


def test_the_memory_of_failures_has_an_end():
    rng = random.Random(1)
    bad = [AesCard("ntag424", b"\x04" + rng.randbytes(6)).issue(bytes(16)) for _ in range(12)]

    async def go():
        reader = Reader()
        await reader.pn532.begin()
        for i, card in enumerate(bad):
            assert (await reader.tap(card, i))[2][0] == "card_refused"
        return len(reader.proof._failed)

    assert run(go())[0] == 8


def test_cards_that_hide_their_uid_and_fail_are_locked_together():
    card = AesCard("ntag424", UID).issue(bytes(16))
    card.random_id = True
    assert names(taps(*[(card, 0)] * 4))[2:] == ["card_locked"] * 2


def test_a_phone_proves_nothing_and_is_not_held_against_it():
    assert [found[1:] for found in taps(*[(Phone(), 0)] * 5)] == [("uid", True)] * 5


def test_a_card_pulled_away_is_no_failure_of_its_key():
    card = AesCard("ntag424", UID).issue(MASTER)

    async def go():
        reader = Reader()
        await reader.pn532.begin()
        found = []
        for n in (3, 20, 40, 60, 80, 100):
            reader.wire.present_chip(card)
            uid = await reader.pn532.read_uid(500)
            reader.wire.pull_after = n
            found.append(await reader.proof.look(reader.pn532, uid, 0))
        return found, await reader.tap(card)

    (found, after), _ = run(go())
    assert found == [(UID, "uid", (None, "hold your card longer"))] * 6
    assert after == PROVED


def test_a_reader_that_dies_meanwhile_is_the_readers_fault():
    card = AesCard("ntag424", UID).issue(MASTER)

    async def go():
        reader = Reader()
        await reader.pn532.begin()
        reader.wire.present_chip(card)
        uid = await reader.pn532.read_uid(500)
        reader.wire.fault = "dead"
        with pytest.raises(ReaderError):
            await reader.proof.look(reader.pn532, uid, 0)
        reader.wire.fault = "none"
        await reader.pn532.begin()
        return await reader.tap(card)

    assert run(go())[0] == PROVED


@pytest.mark.parametrize(
    ("settings", "refused"),
    [({}, False), ({"least_assurance": "aes"}, True), ({"aes_groups": "crew,fleet"}, True),
     ({"aes_groups": "fleets,flee"}, False)],
)  # fmt: skip
def test_who_must_prove_itself(settings, refused):
    """By the charger, or by the token's group; one that is in no list has none."""
    group_of = {token_of(bytes(32), UID): ("fleet", 0, None, None)}

    class Tokens:
        find = staticmethod(group_of.get)

    async def go():
        reader = Reader({**CONFIG, **settings}, Tokens)
        await reader.pn532.begin()
        listed = await reader.tap(None, uid=UID)
        stranger = await reader.tap(None, uid=b"1234")
        genuine = await reader.tap(AesCard("ntag424", UID).issue(MASTER))
        return listed, stranger, genuine

    listed, stranger, genuine = run(go())[0]
    assert names([listed]) == (["card_unproven"] if refused else [None])
    assert names([stranger]) == (["card_unproven"] if "least_assurance" in settings else [None])
    assert genuine == PROVED


def test_a_list_that_cannot_be_read_lets_nobody_off():
    class Tokens:
        @staticmethod
        def find(token):
            raise OSError(5, "EIO")

    async def go():
        reader = Reader({**CONFIG, "aes_groups": "1"}, Tokens)
        await reader.pn532.begin()
        return await reader.tap(None, uid=UID)

    assert names([run(go())[0]]) == ["card_unproven"]
