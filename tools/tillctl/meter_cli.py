"""`tillctl meter list | show | check | probe | read`."""

import argparse
import asyncio
import json
import os
import sys
import termios
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import serial

from evtill.core.errors import MeterError, ModbusError, ModbusExceptionReply
from evtill.drivers.meters import Meter
from evtill.drivers.modbus import ModbusMaster
from tillctl import meter_file, meter_table
from tillctl.meter_file import ENERGY, FORMS, KINDS, LOW_FIRST, POWER, MeterFile, PulseFile, Value

_PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
_PROBE_MS = 150  # a meter answers within 100 ms or so, and its answer's first bytes are enough
# In the order in which meters are met; what they leave the factory with goes first.
_LIKELY = ((9600, "none"), (19200, "even"), (9600, "even"), (19200, "none"), (115200, "none"),
           (38400, "none"), (2400, "none"))  # fmt: skip


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "meter", help="list, describe, find and read energy meters",
        description="Meters on an RS-485 adapter, by the files of the catalogue in meters/. "
        "A meter may be named by its name or by the path of a file ending in .toml.",
    )  # fmt: skip
    sub = parser.add_subparsers(metavar="COMMAND", required=True, dest="meter_command")

    p = sub.add_parser("list", help="the meters of the catalogue")
    p.set_defaults(run=_list)

    p = sub.add_parser("show", help="a meter's registers, requests and sources")
    p.add_argument("name", metavar="NAME|FILE")
    p.set_defaults(run=_show)

    p = sub.add_parser("check", help="lint a meter's file",
                       description="Exit code 1 and a line for what is wrong.")  # fmt: skip
    p.add_argument("file", nargs="+", metavar="FILE")
    p.set_defaults(run=_check)

    p = sub.add_parser(
        "probe", help="find baud rate, parity, address and model",
        description="Tries what meters leave the factory with first. Nobody else may speak on the "
        "bus meanwhile.",
    )  # fmt: skip
    p.add_argument("port", help="serial port, such as /dev/ttyUSB0")
    p.add_argument("--baud", type=int, choices=meter_file.BAUDS, help="this one alone")
    p.add_argument("--parity", choices=meter_file.PARITIES, help="this one alone")
    p.add_argument("--address", type=_addresses, metavar="N|N-M",
                   help="these alone; default: the factories', then 1 to 247")  # fmt: skip
    p.add_argument("--json", action="store_true", help="what was found, a line of JSON each")
    p.set_defaults(run=_probe)

    p = sub.add_parser("read", help="one reading of a meter")
    p.add_argument("port", help="serial port, such as /dev/ttyUSB0")
    p.add_argument("--meter", required=True, metavar="NAME|FILE")
    p.add_argument("--address", type=int, default=0, metavar="N", help="default: the factory's")
    p.add_argument("--baud", type=int, choices=meter_file.BAUDS, help="default: the factory's")
    p.add_argument("--parity", choices=meter_file.PARITIES, help="default: the factory's")
    p.add_argument("--timeout-ms", type=int, default=1000, metavar="MS",
                   help="for one answer; default: %(default)s")  # fmt: skip
    p.add_argument(
        "--json", action="store_true",
        help="{energy_wh, power_w, voltage_mv: [], current_ma: [], serial, time}",
    )  # fmt: skip
    p.set_defaults(run=_read)


def _addresses(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1 or found[-1] > 247:
        raise argparse.ArgumentTypeError(f"{text!r} is no address from 1 to 247, nor two as 1-20")
    return found


# --- the catalogue ------------------------------------------------------------------------------


def _list(_: argparse.Namespace) -> int:
    for meter in meter_file.everything():
        if isinstance(meter, PulseFile):
            how = f"{meter.per_kwh} pulses a kWh"
        else:
            line = f"{meter.baud} 8{meter.parity[0].upper()}{meter.stop_bits}"
            how = f"{line}, address {meter.address}"
        doubt = "  (not all confirmed)" if meter.unconfirmed else ""
        print(f"{meter.name:10} {meter.vendor} {meter.model}, {how}{doubt}")
    return 0


def _show(args: argparse.Namespace) -> int:
    meter = meter_file.find_any(args.name)
    print(f"{meter.name}: {meter.vendor} {meter.model}")
    if isinstance(meter, PulseFile):
        print(f"  pulses    {meter.per_kwh} a kWh, of {meter.least_ms} ms at least")
    else:
        _show_registers(meter)
    for source in meter.sources:
        print(f"  source    {source}")
    if meter.unconfirmed:
        print(f"  not confirmed: {' '.join(meter.unconfirmed.split())}")
    return 0


def _show_registers(meter: MeterFile) -> None:
    print(f"  line      {meter.baud} baud, {meter.parity} parity, {meter.stop_bits} stop bit(s), "
          f"address {meter.address}")  # fmt: skip
    for value in meter.values:
        print(f"  {_name(value):9} {_describe(value)}")
    if meter.modulus_wh:
        print(f"  rollover  {meter.modulus_wh} Wh")
    if meter.serial:
        function, count, start, form = meter.serial
        print(f"  serial    function {function}, {start:#06x}, {count} registers, "
              f"{_key(FORMS, form)}")  # fmt: skip
    if meter.identity:
        function, count, start, options = meter.identity
        known = ", ".join(_option(option) for option in options)
        print(f"  identity  function {function}, {start:#06x}: {known}")
    requests = [span for span, _ in meter_table.plan(meter)]
    print(f"  requests  function {meter.function}: "
          + ", ".join(f"{start:#06x} + {count}" for start, count in requests)
          + f"; {meter_table.chars(meter)} characters a sample")  # fmt: skip


def _name(value: Value) -> str:
    section = meter_file.section_of(value.what)
    return section if value.what in (ENERGY, POWER) else f"{section} {(value.what - 2) % 3 + 1}"


def _describe(value: Value) -> str:
    words = ", low word first" if value.kind & LOW_FIRST else ""
    unit = {"energy": "Wh", "power": "W", "voltage": "mV", "current": "mA"}
    times = f"{value.times}" if value.through == 1 else f"{value.times}/{value.through}"
    exponent = (
        "" if value.exponent_register is None else f" x 10^[{value.exponent_register:#06x}]"
    )
    kind = _key(KINDS, value.kind & 15) + words
    section = meter_file.section_of(value.what)
    return f"{value.register:#06x} {kind} x {times} {unit[section]}{exponent}"


def _key(table: dict[str, int], number: int) -> str:
    return next(key for key, value in table.items() if value == number)


def _option(option: bytes) -> str:
    printable = len(option) > 2 and all(32 <= c < 127 for c in option)
    return repr(option.decode()) if printable else "0x" + option.hex()


def _check(args: argparse.Namespace) -> int:
    failed = 0
    for file in args.file:
        path = file if file.endswith(".toml") else f"{file}.toml"
        try:
            meter = meter_file.find_any(path)
            if isinstance(meter, PulseFile):
                print(f"{meter.name}: {meter.per_kwh} pulses a kWh")
                continue
            requests = meter_table.plan(meter)
            Meter(None, meter_table.compile_table(meter))
        except MeterError as e:
            print(e, file=sys.stderr)
            failed = 1
            continue
        asked = ", ".join(f"{start:#06x} + {count}" for (start, count), _ in requests)
        print(f"{file}: {meter.vendor} {meter.model}: {len(requests)} request(s) a sample: {asked}")
        wh = meter_table.step_wh(meter)
        if wh > 10:
            print(f"{file}: warning: the energy register counts in steps of {wh} Wh")
    return failed


# --- the wire -----------------------------------------------------------------------------------


class _Port(serial.Serial):
    """A serial port as the firmware's Modbus master wants it: nothing ever blocks. A pty has no
    parity, and is not asked for any."""

    def __init__(self, path: str, baud: int, parity: str, stop_bits: int = 1) -> None:
        self._is_pty = os.path.realpath(path).startswith("/dev/pts/")
        try:
            super().__init__(path, baud, parity=self._parity_of(parity), stopbits=stop_bits,
                             timeout=0)  # fmt: skip
        except (OSError, ValueError, termios.error) as e:
            raise MeterError(f"{path}: {e}") from None

    def _parity_of(self, parity: str) -> str:
        return serial.PARITY_NONE if self._is_pty else _PARITIES[parity]

    def set_line(self, baud: int, parity: str) -> None:
        try:
            self.baudrate = baud
            self.parity = self._parity_of(parity)
        except (OSError, ValueError, termios.error) as e:
            raise MeterError(f"{self.port}: {baud} baud, {parity} parity: {e}") from None


def _master(port: _Port, late_ms: int = 50) -> ModbusMaster:
    return ModbusMaster(port, port.baudrate, 11, late_ms)


def _read(args: argparse.Namespace) -> int:
    meter = meter_file.find(args.meter)
    if not 0 <= args.address <= 247:
        raise MeterError(f"--address {args.address}: 1 to 247 expected")
    meter = replace(
        meter, baud=args.baud or meter.baud, parity=args.parity or meter.parity,
        address=args.address or meter.address,
    )  # fmt: skip
    with _Port(args.port, meter.baud, meter.parity, meter.stop_bits) as port:
        found = asyncio.run(_reading(port, meter, args.timeout_ms))
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"energy   {found['energy_wh'] / 1000:.3f} kWh")
    print(f"power    {found['power_w']} W")
    print("voltage  " + "  ".join(f"{mv / 1000:.1f} V" for mv in found["voltage_mv"]))
    print("current  " + "  ".join(f"{ma / 1000:.3f} A" for ma in found["current_ma"]))
    print(f"serial   {found['serial'] or 'in no register: see the nameplate'}")
    print(f"time     {found['time']}")
    return 0


async def _reading(port: _Port, meter: MeterFile, timeout_ms: int) -> dict[str, Any]:
    """Raises MeterError."""
    one = Meter(_master(port), meter_table.compile_table(meter), timeout_ms=timeout_ms)
    serial_number = None
    try:
        try:
            reading = await _patiently(one.read)
        except ModbusExceptionReply as e:
            # Some meters of a series name fewer registers, or let no request run over the others.
            print(f"{meter.name}: {e}: asking for its values one by one", file=sys.stderr)
            apart = replace(meter, max_gap=0, max_registers=max(v.size for v in meter.values))
            table = meter_table.compile_table(apart)
            one = Meter(_master(port), table, timeout_ms=timeout_ms)
            reading = await _patiently(one.read)
        if meter.serial:
            try:
                serial_number = await _patiently(one.read_serial)
            except (ModbusExceptionReply, MeterError) as e:
                print(f"{meter.name}: serial number: {e}", file=sys.stderr)
    except (ModbusError, MeterError) as e:
        where = f"{meter.baud} baud, {meter.parity} parity, address {meter.address}"
        raise MeterError(f"{port.port}: {meter.name} at {where}: {e}") from None
    measured = datetime.now(UTC).timestamp() - reading.age_ms() / 1000
    return {
        "energy_wh": reading.energy_wh, "power_w": reading.power_w,
        "voltage_mv": reading.voltage_mv, "current_ma": reading.current_ma,
        "serial": serial_number,
        "time": datetime.fromtimestamp(measured, UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What `ask()` gives, asked for three times, as a charger does."""
    for _ in range(2):
        try:
            return await ask()
        except ModbusExceptionReply:
            raise
        except ModbusError:
            continue
    return await ask()


def _probe(args: argparse.Namespace) -> int:
    known = meter_file.catalogue()
    lines = [
        (baud, parity) for baud, parity in _lines()
        if args.baud in (None, baud) and args.parity in (None, parity)
    ]  # fmt: skip
    with _Port(args.port, *lines[0]) as port:
        found = asyncio.run(_find(port, known, lines, args.address))
    for one in found:
        print(json.dumps(one) if args.json else _sentence(one))
    if not found:
        raise MeterError(f"{args.port}: no meter answers")
    return 0


def _lines() -> Iterator[tuple[int, str]]:
    yield from _LIKELY
    for parity in meter_file.PARITIES:
        for baud in (9600, 19200, 38400, 57600, 115200, 4800, 2400, 1200):
            if (baud, parity) not in _LIKELY:
                yield baud, parity


def _sentence(one: dict[str, Any]) -> str:
    model = " or ".join(one["meters"]) or "a meter that is not in the catalogue"
    serial_number = f", serial {one['serial']}" if one["serial"] else ""
    line = f"{one['baud']} baud, {one['parity']} parity, address {one['address']}"
    return f"{model} at {line}{serial_number}"


async def _find(port: _Port, known: list[MeterFile], lines: list[tuple[int, str]],
                only: range | None) -> list[dict[str, Any]]:  # fmt: skip
    """Every meter at the first baud rate and parity at which any answers."""
    factories = sorted({meter.address for meter in known} | {1, 2})
    likely = [line for line in lines if line in _LIKELY] or lines
    low = [a for a in range(1, 33) if a not in factories]
    high = [a for a in range(33, 248) if a not in factories]
    others = [line for line in lines if line not in likely]
    rounds = [(list(only), lines)] if only else [
        (factories, likely), (low, likely), (factories + low, others), (high, lines)
    ]  # fmt: skip
    for addresses, tried in rounds:
        for baud, parity in tried:
            print(f"probe: {baud} baud, {parity} parity, {len(addresses)} addresses",
                  file=sys.stderr, flush=True)  # fmt: skip
            port.set_line(baud, parity)
            master = _master(port, late_ms=10)  # a late answer names another address
            found = []
            for address in addresses:
                if await _answers(master, address, known):
                    found.append(await _identify(master, baud, parity, address, known))
            if found:
                return found
    return []


async def _answers(master: ModbusMaster, address: int, known: list[MeterFile]) -> bool:
    """Whether anything sound comes back, an exception too."""
    for function, start in ((4, 0), (3, 0)):
        try:
            await master.transact(address, function, start, 2, timeout_ms=_timeout_ms(master))
        except ModbusExceptionReply:
            return True
        except ModbusError:
            continue
        return True
    return False


def _timeout_ms(master: ModbusMaster) -> int:
    return _PROBE_MS + 24 * 11000 // master.baudrate


async def _says_so(master: ModbusMaster, address: int, meter: MeterFile) -> bool:
    """Whether the register that tells the model has anything in it: some early ones' has not."""
    assert meter.identity is not None
    function, count, start, _ = meter.identity
    try:
        return any(await master.read_registers(address, function, start, count))
    except ModbusExceptionReply:
        return False


async def _identify(master: ModbusMaster, baud: int, parity: str, address: int,
                    known: list[MeterFile]) -> dict[str, Any]:  # fmt: skip
    """{meters (names), baud, parity, address, serial}: what says so itself goes before what only
    reads like one."""
    sure: list[str] = []
    maybe: list[str] = []
    serials: dict[str, str] = {}
    for meter in known:
        one = Meter(master, meter_table.compile_table(meter), address, "-", timeout_ms=1000)
        try:
            await one.identify()
            is_sure = meter.identity is not None and await _says_so(master, address, meter)
        except (MeterError, ModbusError):
            continue
        (sure if is_sure else maybe).append(meter.name)
        try:
            serials[meter.name] = await one.read_serial() if meter.serial else ""
        except (MeterError, ModbusError):
            serials[meter.name] = ""
    names = sure or maybe
    serial_number = next((serials[name] for name in names if serials[name]), None)
    return {"meters": names, "baud": baud, "parity": parity, "address": address,
            "serial": serial_number}  # fmt: skip
