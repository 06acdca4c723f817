"""Drivers on bad lines: a sample in each run, the long run in `make soak`.

Every dialogue is seeded: a failure comes again. A CRC of 16 bits lets about one damaged frame in
65,536 pass, so the count of wrong readings on a noisy line is for these seeds, not for ever."""

import os
import random

import pytest
from pymodbus.framer.rtu import FramerRTU

from evtill.core.errors import EvtillError, ModbusError
from evtill.drivers import modbus
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
from evtill.drivers.pn532 import PN532
from host_tests.fakes.bad_line import BadLine
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillctl.meter_table import compile_table
from tillsim.meter_wire import MeterWire
from tillsim.reader_wire import ReaderWire

SOAK = pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: EVTILL_SOAK=1")


def sample_and_soak(name, sample, soak):
    """Runs the test with `sample` always, and with `soak` in `make soak`."""
    marks = [pytest.mark.soak, SOAK, pytest.mark.timeout(3600)]
    return pytest.mark.parametrize(name, [sample, pytest.param(soak, marks=marks)])


@sample_and_soak("frames", 5_000, 1_000_000)
def test_no_damaged_modbus_frame_is_accepted(frames):
    line = BadLine(random.Random(1), 1.0)
    accepted = 0
    for i in range(frames):
        body = b"\x01\x04\x04" + (i * 2654435761 % 2**32).to_bytes(4, "big")
        sent = body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        got = line(sent)
        try:
            modbus.check_reply(got, len(got), 1, 4, 2)
        except ModbusError:
            continue
        accepted += 1
        assert got[:3] == sent[:3] and len(got) == len(sent)
        assert FramerRTU.compute_CRC(got[:-2]).to_bytes(2, "big") == got[-2:]
        # Damage that undid itself is no damage; else only a CRC collision may pass.
        accepted -= got == sent
    assert accepted <= max(1, frames // 10_000)


@sample_and_soak("seconds", 300, 3600)
def test_polling_a_meter_on_a_bad_line(seconds):
    wire = MeterWire()
    wire.set(power_w=11000)
    to_meter, from_meter = BadLine(random.Random(2), 0.05), BadLine(random.Random(3), 0.05)

    async def go():
        uart = Uart(lambda request: from_meter(wire.feed(to_meter(request))))
        meter = Meter(ModbusMaster(uart), compile_table(wire.meter))
        read = wrong = 0
        for second in range(seconds):
            wire.set(register_wh=1045120 + second * 3)
            try:
                reading = await meter.read()
            except EvtillError:
                continue
            read += 1
            wrong += reading.energy_wh != wire.register_wh or reading.power_w != 11000
        return read, wrong

    try:
        (read, wrong), _ = run(go())
    finally:
        wire.close()
    assert wrong == 0
    assert to_meter.damaged and from_meter.damaged
    # Damage costs the poll that it hits, and at most one more while the meter resynchronises.
    assert read >= seconds - 2 * (to_meter.damaged + from_meter.damaged)


@sample_and_soak("polls", 500, 50_000)
def test_polling_a_reader_on_a_bad_line(polls):
    wire = ReaderWire()
    to_reader, from_reader = BadLine(random.Random(4), 0.05), BadLine(random.Random(5), 0.05)
    uids = [bytes.fromhex(u) for u in ("DEADBEEF", "04A2243B6C5E80", "00112233445566778899")]

    async def go():
        reader = PN532(Uart(lambda r: from_reader(wire.feed(to_reader(r)))))
        found = wrong = 0
        for poll in range(polls):
            uid = uids[poll % 3] if poll % 2 else None
            wire.present(uid) if uid else wire.remove()
            try:
                if reader.firmware is None:
                    await reader.begin()
                got = await reader.read_uid(100)
            except EvtillError:
                reader.firmware = None
                continue
            found += got is not None
            wrong += got not in (uid, None)
        return found, wrong

    (found, wrong), _ = run(go())
    assert found > polls * 0.4
    # An 8-bit checksum lets one damaged answer in 256 pass, here of a few per cent.
    assert wrong <= polls // 1000 + 1
