"""The Modbus master: every field of a reply, silences, and time, on a virtual loop."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU

from evtill.core.errors import (
    ModbusError,
    ModbusExceptionReply,
    ModbusFrameError,
    ModbusTimeout,
)
from evtill.drivers import modbus
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart

EXAMPLES = 500


def framed(body):
    """The oracle's frame: pymodbus's own CRC."""
    return bytes(body) + FramerRTU.compute_CRC(bytes(body)).to_bytes(2, "big")


GOOD = framed(b"\x01\x04\x04\x43\x66\x33\x34")


def read(uart_of, prepare=None, **options):
    """(registers or error, virtual ms) of one read of input registers 0 and 1 at address 1."""

    async def go():
        uart = uart_of()
        if prepare:
            prepare(uart)
        master = modbus.ModbusMaster(uart)
        try:
            return bytes(await master.read_registers(1, 4, 0, 2, **options))
        except ModbusError as e:
            return e

    return run(go())


@given(st.binary(max_size=300))
def test_crc_is_pymodbus_crc(data):
    ours = modbus.crc16(data, len(data))
    assert ours.to_bytes(2, "little") == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 4, 0, 1), (248, 4, 0, 1), (1, 6, 0, 1), (1, 4, -1, 1), (1, 4, 0xFFFF, 2),
        (1, 4, 0, 0), (1, 4, 0, 126),
    ],
)  # fmt: skip
def test_impossible_request_is_our_own_mistake(arguments):
    with pytest.raises(ValueError):
        modbus.put_request(bytearray(8), *arguments)


# Modbus V1.1b3, the examples of 6.6 and 6.12, to slave 17: (start, data, request, reply).
WRITES = [
    (1, b"\x00\x03", b"\x11\x06\x00\x01\x00\x03", b"\x11\x06\x00\x01\x00\x03"),
    (1, b"\x00\x0a\x01\x02", b"\x11\x10\x00\x01\x00\x02\x04\x00\x0a\x01\x02",
     b"\x11\x10\x00\x01\x00\x02"),
]  # fmt: skip


def written(start, data, peer):
    async def go():
        uart = Uart(peer)
        try:
            await modbus.ModbusMaster(uart).write(17, start, data, timeout_ms=200)
        except ModbusError as e:
            return uart.written, e
        return uart.written, None

    return run(go())[0]


@pytest.mark.parametrize(("start", "data", "request_", "reply"), WRITES)
def test_registers_are_written(start, data, request_, reply):
    assert written(start, data, lambda request: framed(reply)) == ([framed(request_)], None)


@pytest.mark.parametrize(("start", "data", "request_", "reply"), WRITES)
@pytest.mark.parametrize("at", range(6))
def test_the_answer_to_another_write_is_refused(start, data, request_, reply, at):
    other = bytearray(reply)
    other[at] ^= 1
    error = written(start, data, lambda request: framed(other))[1]
    assert type(error) is ModbusFrameError


@pytest.mark.parametrize(("start", "data", "request_", "reply"), WRITES)
def test_a_refused_write_says_so(start, data, request_, reply):
    error = written(start, data, lambda r: framed(bytes([17, reply[1] | 0x80, 2])))[1]
    assert type(error) is ModbusExceptionReply and error.code == 2
    assert type(written(start, data, lambda r: framed(reply)[:-1])[1]) is ModbusTimeout


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00" * 248])
def test_impossible_write_is_our_own_mistake(data):
    with pytest.raises(ValueError):
        modbus.write_request(1, 0, data)


def test_good_reply():
    registers, ms = read(lambda: Uart(lambda request: GOOD, char_us=1146))
    assert registers == b"\x43\x66\x33\x34"
    assert ms <= 100 + 1 + 17 * 11 / 9.6 + 5 + 2  # settling, 17 characters at 9600 baud, silence


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_reply_in_pieces(chunk):
    registers, _ = read(lambda: Uart(lambda request: GOOD, chunk=chunk))
    assert registers == b"\x43\x66\x33\x34"


BAD = {
    "other address": framed(b"\x02\x04\x04\x43\x66\x33\x34"),
    "function 3 for 4": framed(b"\x01\x03\x04\x43\x66\x33\x34"),
    "one register for two": framed(b"\x01\x04\x02\x43\x66"),
    "three registers for two": framed(b"\x01\x04\x06\x43\x66\x33\x34\x00\x00"),
    "byte count alone is wrong": framed(b"\x01\x04\x05\x43\x66\x33\x34"),
    "wrong CRC": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
    "CRC bytes swapped": GOOD[:-2] + GOOD[:-3:-1],
    "longer than it says": GOOD + b"\x00",
    "twice": GOOD + GOOD,
    "exception with a wrong CRC": framed(b"\x01\x84\x02")[:-1] + b"\x00",
    "exception for another function": framed(b"\x01\x83\x02"),
    "exception of another address": framed(b"\x09\x84\x02"),
    "exception that goes on": framed(b"\x01\x84\x02") + b"\x00",
    "noise before": b"\x00" + GOOD,
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("chunk", [0, 1])
def test_bad_reply_is_refused(name, chunk):
    error, ms = read(lambda: Uart(lambda request: BAD[name], chunk=chunk))
    assert type(error) is ModbusFrameError
    assert ms <= 100 + 600


def test_exception_reply_carries_its_code():
    error, _ = read(lambda: Uart(lambda request: framed(b"\x01\x84\x02")))
    assert type(error) is ModbusExceptionReply
    assert error.code == 2


@pytest.mark.parametrize("sent", range(len(GOOD)))
def test_reply_cut_short_times_out_in_time(sent):
    error, ms = read(lambda: Uart(lambda request: GOOD[:sent]), timeout_ms=300)
    assert type(error) is ModbusTimeout
    assert 300 <= ms - 100 <= 310


def test_stale_bytes_are_drained_before_the_request():
    registers, _ = read(
        lambda: Uart(lambda request: GOOD),
        prepare=lambda uart: uart.arrive(framed(b"\x01\x04\x04\xff\xff\xff\xff")),
    )
    assert registers == b"\x43\x66\x33\x34"


def test_late_reply_is_not_taken_for_the_next():
    late = framed(b"\x01\x04\x04\x11\x11\x11\x11")

    async def go():
        uart = Uart(lambda request: b"")
        master = modbus.ModbusMaster(uart)
        with pytest.raises(ModbusTimeout):
            await master.read_registers(1, 4, 0, 2, timeout_ms=50)
        uart.arrive_in(60, late)
        uart.peer = lambda request: GOOD
        return bytes(await master.read_registers(1, 4, 0, 2))

    assert run(go())[0] == b"\x43\x66\x33\x34"


def test_a_line_that_babbles_is_an_error_in_bounded_time():
    async def go():
        uart = Uart(lambda request: GOOD)

        async def babble():
            while True:
                uart.arrive(b"\x55" * 40)
                await asyncio.sleep(0.02)

        noise = asyncio.ensure_future(babble())
        master = modbus.ModbusMaster(uart)
        with pytest.raises(ModbusFrameError):
            await master.read_registers(1, 4, 0, 2)
        noise.cancel()

    assert run(go())[1] < 800


def test_recovers_after_each_fault():
    async def go():
        uart = Uart()
        master = modbus.ModbusMaster(uart)
        for bad in [*BAD.values(), b"", framed(b"\x01\x84\x04")]:
            uart.peer = lambda request, bad=bad: bad
            with pytest.raises(ModbusError):
                await master.read_registers(1, 4, 0, 2)
            uart.peer = lambda request: GOOD
            assert bytes(await master.read_registers(1, 4, 0, 2)) == b"\x43\x66\x33\x34"
        return True

    assert run(go())[0]


@pytest.mark.parametrize("baudrate", [9600, 19200, 115200])
@pytest.mark.parametrize("latency_ms", [1, 4, 15, 60])
def test_settled_line_costs_little_waiting(baudrate, latency_ms):
    """What the wire and the slave need, silences counted in, and at most a seventh more."""
    char_ms = 10000 / baudrate

    async def go():
        uart = Uart(lambda request: GOOD, delay_ms=latency_ms, char_us=char_ms * 1000)
        master = modbus.ModbusMaster(uart, baudrate, char_bits=10)
        await master.read_registers(1, 4, 0, 2)
        start = asyncio.get_running_loop().time()
        for _ in range(100):
            await master.read_registers(1, 4, 0, 2)
        return (asyncio.get_running_loop().time() - start) * 10

    silence_ms = max(3.5 * char_ms, 1.75)
    assert run(go())[0] <= 1.15 * (17 * char_ms + silence_ms + latency_ms) + 1


def test_driver_enable_is_high_while_we_send_and_not_a_moment_longer():
    log = []

    class Pin:
        def value(self, level):
            log.append(level)

    class Line(Uart):
        def write(self, data):
            log.append("write")
            return super().write(data)

        def flush(self):
            log.append("flush")

    async def go():
        master = modbus.ModbusMaster(Line(lambda request: GOOD), de=Pin())
        for _ in range(2):
            await master.read_registers(1, 4, 0, 2)

    run(go())
    assert log == [0] + 2 * [1, "write", "flush", 0]


def test_driver_enable_falls_when_the_uart_fails():
    levels = []

    class Pin:
        def value(self, level):
            levels.append(level)

    async def go():
        uart = Uart()
        master = modbus.ModbusMaster(uart, de=Pin())
        uart.write = lambda data: 3
        with pytest.raises(ModbusError):
            await master.read_registers(1, 4, 0, 2)

    run(go())
    assert levels == [0, 1, 0]


def test_bytes_that_nobody_asked_for_are_counted_and_waited_out():
    """A second master's traffic: its slave may answer still."""

    async def go():
        uart = Uart(lambda request: GOOD)
        master = modbus.ModbusMaster(uart)
        await master.read_registers(1, 4, 0, 2)
        uart.arrive(framed(b"\x01\x04\x00\x10\x00\x02"))
        uart.arrive_in(40, framed(b"\x01\x04\x04\xff\xff\xff\xff"))
        registers = bytes(await master.read_registers(1, 4, 0, 2))
        return registers, master.strays

    assert run(go())[0] == (b"\x43\x66\x33\x34", 1)


def test_broken_uart_is_a_modbus_error():
    def broken(uart):
        uart.broken = True

    error, _ = read(lambda: Uart(), prepare=broken)
    assert type(error) is ModbusError


def test_uart_that_takes_only_a_part_is_a_modbus_error():
    class Full(Uart):
        def write(self, data):
            return 3

    error, _ = read(Full)
    assert type(error) is ModbusError


def test_cancelled_read_leaves_the_bus_usable():
    async def go():
        uart = Uart(lambda request: GOOD, delay_ms=30)
        master = modbus.ModbusMaster(uart)
        await master.read_registers(1, 4, 0, 2)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(master.read_registers(1, 4, 0, 2), 0.01)
        # The reply to the cancelled request is still under way: it must not answer this one.
        uart.peer = lambda request: framed(b"\x01\x04\x04\x00\x00\x00\x01")
        return bytes(await master.read_registers(1, 4, 0, 2))

    assert run(go())[0] == b"\x00\x00\x00\x01"


def test_tasks_take_turns():
    def peer(request):
        return framed(bytes([request[0], 4, 2, 0, request[0]]))

    async def go():
        master = modbus.ModbusMaster(Uart(peer, delay_ms=5))

        async def one(address):
            return bytes(await master.read_registers(address, 4, 0, 1))

        return await asyncio.gather(*[one(a) for a in range(1, 9)])

    assert run(go())[0] == [bytes([0, a]) for a in range(1, 9)]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=6).map(lambda tail: b"\x01\x04\x04" + tail))
def test_nothing_is_accepted_but_the_frame_asked_for(data):
    try:
        modbus.check_reply(data, len(data), 1, 4, 2)
    except ModbusError as e:
        if isinstance(e, ModbusExceptionReply):
            assert data == framed(bytes([1, 0x84, e.code]))
        return
    assert data == framed(b"\x01\x04\x04" + data[3:7])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(min_size=4, max_size=4), st.integers(0, 8), st.integers(1, 255))
def test_one_wrong_byte_is_never_accepted(registers, index, flip):
    reply = bytearray(framed(b"\x01\x04\x04" + registers))
    reply[index] ^= flip
    with pytest.raises(ModbusError):
        modbus.check_reply(reply, len(reply), 1, 4, 2)
