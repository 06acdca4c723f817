"""The simulated SDM630: a stranger's Modbus client reads it, and each fault is on the wire."""

import os
import select
import struct
import threading
import tty

import pytest
from pymodbus.client import ModbusSerialClient
from pymodbus.framer.rtu import FramerRTU

from tillsim.meter_wire import FAULTS, MeterWire

READ_ENERGY = bytes.fromhex("01040048000 2f1dd".replace(" ", ""))


def framed(body):
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


@pytest.fixture(scope="module")
def shared_wire():
    wire = MeterWire()
    yield wire
    wire.close()


@pytest.fixture
def wire(shared_wire):
    shared_wire.fault = "none"
    shared_wire.set(register_wh=1045120, power_w=11000)
    return shared_wire


def test_energy_request_of_the_manual(wire):
    assert wire.feed(READ_ENERGY) == framed(b"\x01\x04\x04" + struct.pack(">f", 1045.12))


def test_request_in_pieces(wire):
    said = [wire.feed(bytes([byte])) for byte in READ_ENERGY]
    assert said[:-1] == [b""] * 7
    assert len(said[-1]) == 9


def test_requests_behind_noise_and_behind_each_other(wire):
    noise = b"\x00\xff\x01\x04\x00"
    said = wire.feed(noise + READ_ENERGY + READ_ENERGY)
    assert said == 2 * wire.exchange(READ_ENERGY)


def test_other_addresses_and_wrong_crcs_are_met_with_silence(wire):
    before = wire.requests
    assert wire.feed(framed(b"\x02\x04\x00\x48\x00\x02")) == b""
    assert wire.feed(READ_ENERGY[:-1] + b"\x00") == b""
    assert wire.requests == before
    assert len(wire.feed(READ_ENERGY)) == 9


@pytest.mark.parametrize(
    ("request_body", "code"),
    [
        (b"\x01\x04\x00\x00\x00\x51", 3),  # 81 registers: more than 40 parameters
        (b"\x01\x04\x03\x00\x00\x02", 2),
        (b"\x01\x03\x00\x00\x00\x02", 2),
    ],
)
def test_what_the_meter_has_not_is_an_exception(wire, request_body, code):
    reply = wire.feed(framed(request_body))
    assert reply == framed(bytes([1, request_body[1] | 0x80, code]))


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(wire, fault):
    good = wire.feed(READ_ENERGY)
    wire.fault = fault
    said = wire.feed(READ_ENERGY)
    sound = said == framed(said[:-2])
    wanted = {
        "none": said == good,
        "silent": said == b"",
        "wrong_crc": not sound and len(said) == len(good),
        "exception": said == framed(b"\x01\x84\x04"),
        "foreign_reply": sound and said[0] == 2 and said[1:-2] == good[1:-2],
        "wrong_function": sound and said[1] == 3,
        "wrong_count": sound and said[2] == 2,
        "short": good.startswith(said) and len(said) == 6,
        "long": said.startswith(good) and len(said) == 11,
    }
    assert wanted[fault]
    wire.fault = "none"
    assert wire.feed(READ_ENERGY) == good


def test_unknown_fault_is_refused(wire):
    wire.fault = "sleepy"
    with pytest.raises(ValueError, match="sleepy"):
        wire.feed(READ_ENERGY)


@pytest.mark.parametrize("wh", [0, 1, 1045120, 1045121, 16383999, 16384001, 99999999])
def test_register_wh_is_what_a_reader_computes(wire, wh):
    wire.set(register_wh=wh)
    held = struct.unpack(">f", wire.feed(READ_ENERGY)[3:7])[0]
    assert wire.register_wh == int(held * 1000 + 0.5)  # doubles hold these exactly enough


def test_every_wh_is_told_apart_up_to_16384_kwh(wire):
    for wh in (*range(1045120, 1057465, 97), 8191999, 8192001, 16383997, 16383998, 16383999):
        wire.set(register_wh=wh)
        assert wire.register_wh == wh
    wire.set(register_wh=16384001)
    assert wire.register_wh != 16384001


def test_currents_follow_power_until_they_are_set():
    wire = MeterWire()
    try:
        wire.set(power_w=6900)

        def current():
            return struct.unpack(">f", wire.feed(framed(b"\x01\x04\x00\x06\x00\x02"))[3:7])[0]

        assert current() == pytest.approx(10.0)
        wire.set(current_ma=(16000, 0, 0))
        assert current() == 16.0
    finally:
        wire.close()


def test_a_strangers_client_reads_it_over_a_pty(wire):
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    stop = threading.Event()

    def relay():
        while not stop.is_set():
            if select.select([master], [], [], 0.05)[0]:
                os.write(master, wire.feed(os.read(master, 256)))

    thread = threading.Thread(target=relay)
    thread.start()
    client = ModbusSerialClient(os.ttyname(slave), baudrate=9600, timeout=2)
    try:
        assert client.connect()
        block = client.read_input_registers(0, count=74, device_id=1)
        assert not block.isError()
        energy = client.convert_from_registers(block.registers[72:74], client.DATATYPE.FLOAT32)
        assert round(energy * 1000) == 1045120
        serial = client.read_holding_registers(0xFC00, count=2, device_id=1)
        assert client.convert_from_registers(serial.registers, client.DATATYPE.UINT32) == 1234567
    finally:
        stop.set()
        thread.join()
        client.close()
        os.close(master)
        os.close(slave)


def test_close_leaves_no_thread_and_may_be_called_twice():
    before = threading.active_count()
    wire = MeterWire(address=7, serial=99)
    assert threading.active_count() == before + 1
    wire.close()
    wire.close()
    assert threading.active_count() == before


def test_two_meters_at_once():
    wires = [MeterWire(address=a, serial=100 + a) for a in (1, 2)]
    try:
        for wire in wires:
            wire.set(register_wh=1000 * wire.address)
        request = b"\x04\x00\x48\x00\x02"
        energies = [w.feed(framed(bytes([w.address]) + request))[3:7] for w in wires]
        assert energies == [struct.pack(">f", 1.0), struct.pack(">f", 2.0)]
    finally:
        for wire in wires:
            wire.close()
