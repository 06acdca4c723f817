"""The PN532 driver against ReaderWire, noise and dead lines, on a virtual loop."""

import asyncio
import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtill.core import ev2
from evtill.core.errors import CardError, CardGone, ReaderError
from evtill.drivers import pn532
from evtill.drivers.pn532 import PN532, TapDetector
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillctl.card_aes import aes
from tillsim.card_sim import AID, SYSTEM, AesCard, Phone
from tillsim.reader_wire import ACK, FAULTS, ReaderWire, frame

EXAMPLES = 200
UIDS = [bytes.fromhex(u) for u in ("DEADBEEF", "04A2243B6C5E80", "00112233445566778899")]
# The longest that one call may take beyond its timeout: two waits for an acknowledgement, and the
# pause after an abort.
SLACK_MS = 210


async def begun(wire, **options):
    uart = Uart(wire.feed, **options)
    reader = PN532(uart)
    await reader.begin()
    return uart, reader


def test_begin_wakes_configures_and_identifies():
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        return reader.firmware

    assert run(go())[0] == (1, 6)
    assert [command for command, _ in wire.log] == [0x14, 0x02, 0x32]
    assert wire.configured and wire.max_retries == 0xFF


def test_begin_again_finds_a_reader_in_any_state():
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        for spoil in (wire.power_cycle, lambda: wire.feed(b"\x00\x00\xff\x10"), lambda: None):
            spoil()
            await reader.begin()
        wire.card = None
        await reader.read_uid(50)
        # A search left over from before a reboot.
        wire.feed(bytes.fromhex("0000ff04fcd44a0100e100"))
        assert wire.pending
        await reader.begin()
        return reader.firmware

    assert run(go())[0] == (1, 6)


@pytest.mark.parametrize("uid", UIDS, ids=len)
@pytest.mark.parametrize("ats", [b"", bytes.fromhex("067577810280")])
@pytest.mark.parametrize("chunk", [0, 1])
def test_uid_of_a_card_that_is_there(uid, ats, chunk):
    wire = ReaderWire()
    wire.present(uid, ats=ats)

    async def go():
        _, reader = await begun(wire, chunk=chunk)
        return [await reader.read_uid(500) for _ in range(3)]

    assert run(go())[0] == [uid] * 3


def test_card_that_comes_while_waiting_is_reported_at_once():
    wire = ReaderWire()

    async def go():
        uart, reader = await begun(wire)
        loop = asyncio.get_running_loop()
        start = loop.time()
        loop.call_later(0.2, lambda: uart.arrive(wire.present(UIDS[1])))
        uid = await reader.read_uid(1000)
        return uid, loop.time() - start

    (uid, seconds), _ = run(go())
    assert uid == UIDS[1]
    assert 0.2 <= seconds < 0.21


def test_no_card_ends_in_time_and_leaves_nothing_pending():
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        loop = asyncio.get_running_loop()
        start = loop.time()
        uid = await reader.read_uid(500)
        return uid, loop.time() - start

    (uid, seconds), _ = run(go())
    assert uid is None
    assert 0.5 <= seconds <= 0.51
    assert not wire.pending


def test_reader_with_few_retries_answers_none():
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        wire.max_retries = 2
        empty = await reader.read_uid(500)
        wire.present(UIDS[0])
        return empty, await reader.read_uid(500)

    assert run(go())[0] == (None, UIDS[0])


def test_answer_that_comes_after_the_abort_is_not_the_next_ones():
    wire = ReaderWire()

    async def go():
        uart, reader = await begun(wire)
        assert await reader.read_uid(50) is None
        uart.arrive(frame(b"\xd5\x4b\x01\x01\x00\x04\x08\x04" + UIDS[0]))
        return await reader.read_uid(50)

    assert run(go())[0] is None


@pytest.mark.parametrize("fault", [f for f in FAULTS if f not in ("none", "no_answer")])
def test_begin_says_what_is_wrong(fault):
    wire = ReaderWire()
    wire.fault = fault

    async def go():
        with pytest.raises(ReaderError):
            await begun(wire)

    assert run(go())[1] <= 1000


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_while_polling_is_an_error_or_no_card_and_ends(fault):
    wire = ReaderWire()
    wire.present(UIDS[1])

    async def go():
        _, reader = await begun(wire)
        wire.fault = fault
        try:
            found = await reader.read_uid(300)
        except ReaderError:
            found = "error"
        wire.fault = "none"
        await reader.begin()
        return found, await reader.read_uid(300)

    (found, after), ms = run(go())
    wanted = {"none": UIDS[1], "dead": "error", "no_ack": "error", "error_frame": "error"}
    assert found == wanted.get(fault)
    assert after == UIDS[1]
    assert ms < 1500


def test_reader_that_lost_its_power_is_noticed_and_comes_back():
    wire = ReaderWire()
    wire.present(UIDS[0])

    async def go():
        _, reader = await begun(wire)
        wire.power_cycle()
        with pytest.raises(ReaderError, match="acknowledge"):
            await reader.read_uid(300)
        await reader.begin()
        return await reader.read_uid(300)

    assert run(go())[0] == UIDS[0]


def test_reader_that_hangs_after_acknowledging_is_found_by_a_check():
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        assert await reader.check() == (1, 6)
        wire.fault = "no_answer"
        assert await reader.read_uid(100) is None
        with pytest.raises(ReaderError, match="answer"):
            await reader.check()
        return True

    assert run(go())[0]


def test_lost_acknowledgement_is_asked_for_again():
    wire = ReaderWire()
    wire.present(UIDS[0])

    async def go():
        uart, reader = await begun(wire)
        lost = [True]

        def peer(data):
            said = wire.feed(data)
            return b"" if lost and lost.pop() else said

        uart.peer = peer
        return await reader.read_uid(300)

    assert run(go())[0] == UIDS[0]


def test_broken_uart_is_a_reader_error():
    wire = ReaderWire()

    async def go():
        uart, reader = await begun(wire)
        uart.broken = True
        with pytest.raises(ReaderError):
            await reader.read_uid(300)
        with pytest.raises(ReaderError):
            await reader.begin()
        return True

    assert run(go())[0]


def test_something_else_on_the_line_is_no_pn532():
    async def go():
        answers = {0x14: b"\xd5\x15", 0x02: b"\xd5\x03\x07\x01\x06\x07", 0x32: b"\xd5\x33"}

        def peer(data):
            return ACK + frame(answers[data[6]]) if data[5:6] == b"\xd4" else b""

        with pytest.raises(ReaderError, match="no PN532"):
            await PN532(Uart(peer)).begin()
        return True

    assert run(go())[0]


@pytest.mark.parametrize("seed", range(30))
def test_card_is_read_after_garbage_at_any_moment(seed):
    wire = ReaderWire()
    wire.present(UIDS[seed % 3])

    async def go():
        uart, reader = await begun(wire)
        uart.arrive(wire.garbage(seed * 7, seed))
        uart.peer = lambda data: wire.garbage(seed, seed) + wire.feed(data)
        found = []
        for _ in range(3):
            try:
                found.append(await reader.read_uid(300))
            except ReaderError:
                await reader.begin()
        return found

    found, ms = run(go())
    assert UIDS[seed % 3] in found
    assert set(found) <= {None, UIDS[seed % 3]}
    assert ms < 3000


def test_a_reader_that_babbles_ends_in_time():
    wire = ReaderWire()

    async def go():
        uart, reader = await begun(wire)

        async def babble():
            for seed in range(10_000):
                uart.arrive(wire.garbage(64, seed))
                await asyncio.sleep(0.005)

        noise = asyncio.ensure_future(babble())
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(ReaderError):
            uart.peer = None
            await reader.read_uid(300)
        noise.cancel()
        return loop.time() - start

    assert run(go())[0] * 1000 <= 300 + SLACK_MS


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_any_bytes_at_all_end_in_time(answers, acknowledged):
    async def go():
        queue = list(answers)
        uart = Uart(lambda data: (ACK if acknowledged else b"") + (queue.pop() if queue else b""))
        reader = PN532(uart)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            start = loop.time()
            with contextlib.suppress(ReaderError):
                assert await reader.read_uid(300) is None
            assert (loop.time() - start) * 1000 <= 300 + SLACK_MS

    run(go())


def sound(data):
    """The oracle: whether `data` is TFI D5, more, and its checksum as UM0701-02 6.2.1.1 says."""
    return data[0] == 0xD5 and len(data) >= 3 and sum(data) % 256 == 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=60), st.binary(min_size=1, max_size=40), st.binary(max_size=20))
def test_scanner_finds_the_frame_and_only_sound_ones(before, data, after):
    stream = before + frame(b"\xd5" + data) + after
    scanner = pn532.FrameScanner()
    at = 0
    found = []
    while at < len(stream):
        buf = stream[at:]
        kind = scanner.scan(buf, len(buf))
        assert 0 <= scanner.used <= len(buf)
        if kind == pn532.DATA:
            assert sound(buf[scanner.start - 1 : scanner.end + 1])
            found.append(buf[scanner.start : scanner.end])
        if kind == pn532.INCOMPLETE:
            at += 1  # what looked like a beginning was none
        at += scanner.used
    if b"\x00\xff" not in before:
        assert found[0] == data


class TestTapDetector:
    def test_each_presentation_is_one_tap(self):
        taps = TapDetector(absent_ms=300)
        seen = [(UIDS[0], 0), (UIDS[0], 100), (None, 300), (UIDS[0], 350), (None, 600),
                (None, 650), (UIDS[0], 700), (UIDS[0], 800)]  # fmt: skip
        assert [taps.update(*s) for s in seen] == [
            UIDS[0], None, None, None, None, None, UIDS[0], None,
        ]  # fmt: skip

    def test_a_missed_poll_is_no_removal(self):
        taps = TapDetector(absent_ms=300)
        taps.update(UIDS[0], 0)
        for ms in range(100, 3000, 200):
            assert taps.update(None, ms) is None
            assert taps.update(UIDS[0], ms + 100) is None

    def test_another_card_is_a_tap_at_once(self):
        taps = TapDetector()
        assert taps.update(UIDS[0], 0) == UIDS[0]
        assert taps.update(UIDS[1], 10) == UIDS[1]
        assert taps.update(UIDS[0], 20) == UIDS[0]

    def test_no_card_is_no_tap(self):
        taps = TapDetector()
        assert [taps.update(None, ms) for ms in range(0, 1000, 100)] == [None] * 10

    def test_ticks_may_wrap(self):
        period = 1 << 30
        taps = TapDetector(absent_ms=300)
        assert taps.update(UIDS[0], period - 100) == UIDS[0]
        assert taps.update(None, 100) is None
        assert taps.update(UIDS[0], 150) is None
        assert taps.update(None, 450) is None
        assert taps.update(UIDS[0], 500) == UIDS[0]

    def test_fifty_taps_a_minute_for_an_hour(self):
        wire = ReaderWire()

        async def go():
            _, reader = await begun(wire)
            taps = TapDetector()
            loop = asyncio.get_running_loop()
            count = 0
            end = loop.time() + 3600
            next_change = loop.time() + 0.6
            while loop.time() < end:
                uid = await reader.read_uid(100)
                if uid:
                    await asyncio.sleep(0.1)
                count += taps.update(uid, int(loop.time() * 1000)) is not None
                if loop.time() >= next_change:
                    next_change += 0.6
                    if wire.card:
                        wire.remove()
                    else:
                        wire.present(UIDS[1])
            return count

        assert abs(run(go())[0] - 3000) <= 1


MASTER = bytes(range(16))


def prove(reader, uid):
    """The dialogue of core.ev2 through the driver."""

    async def go():
        reply = None
        dialogue = ev2.prove(aes, MASTER, AID, SYSTEM, uid, random.Random(1).randbytes)
        while True:
            try:
                command = dialogue.send(reply)
            except StopIteration as end:
                return end.value
            reply = await reader.dialogue().exchange(command)

    return go()


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
@pytest.mark.parametrize("random_id", [False, True])
def test_a_card_proves_itself_through_the_reader_again_and_again(kind, random_id):
    wire = ReaderWire()
    chip = AesCard(kind, UIDS[1]).issue(MASTER)
    chip.random_id = random_id
    wire.present_chip(chip)

    async def go():
        _, reader = await begun(wire)
        found = []
        for _ in range(3):
            uid = await reader.read_uid(500)
            assert reader.sak == 0x20
            assert (uid == UIDS[1]) is not random_id
            found.append(await prove(reader, uid))
            await reader.dialogue().release()
        return found, await reader.read_uid(500) == uid

    assert run(go())[0] == ([UIDS[1]] * 3, True)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
def test_answers_that_the_reader_gives_in_pieces(size):
    wire = ReaderWire()
    wire.largest = size

    class Echo(Phone):
        def apdu(self, command):
            return bytes(reversed(command))

    wire.present_chip(Echo())
    sent = bytes(range(60))

    async def go():
        _, reader = await begun(wire)
        await reader.read_uid(500)
        return await reader.dialogue().exchange(sent)

    assert run(go())[0] == sent[::-1]


def test_a_long_command_goes_in_pieces():
    wire = ReaderWire()

    class Counter(Phone):
        def apdu(self, command):
            assert command == sent
            return len(command).to_bytes(2, "big")

    wire.present_chip(Counter())
    sent = bytes(i % 251 for i in range(500))

    async def go():
        _, reader = await begun(wire)
        await reader.read_uid(500)
        return await reader.dialogue().exchange(sent)

    assert run(go())[0] == b"\x01\xf4"


def test_a_card_that_answers_without_end_is_an_error():
    wire = ReaderWire()
    wire.largest = 60

    class Endless(Phone):
        def apdu(self, command):
            return bytes(5000)

    wire.present_chip(Endless())

    async def go():
        _, reader = await begun(wire)
        await reader.read_uid(500)
        with pytest.raises(ReaderError, match="end"):
            await reader.dialogue().exchange(b"\0")
        await reader.begin()
        return await reader.read_uid(500)

    assert run(go())[0]


def test_a_card_pulled_away_at_each_byte_is_gone_and_the_reader_well():
    wire = ReaderWire()
    chip = AesCard("desfire", UIDS[1]).issue(MASTER)
    chip.random_id = True

    async def go():
        _, reader = await begun(wire)
        outcomes = []
        for n in range(1000):
            wire.present_chip(chip)
            uid = await reader.read_uid(500)
            wire.pull_after = n
            try:
                outcomes.append(await prove(reader, uid))
                break
            except CardGone:
                outcomes.append(None)
            assert await reader.read_uid(100) is None
        return outcomes

    outcomes = run(go())[0]
    assert len(outcomes) > 240
    assert outcomes == [None] * (len(outcomes) - 1) + [UIDS[1]]


def test_a_card_that_keeps_the_reader_waiting_is_gone_in_time():
    wire = ReaderWire()
    wire.present_chip(AesCard("ntag424", UIDS[1]).issue(MASTER))

    async def go():
        _, reader = await begun(wire)
        await reader.read_uid(500)
        wire.fault = "no_answer"
        with pytest.raises(CardGone):
            await reader.dialogue().exchange(b"\x90\x60\0\0\0")
        wire.fault = "none"
        return await reader.read_uid(500)

    result, ms = run(go())
    assert result == UIDS[1] and ms < 2500


def test_without_a_card_there_is_no_exchange():
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        with pytest.raises(CardGone, match="27"):
            await reader.dialogue().exchange(b"\x90\x60\0\0\0")
        return True

    assert run(go())[0]


@pytest.mark.parametrize(
    ("kind", "uid"),
    [("A", UIDS[0]), ("A", UIDS[2]), ("B", b"\xa1\xb2\xc3\xd4"), ("F", b"12345678")],
)
def test_all_kinds_of_cards(kind, uid):
    wire = ReaderWire()

    async def go():
        _, reader = await begun(wire)
        narrow = reader
        wide = PN532(narrow._uart, all_kinds=True)
        await wide.begin()
        none = await wide.read_uid(50)
        wire.present(uid) if kind == "A" else wire.present_other(kind, uid)
        got = [await wide.read_uid(500) for _ in range(2)]
        return none, got, await narrow.read_uid(50)

    none, got, narrow = run(go())[0]
    assert none is None and got == [uid] * 2
    assert narrow == (uid if kind == "A" else None)


def test_all_kinds_exchange_with_type_a():
    wire = ReaderWire()
    wire.present_chip(AesCard("ntag424", UIDS[1]).issue(MASTER))

    async def go():
        reader = PN532(Uart(wire.feed), all_kinds=True)
        await reader.begin()
        return await prove(reader, await reader.read_uid(500))

    assert run(go())[0] == UIDS[1]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_any_bytes_at_all_prove_nothing(answers, framed):
    """Random frames, and well-framed random answers to InDataExchange."""

    async def go():
        queue = list(answers)

        def peer(_):
            said = queue.pop() if queue else b""
            return ACK + (frame(b"\xd5\x41\x00" + said) if framed else said)

        reader = PN532(Uart(peer))
        with contextlib.suppress(ReaderError, CardGone, CardError):
            assert await prove(reader, UIDS[1]) is None

    run(go())
