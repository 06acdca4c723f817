"""The drivers on the 32-bit interpreter: dialogues recorded here are played back there."""

import pytest

from evtill.core.errors import ReaderError
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
from evtill.drivers.pn532 import PN532
from host_tests import micropython
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart
from tillctl.meter_table import compile_table
from tillsim.meter_wire import MeterWire
from tillsim.reader_wire import ReaderWire

UID = bytes.fromhex("04A2243B6C5E80")


def recording(feed):
    """A UART whose `dialogue` grows by (written, reply) in hex."""
    dialogue = []

    def peer(data):
        reply = feed(data)
        dialogue.append((data.hex(), reply.hex()))
        return reply

    return Uart(peer), dialogue


def meter_dialogue(model):
    wire = MeterWire(model=model)
    wire.set(register_wh=1057465, power_w=10993, voltage_mv=(229100, 230200, 231300))
    table = compile_table(wire.meter)
    uart, dialogue = recording(wire.feed)

    async def go():
        meter = Meter(ModbusMaster(uart), table)
        return await meter.read(), await meter.read_energy_wh(), await meter.read_serial()

    try:
        return table, dialogue, run(go())[0]
    finally:
        wire.close()


def reader_dialogue():
    wire = ReaderWire()
    uart, dialogue = recording(lambda data: wire.garbage(9, len(dialogue)) + wire.feed(data))

    async def go():
        reader = PN532(uart)
        await reader.begin()
        assert await reader.read_uid(50) is None
        wire.present(UID)
        assert await reader.read_uid(50) == UID
        wire.fault = "error_frame"
        with pytest.raises(ReaderError):
            await reader.read_uid(50)

    run(go())
    return dialogue


@pytest.mark.parametrize(
    ("model", "bits"), [("sdm630", 32), ("sdm630", 64), ("em340", 32), ("wm3m4", 32)]
)
def test_recorded_dialogues(model, bits):
    table, dialogue, (reading, energy_wh, serial) = meter_dialogue(model)
    played = f"{table.hex()!r}, {dialogue!r}, {reader_dialogue()!r}"
    code = f"import check_drivers; check_drivers.play({played})"
    said = micropython.run(code, bits=bits).splitlines()
    assert said[:-1] == [
        f"{reading.energy_wh} {reading.power_w} {reading.voltage_mv} {reading.current_ma}",
        f"{energy_wh} {serial}",
        "timeout True",
        "modbus None 0",
        "(1, 6) None",
        UID.hex(),
        "the reader refuses the command",
        "pn532 None 0",
        "others ran True",
    ]
    if bits == 32:
        assert int(said[-1].split()[1]) < 40_000  # of 112 kB, the recordings and asyncio included
