"""A meter of the catalogue on its RS-485 line: a real pymodbus RTU server on a pty, and faults.

The registers that it has are those of the meter's file in meters/; how values are put into them is
written here anew, with struct and exact fractions. A single holds 24 significant bits: an Eastron's
steps are 0.12 Wh at 1,045 kWh, and every whole Wh can be told apart up to 16,384 kWh.
`register_wh` says what a reader of the register gets.
"""

import asyncio
import os
import select
import struct
import threading
import time
import tty
from fractions import Fraction

from pymodbus.constants import ExcCodes
from pymodbus.framer.rtu import FramerRTU
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tillctl import meter_file as meters
from tillctl.meter_file import MeterFile, Value
from tillsim.meter_signer import FIRST, Signer

# The first five are the scenarios'; the others are for tests of the driver.
FAULTS = (
    "none", "silent", "wrong_crc", "exception", "foreign_reply",
    "wrong_function", "wrong_count", "short", "long",
)  # fmt: skip

_REQUEST = 8  # bytes of every request that this meter answers (functions 3 and 4)
_STALL_S = 5.0
_INTEGERS = {meters.U16: ">H", meters.S16: ">h", meters.U32: ">I", meters.S32: ">i",
             meters.U64: ">Q", meters.S64: ">q"}  # fmt: skip
_FLOATS = {meters.FLOAT32: ">f", meters.FLOAT64: ">d"}


def encode(kind: int, value: Fraction) -> bytes:
    """The registers of `kind` that hold the number nearest to `value`, in the meter's unit."""
    base = kind & 15
    if base in _INTEGERS:
        raw = struct.pack(_INTEGERS[base], round(value))
    elif base in _FLOATS:
        raw = struct.pack(_FLOATS[base], float(value))
    else:
        exponent = -3  # as fine as 24 bits allow
        while abs(round(value / Fraction(10) ** exponent)) >= 1 << 23:
            exponent += 1
        mantissa = round(value / Fraction(10) ** exponent)
        raw = struct.pack(">b", exponent) + struct.pack(">i", mantissa)[1:]
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    return b"".join(words[::-1] if kind & meters.LOW_FIRST else words)


def held(kind: int, raw: bytes) -> Fraction:
    """The number that the registers `raw` of `kind` hold."""
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    raw = b"".join(words[::-1] if kind & meters.LOW_FIRST else words)
    base = kind & 15
    if base in (meters.T5, meters.T6):
        signed = struct.unpack(">i", raw[1:] + b"\x00")[0] >> 8
        return signed * Fraction(10) ** struct.unpack(">b", raw[:1])[0]
    return Fraction(struct.unpack((_INTEGERS | _FLOATS)[base], raw)[0])


class MeterWire:
    """One meter. `feed` takes bytes from the bus and returns bytes for it; not thread-safe.

    model: a name of the catalogue, or a meter's file; address: 0 for the factory's."""

    def __init__(self, address: int = 0, model: str | MeterFile = "sdm630",
                 serial: int = 1234567) -> None:  # fmt: skip
        self.meter = meters.find(model) if isinstance(model, str) else model
        self.address = address or self.meter.address
        self.fault = "none"
        self.requests = 0  # sound requests for this meter, answered or not
        self._rx = b""
        self._lock = threading.Lock()
        self._wh = 0
        self._power_w = 0.0
        self._voltage_mv = [230000, 230000, 230000]
        self._current_ma: list[int] | None = None
        self._serial = self._serial_registers(serial)
        self.signer = Signer(self._signed) if self.meter.signs else None
        self._device = SimDevice(
            id=self.address,
            simdata=(
                [SimData(0, values=False, datatype=DataType.BITS)],
                [SimData(0, values=False, datatype=DataType.BITS)],
                self._blocks(3),
                self._blocks(4),
            ),
            action=self._on_read,
        )
        self._start()

    # --- what the meter measures ---

    def set(
        self,
        register_wh: int | None = None,
        power_w: float | None = None,
        voltage_mv: list[int] | tuple[int, ...] | None = None,
        current_ma: list[int] | tuple[int, ...] | None = None,
    ) -> None:
        """Sets what the meter measures; None leaves as is. Energy in whole Wh, phases in threes.

        Until currents are set they follow from power and voltages, evenly over the phases."""
        with self._lock:
            if register_wh is not None:
                self._wh = register_wh
            if power_w is not None:
                self._power_w = power_w
            if voltage_mv is not None:
                self._voltage_mv = list(voltage_mv)
            if current_ma is not None:
                self._current_ma = list(current_ma)

    def replace(self, serial: int) -> None:
        """Another meter of the model in its place."""
        with self._lock:
            self._serial = self._serial_registers(serial)

    def _signed(self) -> tuple[str, int]:
        return self._serial.rstrip(b"\0").decode(), self.register_wh

    @property
    def register_wh(self) -> int:
        """Energy in Wh, half-up, as a reader of the register computes it."""
        energy = self.meter.values[0]
        unit = Fraction(energy.times, energy.through)
        return int(held(energy.kind, encode(energy.kind, self._wh / unit)) * unit + Fraction(1, 2))

    def _measured(self, value: Value) -> Fraction:
        """What the meter measures, in Wh, W, mV or mA."""
        if value.what == meters.ENERGY:
            return Fraction(self._wh)
        if value.what == meters.POWER:
            return Fraction(self._power_w)
        if value.what < meters.CURRENT:
            return Fraction(self._voltage_mv[value.what - meters.VOLTAGE])
        if self._current_ma is not None:
            return Fraction(self._current_ma[value.what - meters.CURRENT])
        phases = sum(v.what >= meters.CURRENT for v in self.meter.values)
        millivolts = self._voltage_mv[value.what - meters.CURRENT]
        milliwatts = abs(Fraction(self._power_w)) * 1000
        return milliwatts * 1000 / phases / millivolts if millivolts else Fraction(0)

    def _registers(self) -> dict[int, bytes]:
        """Register: what it holds."""
        found = {}
        with self._lock:
            for v in self.meter.values:
                raw = encode(v.kind, self._measured(v) / Fraction(v.times, v.through))
                for i in range(0, len(raw), 2):
                    found[v.register + i // 2] = raw[i : i + 2]
                if v.exponent_register is not None:
                    found[v.exponent_register] = bytes(2)
        return found

    def _serial_registers(self, serial: int) -> bytes:
        if self.meter.serial is None:
            return b""
        _, count, _, form = self.meter.serial
        if form == meters.NUMBER:
            return serial.to_bytes(2 * count, "big")
        if form == meters.HEX:
            return bytes.fromhex(f"{serial:0{4 * count}d}")
        if form == meters.TEXT_LOW:
            return b"".join(bytes([0, c]) for c in f"{serial:0{count}d}".encode())
        return str(serial).encode().ljust(2 * count, b"\0")

    def _blocks(self, function: int) -> list[SimData]:
        """The registers that there are; between them pymodbus answers that there are none."""
        ranges: list[list[int]] = []
        if function == self.meter.function:
            for register in sorted(self._registers()):
                if ranges and register - ranges[-1][1] <= self.meter.max_gap:
                    ranges[-1][1] = register + 1
                else:
                    ranges.append([register, register + 1])
            for one in ranges:
                one[1] += self.meter.max_gap
        for part in (self.meter.serial, self.meter.identity):
            if part and part[0] == function:
                start, end = part[2], part[2] + part[1]
                if not any(a <= start and end <= b for a, b in ranges):
                    ranges.append([start, end])
        return [
            SimData(start, count=end - start, datatype=DataType.REGISTERS, readonly=True)
            for start, end in sorted(ranges or [[0xFFFE, 0xFFFF]])
        ]

    async def _on_read(
        self,
        function_code: int,
        start_address: int,
        address: int,
        count: int,
        registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """pymodbus asks before each answer; the values are put in place right then."""
        if self.fault == "exception":
            return ExcCodes.DEVICE_FAILURE
        if count > self.meter.max_registers:
            return ExcCodes.ILLEGAL_VALUE
        held_here = self._registers() if function_code == self.meter.function else {}
        for part, raw in (
            (self.meter.serial, self._serial),
            (self.meter.identity, self.meter.identity[3][0] if self.meter.identity else b""),
        ):
            if part and part[0] == function_code and (address, count) == (part[2], part[1]):
                held_here |= {part[2] + i // 2: raw[i : i + 2] for i in range(0, len(raw), 2)}
        for register, raw in held_here.items():
            if 0 <= register - start_address < len(registers):
                registers[register - start_address] = int.from_bytes(raw, "big")
        return None

    # --- its wire ---

    def feed(self, data: bytes) -> bytes:
        """What the meter says to the bytes `data`; requests may come in pieces or behind noise."""
        self._rx += data
        said = b""
        while len(self._rx) >= _REQUEST:
            length = _REQUEST
            if self.signer and self._rx[1] == 16:
                length = 9 + self._rx[6]
                if len(self._rx) < length:
                    break
            request = self._rx[:length]
            known = (3, 4, 6, 16) if self.signer else (3, 4)
            if request[1] not in known or not _crc_is_right(request):
                self._rx = self._rx[1:]
                continue
            self._rx = self._rx[length:]
            # A slave that is not asked is silent; pymodbus would answer for any address.
            if request[0] == self.address:
                said += self.exchange(request)
        return said

    def exchange(self, request: bytes) -> bytes:
        """The reply to one whole request to this meter, with the fault; empty for silence."""
        self.requests += 1
        if self.fault not in FAULTS:
            raise ValueError(f"unknown meter fault {self.fault}")
        if self.fault == "silent":
            return b""
        reply = self._ask_server(request)
        body = reply[:-2]
        if self.fault == "wrong_crc":
            return body + bytes([reply[-2] ^ 0x01, reply[-1]])
        if self.fault == "foreign_reply":
            return _with_crc(bytes([self.address % 247 + 1]) + body[1:])
        if self.fault == "wrong_function":
            return _with_crc(body[:1] + bytes([7 - body[1]]) + body[2:])
        if self.fault == "wrong_count":
            return _with_crc(body[:2] + bytes([body[2] - 2]) + body[3:-2])
        if self.fault == "short":
            return reply[:-3]
        if self.fault == "long":
            return reply + reply[3:5]
        return reply

    def _ask_server(self, request: bytes) -> bytes:
        if self.signer and request[1] != 4 and int.from_bytes(request[2:4], "big") >= FIRST:
            return _with_crc(self.signer.answer(request))
        os.write(self._master, request)
        reply = b""
        length = 5
        deadline = time.monotonic() + _STALL_S
        while len(reply) < length:
            if not select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("pymodbus gave no whole reply")
            reply += os.read(self._master, 512)
            if len(reply) >= 3 and not reply[1] & 0x80:
                length = 5 + reply[2]
        return reply

    # --- the server behind it ---

    def _start(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._serve, args=(ready,), name="meter", daemon=True
        )
        self._thread.start()
        ready.wait(_STALL_S)
        if self._failure or not ready.is_set():
            raise RuntimeError(f"pymodbus did not start: {self._failure}")

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._server = ModbusSerialServer(
                self._device, port=os.ttyname(self._slave), baudrate=9600  # a pty has no parity
            )
            await self._server.serve_forever(background=True)
            # The port is added to the loop by a callback; only then may bytes come.
            await asyncio.sleep(0)
            ready.set()
            await self._server.serving

        try:
            asyncio.run(main())
        except Exception as e:  # noqa: BLE001 - reported by whoever waits for the server
            self._failure = e
            ready.set()

    def close(self) -> None:
        """Stops the server and gives its pty back."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(_STALL_S)
        self._thread.join(_STALL_S)
        os.close(self._master)
        os.close(self._slave)


def _crc_is_right(frame: bytes) -> bool:
    return FramerRTU.compute_CRC(frame[:-2]).to_bytes(2, "big") == frame[-2:]


def _with_crc(body: bytes) -> bytes:
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
