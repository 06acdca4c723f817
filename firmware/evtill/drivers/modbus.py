"""Modbus RTU master: registers of meters, over an asynchronous UART.

Sources: Modbus Application Protocol V1.1b3 (sections 6.3, 6.4, 7), Modbus over Serial Line V1.02
(section 2.5.1 for frames and silences, 6.2.2 for the CRC).
"""

from array import array

from evtill.core.errors import (
    ModbusError,
    ModbusExceptionReply,
    ModbusFrameError,
    ModbusTimeout,
)
from evtill.drivers.aio import sleep_ms, ticks_diff, ticks_ms

READ_HOLDING = 3  # V1.1b3 6.3
READ_INPUT = 4  # V1.1b3 6.4
_WRITE_ONE = 6  # V1.1b3 6.6
_WRITE = 16  # V1.1b3 6.12
_WRITTEN = 8  # bytes of the reply to either: the request's first six, and a CRC
_EXCEPTION = 0x80  # V1.1b3 7: the function code with its top bit set
_MAX_COUNT = 125  # V1.1b3 6.3, 6.4: registers in one reply
_LONGEST = 256  # V1.02 2.5.1: bytes in an RTU frame
_SHORTEST = 5  # address, function, code or byte count, CRC
_REQUEST = 8  # bytes of a read request


def _crc_table():
    table = array("H")
    for nibble in range(16):
        for _ in range(4):
            nibble = (nibble >> 1) ^ 0xA001 if nibble & 1 else nibble >> 1
        table.append(nibble)
    return table


_CRC = _crc_table()  # of nibbles: one of bytes would be 512 bytes of heap


def crc16(buf, length):
    """CRC-16 of the first `length` bytes (V1.02 6.2.2). It is sent low byte first."""
    table = _CRC
    crc = 0xFFFF
    for i in range(length):
        crc ^= buf[i]
        crc = crc >> 4 ^ table[crc & 15]
        crc = crc >> 4 ^ table[crc & 15]
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


def write_request(address, start, data):
    """The request that writes `data`, whole registers, from `start` on: 1 to 123 of them."""
    count = len(data) // 2
    if not 1 <= address <= 247 or len(data) % 2 or not 1 <= count <= 123:
        raise ValueError("modbus registers")
    function = _WRITE_ONE if count == 1 else _WRITE
    head = bytes([address, function, start >> 8, start & 0xFF])
    frame = head + (data if count == 1 else bytes([0, count, 2 * count]) + data)
    crc = crc16(frame, len(frame))
    return frame + bytes([crc & 0xFF, crc >> 8])


def reply_length(buf, n, address, function, count):
    """Length in bytes that the reply beginning with `buf[:n]` must have.

    Raises ModbusFrameError as soon as a byte says that it answers something else."""
    if n and buf[0] != address:
        raise ModbusFrameError("reply from address %d, not %d" % (buf[0], address))
    if n > 1 and buf[1] != function:
        if buf[1] == function | _EXCEPTION:
            return _SHORTEST
        raise ModbusFrameError("reply to function %d, not %d" % (buf[1], function))
    if function == _WRITE or function == _WRITE_ONE:
        return _WRITTEN
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
    """Reads and writes registers, one request at a time; tasks may share it. It never retries.

    char_bits: 10 without parity and with one stop bit, else 11. late_ms: after a request that went
    wrong, and when bytes came that nobody asked for, the line must be silent for so long before
    the next request, because RTU replies carry no number: a late one would be taken for the next.
    de: pin that is high while we drive the line, where the transceiver does not see to that.

    It looks at the UART when bytes are due instead of waiting to be woken: a waiting task costs
    heap for each reply, a look costs none. `buf` holds the last reply, its registers from byte 3
    on, until the next await. `strays` counts how often bytes came that nobody asked for."""

    def __init__(self, uart, baudrate=9600, char_bits=11, late_ms=100, de=None):
        self._uart = uart
        self.baudrate = baudrate
        self.buf = bytearray(_LONGEST)
        self._view = memoryview(self.buf)
        self._n = 0
        self._tx = bytearray(_REQUEST)
        self._busy = False
        self._char_us = char_bits * 1000000 // baudrate
        # V1.02 2.5.1.1: 3.5 characters, and 1.75 ms above 19200 baud; whole milliseconds here.
        self._gap_ms = max(2, (self._char_us * 7 + 1999) // 2000)
        self._late_ms = late_ms
        self._latency_ms = 0  # how long the slaves think, as far as it is known
        self._de = de
        if de:
            de.value(0)
        # False from the first byte of a request until its reply was sound: then stale bytes may
        # come. At start too, because a reboot may have cut a request.
        self._settled = False
        self.strays = 0

    async def write(self, address, start, data, timeout_ms=600):
        """Writes `data` to the registers from `start` on. Raises as transact."""
        tx = write_request(address, start, data)
        await self.transact(address, tx[1], start, 0, timeout_ms, tx)

    async def transact(self, address, function, start, count, timeout_ms=600, tx=None):
        """Asks for registers; their `2 * count` bytes are then in `buf` from byte 3 on. tx: the
        request of a write, instead.

        `timeout_ms` is for the whole reply (74 registers at 9600 baud take 175 ms on the wire).
        Raises ModbusTimeout, ModbusFrameError, ModbusExceptionReply, or ModbusError when the UART
        itself fails."""
        while self._busy:
            await sleep_ms(self._gap_ms)
        self._busy = True
        try:
            # Awaited only where there is something to wait for: each call of a coroutine is heap.
            if self._drain() or not self._settled:
                await self._settle()
            self._settled = False
            if tx is None:
                tx = self._tx
                put_request(tx, address, function, start, count)
            self._send(tx)
            length = reply_length(self.buf, 0, address, function, count)
            air_ms = (len(tx) + length) * self._char_us // 1000
            asked = ticks_ms()
            await sleep_ms(min(air_ms + self._latency_ms, timeout_ms))
            looks = 0
            while True:
                self._take()
                length = reply_length(self.buf, self._n, address, function, count)
                passed_ms = ticks_diff(ticks_ms(), asked)
                if self._n >= length:
                    break
                if passed_ms >= timeout_ms:
                    raise ModbusTimeout("no reply: %d of %d bytes" % (self._n, length))
                # What is missing takes at least so long; and looks cost 1/16 of the time at most.
                pause_ms = (length - self._n) * self._char_us // 1000 if self._n else 0
                pause_ms = max(1, pause_ms, passed_ms >> 4)
                await sleep_ms(min(pause_ms, timeout_ms - passed_ms))
                looks += 1
            # The next reply is looked for when this one was there, and earlier each time that it
            # was there at the first look.
            if looks:
                self._latency_ms = max(0, passed_ms - air_ms - 1)
            elif self._latency_ms:
                self._latency_ms -= 1 + (self._latency_ms >> 3)
            await sleep_ms(self._gap_ms)  # the silence that ends the reply
            self._take()
            check_reply(self.buf, self._n, address, function, count)
            if tx is not self._tx and self._view[2:6] != tx[2:6]:
                raise ModbusFrameError("another write was answered")
        except ModbusExceptionReply:
            self._settled = True
            raise
        except OSError as e:
            raise ModbusError("uart: %s" % e) from e
        finally:
            self._busy = False
        self._settled = True

    async def read_registers(self, address, function, start, count, timeout_ms=600):
        """As transact; returns a view of the registers, high byte first, until the next await."""
        await self.transact(address, function, start, count, timeout_ms)
        return self._view[3 : self._n - 2]

    def _send(self, tx):
        de = self._de
        if de:
            de.value(1)
        try:
            if self._uart.write(tx) != len(tx):
                raise ModbusError("request not sent whole")
            if de:
                # Blocks for the request's time: the slave may answer 3.5 characters later, and
                # another task must not come between the last bit and letting go of the line.
                self._uart.flush()
        finally:
            if de:
                de.value(0)

    def _take(self):
        """Takes what has arrived behind what is there. Returns the number of new bytes."""
        n = self._n
        if n == _LONGEST:
            return 0
        got = self._uart.readinto(self._view[n:] if n else self._view) or 0
        self._n = n + got
        return got

    def _drain(self):
        """Forgets all that has arrived. Whether there was anything."""
        stale = False
        # Bounded: a line that babbles must not hold the loop. The caller waits for silence.
        for _ in range(8):
            self._n = 0
            if not self._take():
                break
            stale = True
        self._n = 0
        return stale

    async def _settle(self):
        """Waits until nothing comes any more that is not the answer to the request that follows.
        Raises ModbusFrameError."""
        if self._settled:
            self.strays = self.strays + 1 & 0xFFFF
        began = quiet = ticks_ms()
        while True:
            left_ms = self._late_ms - ticks_diff(ticks_ms(), quiet)
            if left_ms <= 0:
                return
            await sleep_ms(left_ms)
            if self._drain():
                quiet = ticks_ms()
                if ticks_diff(quiet, began) > 5 * self._late_ms:
                    raise ModbusFrameError("the line is never silent")
