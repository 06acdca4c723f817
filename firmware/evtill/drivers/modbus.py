"""Modbus RTU master: registers of meters, over an asynchronous UART.

Sources: Modbus Application Protocol V1.1b3 (sections 6.3, 6.4, 7), Modbus over Serial Line V1.02
(section 2.5.1 for frames and silences, 6.2.2 for the CRC).
"""

import asyncio
from array import array

from evtill.core.errors import (
    ModbusError,
    ModbusExceptionReply,
    ModbusFrameError,
    ModbusTimeout,
)
from evtill.drivers.aio import Receiver, sleep_ms, ticks_add, ticks_diff, ticks_ms

READ_HOLDING = 3  # V1.1b3 6.3
READ_INPUT = 4  # V1.1b3 6.4
_EXCEPTION = 0x80  # V1.1b3 7: the function code with its top bit set
_MAX_COUNT = 125  # V1.1b3 6.3, 6.4: registers in one reply
_LONGEST = 256  # V1.02 2.5.1: bytes in an RTU frame
_SHORTEST = 5  # address, function, code or byte count, CRC


def _crc_table():
    table = array("H")
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0xA001 if byte & 1 else byte >> 1
        table.append(byte)
    return table


_CRC = _crc_table()


def crc16(buf, length):
    """CRC-16 of the first `length` bytes (V1.02 6.2.2). It is sent low byte first."""
    table = _CRC
    crc = 0xFFFF
    for i in range(length):
        crc = (crc >> 8) ^ table[(crc ^ buf[i]) & 0xFF]
    return crc


def put_request(buf, address, function, start, count):
    """Writes the 8 bytes of a read request into `buf`.

    Address 1..247, function 3 or 4, start 0..65535, count 1..125; ValueError otherwise."""
    if not 1 <= address <= 247 or function not in (READ_HOLDING, READ_INPUT):
        raise ValueError("modbus address or function")
    if not 1 <= count <= _MAX_COUNT or not 0 <= start <= 0x10000 - count:
        raise ValueError("modbus registers")
    buf[0] = address
    buf[1] = function
    buf[2] = start >> 8
    buf[3] = start & 0xFF
    buf[4] = 0
    buf[5] = count
    crc = crc16(buf, 6)
    buf[6] = crc & 0xFF
    buf[7] = crc >> 8


def reply_length(buf, n, address, function, count):
    """Length in bytes that the reply beginning with `buf[:n]` must have.

    Raises ModbusFrameError as soon as a byte says that it answers something else."""
    if n and buf[0] != address:
        raise ModbusFrameError("reply from address %d, not %d" % (buf[0], address))
    if n > 1 and buf[1] != function:
        if buf[1] == function | _EXCEPTION:
            return _SHORTEST
        raise ModbusFrameError("reply to function %d, not %d" % (buf[1], function))
    if n > 2 and buf[2] != 2 * count:
        raise ModbusFrameError("reply of %d bytes, not %d" % (buf[2], 2 * count))
    return _SHORTEST + 2 * count


def check_reply(buf, n, address, function, count):
    """Checks every field of the whole reply `buf[:n]`; its registers are then `buf[3 : n - 2]`.

    Raises ModbusFrameError, or ModbusExceptionReply when it is a sound exception reply."""
    length = reply_length(buf, n, address, function, count)
    if n != length:
        raise ModbusFrameError("reply of %d bytes in all, not %d" % (n, length))
    if buf[n - 2] | buf[n - 1] << 8 != crc16(buf, n - 2):
        raise ModbusFrameError("reply with a wrong CRC")
    if buf[1] != function:
        raise ModbusExceptionReply(buf[2])


class ModbusMaster:
    """Reads registers, one request at a time; several tasks may share it. It never retries.

    `late_ms`: after a request that went wrong, the line must be silent for so long before the
    next one, because RTU replies carry no number: a late one would be taken for the next."""

    def __init__(self, uart, baudrate=9600, late_ms=100):
        self._uart = uart
        self._rx = Receiver(uart, _LONGEST)
        self._tx = bytearray(8)
        self._lock = asyncio.Lock()
        self._char_us = 11000000 // baudrate  # V1.02 2.5.1: 11 bits a character
        # V1.02 2.5.1.1: 3.5 characters, and 1.75 ms above 19200 baud; whole milliseconds here.
        self._gap_ms = max(2, (self._char_us * 7 + 1999) // 2000)
        self._late_ms = late_ms
        # False from the first byte of a request until its reply was sound: then stale bytes may
        # come. At start too, because a reboot may have cut a request.
        self._settled = False

    async def read_registers(self, address, function, start, count, timeout_ms=600):
        """`2 * count` bytes of registers, high byte first; valid until the next call.

        `timeout_ms` is for the whole reply (74 registers at 9600 baud take 175 ms on the wire).
        Raises ModbusTimeout, ModbusFrameError, ModbusExceptionReply, or ModbusError when the UART
        itself fails."""
        async with self._lock:
            try:
                await self._settle()
                self._settled = False
                put_request(self._tx, address, function, start, count)
                if self._uart.write(self._tx) != len(self._tx):
                    raise ModbusError("request not sent whole")
                await self._receive(address, function, count, timeout_ms)
                check_reply(self._rx.buf, self._rx.n, address, function, count)
            except ModbusExceptionReply:
                self._settled = True
                raise
            except OSError as e:
                raise ModbusError("uart: %s" % e) from e
            self._settled = True
            return self._rx.view[3 : self._rx.n - 2]

    async def _settle(self):
        """Drains what is not the answer to the request that follows. Raises ModbusFrameError."""
        rx = self._rx
        if not rx.clear() and self._settled:
            return
        silence_ms = self._gap_ms if self._settled else self._late_ms
        deadline = ticks_add(ticks_ms(), 5 * self._late_ms)
        while await rx.more(silence_ms):
            rx.clear()
            if ticks_diff(deadline, ticks_ms()) <= 0:
                raise ModbusFrameError("the line is never silent")

    async def _receive(self, address, function, count, timeout_ms):
        """Collects one reply and the silence that ends it."""
        rx = self._rx
        rx.n = 0
        length = _SHORTEST + 2 * count
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while rx.n < length:
            left_ms = ticks_diff(deadline, ticks_ms())
            if left_ms <= 0:
                raise ModbusTimeout("%d of %d bytes of reply in time" % (rx.n, length))
            if not await rx.more(left_ms):
                continue
            length = reply_length(rx.buf, rx.n, address, function, count)
            if rx.n < length:
                # Asleep until the rest is due: a wake-up per byte would be a task per byte.
                due_ms = (length - rx.n) * self._char_us // 1000
                await sleep_ms(max(0, min(due_ms, ticks_diff(deadline, ticks_ms()))))
                rx.take()
                length = reply_length(rx.buf, rx.n, address, function, count)
        await sleep_ms(self._gap_ms)
        rx.take()
