"""An Eastron SDM630 on its RS-485 line: a real pymodbus RTU server on a pty, and faults.

Register map: Eastron SDM630-Modbus V2 user manual, Modbus protocol, 1.2 and 1.3. Energy is a
float32 in kWh with 24 significant bits: its steps are 0.12 Wh at 1,045 kWh, and every whole Wh can
be told apart up to 16,384 kWh. `register_wh` says what a reader of the register gets.
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

# The first five are the scenarios'; the others are for tests of the driver.
FAULTS = (
    "none", "silent", "wrong_crc", "exception", "foreign_reply",
    "wrong_function", "wrong_count", "short", "long",
)  # fmt: skip

_VOLTAGE, _CURRENT, _PHASE_POWER = 0x0000, 0x0006, 0x000C
_POWER, _FREQUENCY, _ENERGY = 0x0034, 0x0046, 0x0048
_INPUTS = 0x0182  # registers from 0 on; those that this simulator does not feed read as zero
_SERIAL = 0xFC00
_MOST = 80  # registers in one request: what others ask an SDM630 for (40 parameters)
_REQUEST = 8  # bytes of every request that this meter answers (functions 3 and 4)
_STALL_S = 5.0


def float32(value: float) -> float:
    """The single-precision number nearest to `value`."""
    return struct.unpack(">f", struct.pack(">f", value))[0]


class MeterWire:
    """One meter. `feed` takes bytes from the bus and returns bytes for it; not thread-safe."""

    def __init__(self, address: int = 1, model: str = "sdm630", serial: int = 1234567) -> None:
        if model != "sdm630":
            raise ValueError(f"no simulator for meter model {model}")
        self.address = address
        self.fault = "none"
        self.requests = 0  # sound requests for this meter, answered or not
        self._rx = b""
        self._lock = threading.Lock()
        self._wh = 0
        self._power_w = 0.0
        self._voltage_mv = [230000, 230000, 230000]
        self._current_ma: list[int] | None = None
        self._device = SimDevice(
            id=address,
            simdata=(
                [SimData(0, values=False, datatype=DataType.BITS)],
                [SimData(0, values=False, datatype=DataType.BITS)],
                [SimData(_SERIAL, values=serial, datatype=DataType.UINT32, readonly=True)],
                [SimData(0, count=_INPUTS, datatype=DataType.REGISTERS, readonly=True)],
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

    @property
    def register_wh(self) -> int:
        """Energy in Wh, half-up, as a reader of the float32 kWh register computes it."""
        held = Fraction(float32(self._wh / 1000))
        return int(held * 1000 + Fraction(1, 2))

    def _inputs(self) -> dict[int, float]:
        with self._lock:
            volts = [mv / 1000 for mv in self._voltage_mv]
            watts = self._power_w / 3
            amps = (
                [abs(watts) / v if v else 0.0 for v in volts]
                if self._current_ma is None
                else [ma / 1000 for ma in self._current_ma]
            )
            inputs = {_POWER: self._power_w, _FREQUENCY: 50.0, _ENERGY: self._wh / 1000}
        for phase in range(3):
            inputs[_VOLTAGE + 2 * phase] = volts[phase]
            inputs[_CURRENT + 2 * phase] = amps[phase]
            inputs[_PHASE_POWER + 2 * phase] = watts
        return inputs

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
        if count > _MOST:
            return ExcCodes.ILLEGAL_VALUE
        if function_code == 4:
            for register, value in self._inputs().items():
                high, low = struct.unpack(">HH", struct.pack(">f", value))
                registers[register - start_address] = high
                registers[register - start_address + 1] = low
        return None

    # --- its wire ---

    def feed(self, data: bytes) -> bytes:
        """What the meter says to the bytes `data`; requests may come in pieces or behind noise."""
        self._rx += data
        said = b""
        while len(self._rx) >= _REQUEST:
            request = self._rx[:_REQUEST]
            if request[1] not in (3, 4) or not _crc_is_right(request):
                self._rx = self._rx[1:]
                continue
            self._rx = self._rx[_REQUEST:]
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
