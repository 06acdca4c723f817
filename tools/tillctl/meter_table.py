"""A meter's file as the compact table that its board reads, and the requests of a sample.

The layout is that of evtill/drivers/meters.py, which reads it. A sample costs bus time: which
registers are asked for together is worked out here, once."""

import struct
from collections.abc import Iterator
from zlib import crc32

from evtill.core.errors import MeterError
from tillctl.meter_file import ENERGY, FLOAT32, FLOAT64, POWER, MeterFile, PulseFile, Value

# What a request costs beside its registers, in characters: its own 8 bytes, 5 around the reply's
# registers, a silence of 3.5 characters before each (V1.02 2.5.1), and what meters take to answer:
# 20 characters are 21 ms at 9600 baud.
_FRAMES = 8 + 5 + 7
_ANSWER = 20

Request = tuple[int, int]  # first register, count


def plan(meter: MeterFile) -> list[tuple[Request, list[Value]]]:
    """The requests of a sample, each with the values in it: of all ways that the meter allows the
    one with least bus time; energy and power in one request where any way has them so.

    The energy's comes last, the power's right before it. Raises MeterError."""
    best = _best(meter, _FRAMES + _ANSWER)
    return sorted(([(_span(group), group) for group in best]), key=_turn)


def minimum_chars(meter: MeterFile) -> int:
    """The characters that a sample takes at least, silences counted in: over every way to ask
    that `plan` chooses from, were every answer there at once."""
    return sum(_FRAMES + 2 * _span(group)[1] for group in _best(meter, _FRAMES))


def chars(meter: MeterFile) -> int:
    """The characters that a sample takes, silences counted in."""
    return sum(_FRAMES + 2 * count for (_, count), _ in plan(meter))


def _best(meter: MeterFile, cost: int) -> list[list[Value]]:
    """The best way to ask when a request costs `cost` characters beside its registers."""
    best: tuple[tuple[bool, int], list[list[Value]]] | None = None
    for groups in _ways(sorted(meter.values, key=lambda v: v.register)):
        if all(_allowed(meter, group) for group in groups):
            apart = not any({ENERGY, POWER} <= {v.what for v in g} for g in groups)
            score = (apart, sum(cost + 2 * _span(group)[1] for group in groups))
            if best is None or score < best[0]:
                best = score, groups
    if best is None:
        raise MeterError(f"{meter.name}: its exponent register is out of one request's reach")
    return best[1]


def _turn(request: tuple[Request, list[Value]]) -> tuple[int, int]:
    whats = {v.what for v in request[1]}
    return (2 if ENERGY in whats else 1 if POWER in whats else 0, request[0][0])


def _ways(values: list[Value]) -> Iterator[list[list[Value]]]:
    """Every way to cut the list into pieces."""
    for cuts in range(1 << len(values) - 1):
        groups = [[values[0]]]
        for i, value in enumerate(values[1:]):
            if cuts >> i & 1:
                groups.append([])
            groups[-1].append(value)
        yield groups


def _ranges(group: list[Value]) -> list[Request]:
    found = [(v.register, v.size) for v in group]
    found += [(v.exponent_register, 1) for v in group if v.exponent_register is not None]
    return sorted(found)


def _span(group: list[Value]) -> Request:
    ranges = _ranges(group)
    first = ranges[0][0]
    return first, max(start + count for start, count in ranges) - first


def _allowed(meter: MeterFile, group: list[Value]) -> bool:
    end, count = _span(group)
    if count > meter.max_registers:
        return False
    for start, count in _ranges(group):
        if start - end > meter.max_gap:
            return False
        end = max(end, start + count)
    return True


def step_wh(meter: MeterFile) -> int:
    """The energy register's step in Wh; 0 where it is finer, or where it floats."""
    energy = next(v for v in meter.values if v.what == ENERGY)
    if energy.kind & 15 in (FLOAT32, FLOAT64) or energy.exponent_register is not None:
        return 0
    return energy.times // energy.through


def compile_table(meter: MeterFile | PulseFile) -> bytes:
    """The board's table. Raises MeterError."""
    if isinstance(meter, PulseFile):
        table = struct.pack("<3sIH", b"EP\x01", meter.per_kwh, meter.least_ms)
        table += f"{meter.name}\n{meter.vendor}".encode()
        return table + struct.pack("<I", crc32(table))
    requests = plan(meter)
    values = b""
    for i, ((first, _), group) in enumerate(requests):
        for v in group:
            exponent = 255 if v.exponent_register is None else 2 * (v.exponent_register - first)
            values += bytes([v.what, i, 2 * (v.register - first), v.kind, exponent])
            values += v.times.to_bytes(3, "little") + v.through.to_bytes(3, "little")
    table = struct.pack(
        "<3sBBIBBBHQ", b"EM\x01", len(requests), len(meter.values), meter.baud,
        ord(meter.parity[0].upper()), meter.stop_bits, meter.address, step_wh(meter),
        meter.modulus_wh,
    )  # fmt: skip
    for (first, count), _ in requests:
        table += struct.pack(">BBH", meter.function, count, first)
    table += values
    table += struct.pack(">BBHB", *(meter.serial or (0, 0, 0, 0)))
    if meter.identity:
        function, count, start, options = meter.identity
        table += struct.pack(">BBHB", function, count, start, len(options)) + b"".join(options)
    else:
        table += bytes(5)
    table += f"{meter.name}\n{meter.vendor}".encode() + b"\nocmf" * meter.signs
    return table + struct.pack("<I", crc32(table))

