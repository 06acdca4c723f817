"""The WM3M4C's own OCMF: what the meter signed reaches strangers' eyes unchanged, or not at all."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from evtill.core.errors import MeterError, ModbusError
from evtill.drivers import iskra
from evtill.drivers.modbus import ModbusMaster
from host_tests.drivers.test_modbus import framed
from host_tests.fakes.loop import run
from host_tests.fakes.uart import Uart

KEY = ec.derive_private_key(0x1234567890, ec.SECP256R1())


def dataset(n=0):
    """Of the shape that Iskra's manual shows (6.5.15)."""
    reading = {"TM": "2026-03-02T08:14:05,000+0100 S", "TX": "B", "RV": 1045.12, "RI": "1-0:1.8.0",
               "RU": "kWh", "ST": "G"}  # fmt: skip
    body = {"FV": "1.0", "GI": "evtill", "PG": f"T{n}", "MV": "Iskra", "MM": "WM3M4C",
            "MS": "1234567", "RD": [reading] * 4}  # fmt: skip
    return json.dumps(body, separators=(",", ":")).encode()


def padded(signature):
    """As the meter's firmware writes it: 33 bytes each, zeros before."""
    body = b"".join(b"\x02\x21" + n.to_bytes(33, "big") for n in decode_dss_signature(signature))
    return bytes([0x30, len(body)]) + body


class Registers:
    """A slave at address 33 with the WM3M4C's holding registers."""

    def __init__(self, data, signature):
        self.held = {}
        self.requests = 0
        self.put(7052, (15).to_bytes(2, "big"))
        self.put(7057, len(data).to_bytes(2, "big"))
        self.put(7058, len(signature).to_bytes(2, "big"))
        self.put(7612, data)
        self.put(8188, signature)
        point = KEY.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self.put(8124, point[1:])

    def put(self, start, data):
        for i in range(0, len(data), 2):
            self.held[start + i // 2] = data[i : i + 2].ljust(2, b"\0")

    def __call__(self, request):
        self.requests += 1
        start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if count > 120:
            return framed(bytes([request[0], 0x83, 3]))
        body = b"".join(self.held.get(start + i, b"\0\0") for i in range(count))
        return framed(bytes([request[0], 3, 2 * count]) + body)


def read(slave):
    return run(iskra.read_ocmf(ModbusMaster(Uart(slave), 115200), 33))[0]


@pytest.mark.parametrize("n", range(8))
def test_what_the_meter_signed_verifies_by_its_own_key(n):
    data = dataset(n)
    slave = Registers(data, padded(KEY.sign(data, ec.ECDSA(hashes.SHA256()))))
    magic, middle, tail = read(slave).split(b"|")
    assert (magic, middle) == (b"OCMF", data)
    signed = json.loads(tail)
    assert signed["SA"] == "ECDSA-secp256r1-SHA256"
    spki = run(iskra.read_public_key(ModbusMaster(Uart(slave), 115200), 33))[0]
    key = serialization.load_der_public_key(bytes.fromhex(spki))
    key.verify(bytes.fromhex(signed["SD"]), middle, ec.ECDSA(hashes.SHA256()))
    assert slave.requests <= 2 + -(-len(data) // 240) + 1 + 1


@given(st.integers(1, 2**256 - 1), st.integers(1, 2**256 - 1))
def test_minimal_der_is_what_openssl_writes(r, s):
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    signature = encode_dss_signature(r, s)
    assert iskra.minimal_der(padded(signature)) == iskra.minimal_der(signature) == signature


@given(st.binary(min_size=2, max_size=80))
def test_anything_else_is_refused_or_two_integers(raw):
    try:
        der = iskra.minimal_der(raw)
    except MeterError:
        return
    assert der[0] == 0x30 and len(der) == der[1] + 2
    decode_dss_signature(der) if der[4] < 0x80 else None


@pytest.mark.parametrize(
    ("register", "value", "why"),
    [(7052, 2, "status 2"), (7052, 254, "status 254"), (7057, 1025, "1025 bytes"),
     (7057, 0, "0 bytes"), (7058, 81, "signed by 81"), (8188, 0, "no DER"),
     (7612, 0x7B7C, "no JSON|has a"), (7612, 0x2020, "no JSON")],
)  # fmt: skip
def test_what_is_not_whole_is_refused(register, value, why):
    data = dataset()
    slave = Registers(data, KEY.sign(data, ec.ECDSA(hashes.SHA256())))
    slave.put(register, value.to_bytes(2, "big"))
    with pytest.raises(MeterError, match=why):
        read(slave)


class Signing(Registers):
    """The meter itself: takes a dataset, signs it with its readings when it is told to."""

    def __init__(self, status_after=15, looks=3):
        super().__init__(b"", b"")
        self.put(7000, b"\0\0")
        self.put(7052, b"\0\1")
        self.status_after, self.looks = status_after, looks
        self.pending = 0

    def __call__(self, request):
        function, start = request[1], int.from_bytes(request[2:4], "big")
        if function == 3:
            if start == 7052 and self.pending:
                self.pending -= 1
                self.put(7052, bytes([0, 2 if self.pending else self.status_after]))
            return super().__call__(request)
        self.put(start, request[4:6] if function == 6 else request[7:-2])
        if start == 7051:
            self.sign(request[4:5])
        return framed(request[:6])

    def number(self, register):
        return int.from_bytes(self.held[register], "big")

    def sign(self, command):
        self.put(7000, b"\0\1" if command == b"B" else b"\0\0")
        self.pending = self.looks
        body = b"".join(self.held[7100 + i] for i in range((self.number(7056) + 1) // 2))
        given = json.loads(body[: self.number(7056)])
        unix_s = self.number(7054) << 16 | self.number(7055)
        data = json.dumps(given | {"PG": command.decode(), "TM": unix_s}).encode()
        signature = padded(KEY.sign(data, ec.ECDSA(hashes.SHA256())))
        for register, value in ((7057, data), (7058, signature)):
            self.put(register, len(value).to_bytes(2, "big"))
        self.put(7612, data)
        self.put(8188, signature)


def session_of(slave, dataset):
    async def go():
        master = ModbusMaster(Uart(slave), 115200)
        await iskra.begin(master, 33, dataset, 1772434045, 60)
        began = await iskra.read_ocmf(master, 33)
        await iskra.end(master, 33)
        return began, await iskra.read_ocmf(master, 33)

    return run(go())[0]


@pytest.mark.parametrize("extra", [0, 1, 300])
def test_a_signed_session(extra):
    given = json.dumps({"FV": "1.0", "GI": "evtill", "ID": "x" * extra}).encode()
    slave = Signing()
    for said, command in zip(session_of(slave, given), "Br", strict=True):
        _, data, tail = said.split(b"|")
        assert json.loads(data) == json.loads(given) | {"PG": command, "TM": 1772434045}
        KEY.public_key().verify(
            bytes.fromhex(json.loads(tail)["SD"]), data, ec.ECDSA(hashes.SHA256())
        )
    assert slave.number(7053) == 60 and slave.number(7071) == 2


def test_a_meter_that_has_a_session_already_begins_none():
    slave = Signing()
    slave.put(7000, b"\0\2")
    with pytest.raises(MeterError, match="state 2"):
        session_of(slave, b"{}")
    assert slave.held.get(7051) is None


@pytest.mark.parametrize(
    ("options", "why"),
    [({"status_after": 128}, "status 128"), ({"looks": 99}, "in time")],
)
def test_a_meter_that_does_not_sign_is_an_error_in_bounded_time(options, why):
    with pytest.raises(MeterError, match=why):
        session_of(Signing(**options), b"{}")


def test_a_dataset_that_changes_while_it_is_read_is_refused():
    data = dataset()
    slave = Registers(data, KEY.sign(data, ec.ECDSA(hashes.SHA256())))

    def changing(request):
        if slave.requests == 3:
            slave.put(7057, (len(data) - 1).to_bytes(2, "big"))
        return slave(request)

    with pytest.raises(MeterError, match="changed"):
        read(changing)


def test_a_wire_that_fails_is_a_modbus_error():
    with pytest.raises(ModbusError):
        read(lambda request: b"")


def test_the_digest_is_over_the_meters_bytes():
    """OCMF 1.0: the signature is over the payload section as it stands."""
    data = dataset()
    slave = Registers(data, KEY.sign(data, ec.ECDSA(hashes.SHA256())))
    middle = read(slave).split(b"|")[1]
    assert hashlib.sha256(middle).digest() == hashlib.sha256(data).digest()
