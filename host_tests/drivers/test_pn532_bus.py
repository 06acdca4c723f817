"""The PN532 over I2C and SPI: the same driver, the same cards, and a silent bus with an IRQ pin."""

import asyncio

import pytest

from evtill.core.errors import ReaderError
from evtill.drivers.pn532 import PN532
from evtill.drivers.pn532_bus import I2CLink, SPILink
from host_tests.drivers.test_pn532 import MASTER, UIDS, prove
from host_tests.fakes.loop import run
from host_tests.fakes.pn532_bus import I2C, SPI, Irq
from tillsim.card_sim import AesCard
from tillsim.reader_wire import ReaderWire

BUSES = [(I2C, False), (I2C, True), (SPI, False), (SPI, True)]


def link_of(bus, irq):
    pin = Irq(bus) if irq else None
    return I2CLink(bus, pin) if isinstance(bus, I2C) else SPILink(bus, bus.cs, pin)


@pytest.fixture(params=BUSES, ids=lambda p: f"{p[0].__name__}{'+irq' * p[1]}")
def setup(request):
    kind, irq = request.param
    wire = ReaderWire()
    bus = kind(wire)
    return wire, bus, PN532(link_of(bus, irq)), irq


@pytest.mark.parametrize("uid", UIDS, ids=len)
def test_uid(setup, uid):
    wire, _, reader, _ = setup
    wire.present(uid)

    async def go():
        await reader.begin()
        return [await reader.read_uid(500) for _ in range(3)]

    assert run(go())[0] == [uid] * 3


def test_a_card_that_comes_while_waiting(setup):
    wire, bus, reader, irq = setup

    async def go():
        await reader.begin()
        loop = asyncio.get_running_loop()
        start = loop.time()
        loop.call_later(2, lambda: bus.arrive(wire.present(UIDS[1])))
        before = bus.transfers
        uid = await reader.read_uid(5000)
        return uid, loop.time() - start, bus.transfers - before

    (uid, seconds, transfers), _ = run(go())
    assert uid == UIDS[1]
    assert seconds < 2.02
    # With the pin: the command, its acknowledgement, the answer. Without: a byte each 10 ms.
    assert transfers == 3 if irq else transfers < 250


def test_no_card_ends_in_time(setup):
    wire, _, reader, _ = setup

    async def go():
        await reader.begin()
        return await reader.read_uid(500)

    uid, ms = run(go())
    assert uid is None and ms < 550
    assert not wire.pending


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
def test_a_card_proves_itself(setup, kind):
    wire, _, reader, _ = setup
    wire.present_chip(AesCard(kind, UIDS[1]).issue(MASTER))

    async def go():
        await reader.begin()
        return await prove(reader, await reader.read_uid(500))

    assert run(go())[0] == UIDS[1]


@pytest.mark.parametrize("fault", ["dead", "no_ack", "bad_checksum", "truncated", "error_frame"])
def test_faults_are_reader_errors_and_begin_again_heals(setup, fault):
    wire, _, reader, _ = setup
    wire.present(UIDS[1])

    async def go():
        await reader.begin()
        wire.fault = fault
        with pytest.raises(ReaderError):
            await reader.check()
        wire.fault = "none"
        await reader.begin()
        return await reader.read_uid(500)

    result, ms = run(go())
    assert result == UIDS[1] and ms < 2000


def test_a_bus_that_breaks_is_a_reader_error(setup):
    _, bus, reader, _ = setup

    async def go():
        await reader.begin()
        bus.broken = True
        with pytest.raises(ReaderError):
            await reader.check()
        with pytest.raises(ReaderError):
            await reader.begin()
        bus.broken = False
        await reader.begin()
        return reader.firmware

    assert run(go())[0] == (1, 6)


def test_asleep_on_i2c_it_is_woken_by_its_address():
    reader = PN532(I2CLink(I2C(ReaderWire(), asleep=True)))

    async def go():
        await reader.begin()
        return reader.firmware

    assert run(go())[0] == (1, 6)
