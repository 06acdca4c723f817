"""Iskra WM3M4C: what the meter has signed by itself, as an OCMF string.

Registers (function 3) by Iskra's user manual WM3M4 and WM3M4C, 6.5.8 to 6.5.14, as EVerest's
RsIskraMeter and Tinkerforge's bricklib2 use them too: 7000 state of the measurement, 7051 command,
7052 status of the signature, 7053 local time's minutes ahead of UTC, 7054 Unix time, 7056 bytes of
the dataset to sign, 7057 and 7058 of the signed one and of the signature, 7059 form (0: JSON), 7071
whether time is synchronised (2), 7100 on the dataset to sign, 7612 on the signed one, 8188 on the
signature (DER), 8124 on the public key. A request may name 120 registers (6.5.7, 6.5.10).
"""

from evtill.core.errors import MeterError
from evtill.drivers.aio import sleep_ms
from evtill.drivers.modbus import READ_HOLDING

_STATE, _COMMAND, _TIME, _TIME_IS_SET, _TO_SIGN = 7000, 7051, 7053, 7071, 7100
_STATUS, _STATUS_COUNT = 7052, 7
_BEGIN, _END = b"B\0", b"r\0"  # the latter signs both readings (6.5.8)
_IDLE = 0  # of the state
_PENDING = (0, 1, 2)  # of the status: not there yet
_LOOKS, _LOOK_MS = 30, 100  # signing takes up to a second (6.5.9)
_SIGNED = 15  # of the status
_DATASET, _LONGEST = 7612, 1024  # up to the public key
_SIGNATURE, _LONGEST_SIGNATURE = 8188, 80
_KEY, _KEY_COUNT = 8124, 32
_MOST = 120
# Of a SubjectPublicKeyInfo on P-256 (RFC 5480), before the point's X and Y.
_SPKI = "3059301306072a8648ce3d020106082a8648ce3d03010703420004"


async def begin(master, address, dataset, unix_s, offset_min=0, timeout_ms=600):
    """Begins a signed session. dataset: JSON, ASCII: the OCMF fields that the meter leaves to us
    (6.5.15). Raises MeterError, ModbusError: then there is none."""
    if not 2 <= len(dataset) <= _LONGEST:
        raise MeterError("a dataset of %d bytes" % len(dataset))
    state = await _read(master, address, _STATE, 2, timeout_ms)
    if state != bytes([0, _IDLE]):
        raise MeterError("the meter has a session already: state %d" % (state[0] << 8 | state[1]))
    for i, value in enumerate((offset_min & 0xFFFF, unix_s >> 16 & 0xFFFF, unix_s & 0xFFFF)):
        await _write(master, address, _TIME + i, value, timeout_ms)
    await _write(master, address, _TIME_IS_SET, 2, timeout_ms)
    await _write(master, address, 7059, 0, timeout_ms)
    even = dataset + b" " * (len(dataset) % 2)
    for i in range(0, len(even), 2 * _MOST):
        await master.write(address, _TO_SIGN + i // 2, even[i : i + 2 * _MOST], timeout_ms)
    await _write(master, address, 7056, len(dataset), timeout_ms)
    await master.write(address, _COMMAND, _BEGIN, timeout_ms)
    await _signed(master, address, timeout_ms)


async def end(master, address, timeout_ms=600):
    """Ends the signed session; read_ocmf has its begin and its end then. Raises MeterError,
    ModbusError."""
    await master.write(address, _COMMAND, _END, timeout_ms)
    await _signed(master, address, timeout_ms)


async def _write(master, address, register, value, timeout_ms):
    await master.write(address, register, bytes([value >> 8, value & 0xFF]), timeout_ms)


async def _signed(master, address, timeout_ms):
    for _ in range(_LOOKS):
        status = (await _read(master, address, _STATUS, 2, timeout_ms))[1]
        if status == _SIGNED:
            return
        if status not in _PENDING:
            raise MeterError("the meter does not sign: status %d" % status)
        await sleep_ms(_LOOK_MS)
    raise MeterError("the meter does not sign in time")


async def read_ocmf(master, address, timeout_ms=600):
    """The last signed dataset, bytes: "OCMF|{...}|{...}". Its first part is the meter's, byte for
    byte. master: ModbusMaster.

    Raises MeterError when nothing is signed, what is there is no dataset or no signature, or it
    changed meanwhile; ModbusError."""
    before = await _read(master, address, _STATUS, 2 * _STATUS_COUNT, timeout_ms)
    status = before[0] << 8 | before[1]
    if status != _SIGNED:
        raise MeterError("nothing is signed: status %d" % status)
    length = before[10] << 8 | before[11]
    signature_length = before[12] << 8 | before[13]
    if not 2 <= length <= _LONGEST or not 8 <= signature_length <= _LONGEST_SIGNATURE:
        raise MeterError("a dataset of %d bytes, signed by %d" % (length, signature_length))
    dataset = await _read(master, address, _DATASET, length, timeout_ms)
    signature = await _read(master, address, _SIGNATURE, signature_length, timeout_ms)
    if await _read(master, address, _STATUS, 2 * _STATUS_COUNT, timeout_ms) != before:
        raise MeterError("the dataset changed while it was read")
    if dataset[:1] != b"{" or dataset[-1:] != b"}" or [b for b in dataset if not 32 <= b < 127]:
        raise MeterError("the dataset is no JSON")
    if b"|" in dataset:
        raise MeterError("the dataset has a | in it")
    hexed = "".join(["%02x" % byte for byte in minimal_der(signature)])
    tail = '{"SA":"ECDSA-secp256r1-SHA256","SD":"%s"}' % hexed
    return b"OCMF|" + dataset + b"|" + tail.encode()


async def read_public_key(master, address, timeout_ms=600):
    """The meter's public key: SubjectPublicKeyInfo in lowercase hex. Raises ModbusError."""
    point = await _read(master, address, _KEY, 2 * _KEY_COUNT, timeout_ms)
    return _SPKI + "".join(["%02x" % byte for byte in point])


def minimal_der(signature):
    """An ECDSA signature whose two integers have no needless zeros before them: the meter's
    firmware leaves some, which strict verifiers refuse. Raises MeterError for what is none."""
    at = 2
    body = b""
    if signature[0] != 0x30 or signature[1] != len(signature) - 2:
        raise MeterError("the signature is no DER sequence")
    for _ in range(2):
        end = at + 2 + (signature[at + 1] if at + 1 < len(signature) else 255)
        if end > len(signature) or signature[at] != 2 or end == at + 2:
            raise MeterError("the signature is not two integers")
        start = at + 2
        while end - start > 1 and signature[start] == 0 and signature[start + 1] < 0x80:
            start += 1
        zero = b"\0" if signature[start] >= 0x80 else b""
        body += bytes([2, end - start + len(zero)]) + zero + signature[start:end]
        at = end
    if at != len(signature):
        raise MeterError("the signature goes on after its integers")
    return bytes([0x30, len(body)]) + body


async def _read(master, address, start, length, timeout_ms):
    """`length` bytes of registers, in as few requests as may be."""
    read = b""
    while len(read) < length:
        count = min((length - len(read) + 1) // 2, _MOST)
        first = start + len(read) // 2
        await master.transact(address, READ_HOLDING, first, count, timeout_ms)
        read += bytes(memoryview(master.buf)[3 : 3 + 2 * count])
    return read[:length]
