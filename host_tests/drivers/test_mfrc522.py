"""The MFRC522 driver against its registers and cards that speak ISO 14443-3 and -4."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtill.core.errors import CardError, CardGone, ReaderError
from evtill.drivers import mfrc522
from evtill.drivers.mfrc522 import MFRC522
from evtill.drivers.pn532 import PN532
from host_tests.drivers.test_pn532 import MASTER, UIDS, prove
from host_tests.fakes import mfrc522 as fake
from host_tests.fakes.loop import run
from host_tests.fakes.mfrc522 import MFRC522Chip, Picc
from host_tests.fakes.uart import Uart
from tillsim.card_sim import AesCard, Phone
from tillsim.reader_wire import ReaderWire


async def begun(*cards):
    chip = MFRC522Chip(cards)
    reader = MFRC522(chip, chip)
    await reader.begin()
    return chip, reader


class Echo(Phone):
    def apdu(self, command):
        return bytes(reversed(command))


def test_crc_as_the_standard_prints_it():
    """ISO/IEC 14443-3, annex B.2: two examples; HLTA's as every reader sends it."""
    assert mfrc522.crc_a(b"\0\0") == b"\xa0\x1e"
    assert mfrc522.crc_a(b"\x12\x34") == b"\x26\xcf"
    assert mfrc522.crc_a(b"\x50\x00") == b"\x57\xcd"


@given(st.binary(max_size=64))
def test_crc_against_its_definition(data):
    assert mfrc522.crc_a(data) == fake.crc_a(data)


@pytest.mark.parametrize("uid", UIDS, ids=len)
def test_uid_again_and_again(uid):
    async def go():
        _, reader = await begun(Picc(uid))
        return [await reader.read_uid(300) for _ in range(4)], reader.sak

    assert run(go())[0] == ([uid] * 4, 0x08)


@pytest.mark.parametrize("uid", UIDS, ids=len)
def test_both_readers_have_the_same_order_of_bytes(uid):
    wire = ReaderWire()
    wire.present(uid)

    async def go():
        _, reader = await begun(Picc(uid))
        other = PN532(Uart(wire.feed))
        await other.begin()
        return await reader.read_uid(300), await other.read_uid(300)

    one, other = run(go())[0]
    assert one == other == uid


def test_no_card_ends_in_time_without_flooding_the_bus():
    async def go():
        chip, reader = await begun()
        before = chip.transfers
        return await reader.read_uid(1000), chip.transfers - before

    (uid, transfers), ms = run(go())
    assert uid is None and ms < 1200
    assert transfers < 20 * 16  # twenty looks a second, of some registers each


def test_a_card_that_comes_while_waiting():
    async def go():
        chip, reader = await begun()
        asyncio.get_running_loop().call_later(0.4, chip.cards.append, Picc(UIDS[1]))
        return await reader.read_uid(3000)

    uid, ms = run(go())
    assert uid == UIDS[1] and ms < 600


@pytest.mark.parametrize("seed", range(20))
def test_one_of_several_cards(seed):
    rng = random.Random(seed)
    uids = [bytes([rng.choice((0x04, 0xDE, 0x5C))]) + rng.randbytes(rng.choice((3, 6, 9)))
            for _ in range(rng.randint(2, 4))]  # fmt: skip

    async def go():
        _, reader = await begun(*[Picc(uid) for uid in uids])
        return await reader.read_uid(300)

    found = run(go())[0]
    # Of cards with UIDs of unlike lengths some may talk past each other: then none is read.
    assert found in uids or (found is None and len({len(uid) for uid in uids}) > 1)


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
@pytest.mark.parametrize("random_id", [False, True])
@pytest.mark.parametrize("options", [{}, {"wants_time": 3}, {"piece": 5}])
def test_a_card_proves_itself_again_and_again(kind, random_id, options):
    card = AesCard(kind, UIDS[1]).issue(MASTER)
    card.random_id = random_id
    card.field_off()

    async def go():
        _, reader = await begun(Picc(card.shown(), chip=card, **options))
        found = []
        for _ in range(3):
            found.append(await prove(reader, await reader.read_uid(300)))
            assert reader.sak == 0x20 and reader.ats == card.ats
            await reader.release()
        return found

    assert run(go())[0] == [UIDS[1]] * 3


@pytest.mark.parametrize("size", [1, 60, 61, 62, 122, 123, 300, 512])
def test_chaining_both_ways(size):
    sent = bytes(i % 251 for i in range(size))

    async def go():
        _, reader = await begun(Picc(UIDS[1], chip=Echo()))
        await reader.read_uid(300)
        return await reader.exchange(sent), await reader.exchange(sent[:3])

    assert run(go())[0] == (sent[::-1], sent[:3][::-1])


def test_a_card_with_small_frames():
    class Small(Echo):
        ats = b"\x02\x00"  # FSCI 0: 16 bytes

    async def go():
        _, reader = await begun(Picc(UIDS[1], chip=Small(), piece=13))
        await reader.read_uid(300)
        return await reader.exchange(bytes(range(100)))

    assert run(go())[0] == bytes(range(100))[::-1]


@pytest.mark.parametrize("how", ["lose", "damage"])
@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"wants_time": 1}])
def test_a_block_that_is_lost_or_damaged_is_asked_for_again(how, n, options):
    """Of a command in three pieces and an answer in three: each of them, and the R-blocks."""
    sent = bytes(range(150))
    picc = Picc(UIDS[1], chip=Echo(), **{how: [n]}, **options)

    async def go():
        _, reader = await begun(picc)
        await reader.read_uid(300)
        return await reader.exchange(sent), await reader.exchange(b"123")

    assert run(go())[0] == (sent[::-1], b"321")


def test_a_card_that_asks_for_time_without_end_is_gone_in_time():
    async def go():
        _, reader = await begun(Picc(UIDS[1], chip=Echo(), wants_time=10**9))
        await reader.read_uid(300)
        loop = asyncio.get_running_loop()
        chip_answers = reader._air

        async def slow(*args):  # a fake answers at once; a card takes what it asked for
            await asyncio.sleep(0.01)
            return await chip_answers(*args)

        reader._air = slow
        start = loop.time()
        with pytest.raises(CardGone, match="too long"):
            await reader.exchange(b"1")
        return loop.time() - start

    assert run(go())[0] < 1.8


def test_a_card_pulled_away_at_each_byte():
    card = AesCard("desfire", UIDS[1]).issue(MASTER)
    card.random_id = True

    async def go():
        outcomes = []
        for n in range(2000):
            card.field_off()
            chip, reader = await begun(Picc(card.shown(), chip=card))
            chip.pull_after = n
            try:
                uid = await reader.read_uid(0)
                if uid is not None:
                    outcomes.append(await prove(reader, uid))
                    break
            except CardGone:
                pass
            outcomes.append(None)
            await reader.check()
            assert await reader.read_uid(0) is None
        return outcomes

    outcomes = run(go())[0]
    assert len(outcomes) > 250
    assert outcomes == [None] * (len(outcomes) - 1) + [UIDS[1]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=64), min_size=1, max_size=12), st.booleans())
def test_any_answers_at_all_prove_nothing(answers, with_crc):
    queue = itertools.cycle(answers)

    class Noise:
        state, halted = "idle", False

        def hear(self, bits):
            data = next(queue)
            return fake.bits_of(data + (fake.crc_a(data) if with_crc else b"")) or None

    async def go():
        _, reader = await begun(Noise())
        try:
            uid = await reader.read_uid(0)
            if uid is not None:
                assert await prove(reader, uid) is None
        except (CardGone, CardError, ReaderError):
            pass

    run(go())


@pytest.mark.parametrize("fault", ["hangs", "broken"])
def test_a_reader_that_hangs_or_is_unplugged_is_noticed_and_comes_back(fault):
    async def go():
        chip, reader = await begun(Picc(UIDS[0]))
        setattr(chip, fault, True)
        with pytest.raises(ReaderError):
            await reader.check()
            await reader.read_uid(200)
        with pytest.raises(ReaderError):
            await reader.begin()
        setattr(chip, fault, False)
        await reader.begin()
        return await reader.read_uid(300)

    assert run(go())[0] == UIDS[0]


def test_a_reader_that_was_reset_is_noticed_while_it_waits():
    async def go():
        chip, reader = await begun()
        asyncio.get_running_loop().call_later(0.3, chip._reset)
        with pytest.raises(ReaderError, match="reset"):
            await reader.read_uid(2000)
        return True

    assert run(go())[0]


def test_something_else_on_the_bus():
    async def go():
        chip = MFRC522Chip()
        chip.registers[0x37] = 0
        chip._reset = lambda: None
        with pytest.raises(ReaderError, match="no MFRC522"):
            await MFRC522(chip, chip).begin()
        return True

    assert run(go())[0]
