"""Cards: NTAG 424 DNA, MIFARE DESFire EV2/EV3 and plain ones, APDU in, APDU out.

Written from NXP's NT4H2421Gx Rev. 3.0 and MF2DLHX0 Rev. 3.2 (sections at each piece), with
`cryptography`'s AES and CMAC, apart from the firmware's.
"""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

KINDS = ("uid", "ntag424", "desfire")
ATS = {"ntag424": bytes.fromhex("067777710280"), "desfire": bytes.fromhex("067577810280")}
NTAG_NAME = bytes.fromhex("d2760000850101")
BLANK = bytes(16)
AID = bytes.fromhex("f5e71c")  # as the configuration's default
SYSTEM = b"evtill"

OK, MORE = b"\x91\x00", b"\x91\xaf"
# Status words of section 10.
ILLEGAL, INTEGRITY, NO_KEY, LENGTH = b"\x91\x1c", b"\x91\x1e", b"\x91\x40", b"\x91\x7e"
DENIED, WRONG_KEY, NO_APPLICATION = b"\x91\x9d", b"\x91\xae", b"\x91\xa0"
EXISTS, PARAMETER = b"\x91\xde", b"\x91\x9e"
NOT_FOUND, NO_SUCH_CLASS = b"\x6a\x82", b"\x6e\x00"


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def _encrypt(key: bytes, data: bytes, iv: bytes = bytes(16)) -> bytes:
    return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(data)


def _decrypt(key: bytes, data: bytes, iv: bytes = bytes(16)) -> bytes:
    return Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(data)


def diversified(master: bytes, *parts: bytes) -> bytes:
    """AN10922, section 2.2."""
    return _cmac(master, b"\x01" + b"".join(parts))


@dataclass
class Application:
    """Keys by number, with the versions that ChangeKey wrote."""

    keys: list[bytes]
    versions: list[int] = field(default_factory=lambda: [0] * 16)


@dataclass
class _Session:
    number: int
    ti: bytes
    enc: bytes
    mac: bytes
    counter: int = 0

    def iv(self, label: bytes) -> bytes:
        block = label + self.ti + self.counter.to_bytes(2, "little") + bytes(8)
        return _encrypt(self.enc, block)

    def tag(self, code: int, body: bytes) -> bytes:
        stamp = self.counter.to_bytes(2, "little")
        return _cmac(self.mac, bytes([code]) + stamp + self.ti + body)[1::2]


class AesCard:
    """kind: "ntag424" or "desfire". `uid`: the true one; `shown()`: what anticollision tells.

    `random`: where its randomness comes from; `log`: every (C-APDU, R-APDU)."""

    def __init__(self, kind: str, uid: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self.kind = kind
        self.uid = uid
        self.ats = ATS[kind]
        self.random = random
        self.random_id = False
        self._shown = uid
        self.log: list[tuple[bytes, bytes]] = []
        ntag = kind == "ntag424"
        self.applications = {NTAG_NAME: Application([BLANK] * 5)} if ntag else {}
        self.field_off()

    def field_off(self) -> None:
        """Out of the field: nothing volatile stays, and a random UID is drawn anew."""
        self._shown = b"\x08" + self.random(3) if self.random_id else self.uid
        self.halt()

    def halt(self) -> None:
        """DESELECT, or a new activation."""
        self._application: Application | None = None
        self._session: _Session | None = None
        self._pending: tuple[int, bytes] | None = None

    def shown(self) -> bytes:
        return self._shown

    def issue(self, master: bytes, issuer: bytes = BLANK, aid: bytes = AID,
              system: bytes = SYSTEM) -> "AesCard":  # fmt: skip
        """As personalised by an operator with these masters. Returns itself."""
        common = aid + system
        keys = [
            diversified(issuer, self.uid, common, b"\0"),
            diversified(master, self.uid, common, b"\1"),
            diversified(master, bytes(7), common, b"\2"),
        ]
        name = NTAG_NAME if self.kind == "ntag424" else aid
        blanks = 2 if self.kind == "ntag424" else 0
        self.applications[name] = Application(keys + [BLANK] * blanks)
        return self

    def apdu(self, command: bytes) -> bytes:
        """The R-APDU to a C-APDU."""
        reply = self._apdu(command)
        self.log.append((command, reply))
        return reply

    def _apdu(self, command: bytes) -> bytes:
        if len(command) < 4:
            return b"\x67\x00"
        if command[0] == 0x00:
            return self._iso(command)
        if command[0] != 0x90 or command[2:4] != b"\0\0":
            return NO_SUCH_CLASS
        data = command[5:-1] if len(command) > 5 else b""
        if len(command) > 5 and (len(data) != command[4] or command[-1] != 0):
            return LENGTH
        ins = command[1]
        pending, self._pending = self._pending, None
        if ins == 0xAF and pending:
            return self._authenticate_second(*pending, data)
        handler = {0x71: self._authenticate, 0x5A: self._select, 0xCA: self._create,
                   0x60: self._version}.get(ins)  # fmt: skip
        if handler:
            return handler(data)
        return self._secure(ins, data)

    # -- without a session --------------------------------------------------------------------

    def _iso(self, command: bytes) -> bytes:
        """ISOSelectFile by DF name."""
        self._session = None
        if command[1:4] != b"\xa4\x04\x0c" and command[1:4] != b"\xa4\x04\x00":
            return b"\x6d\x00"
        name = command[5 : 5 + command[4]]
        if name not in self.applications or len(name) == 3:
            return NOT_FOUND
        self._application = self.applications[name]
        return b"\x90\x00"

    def _select(self, aid: bytes) -> bytes:
        if self.kind != "desfire":
            return ILLEGAL
        self._session = None
        if aid != bytes(3) and aid not in self.applications:
            return NO_APPLICATION
        self._application = self.applications.get(aid)
        return OK

    def _create(self, data: bytes) -> bytes:
        """CreateApplication, free on a blank card: AID, key settings, AES and count of keys."""
        if self.kind != "desfire":
            return ILLEGAL
        if len(data) != 5 or not data[4] & 0x80:
            return PARAMETER
        if data[:3] in self.applications:
            return EXISTS
        self.applications[data[:3]] = Application([BLANK] * (data[4] & 0x0F))
        return OK

    def _version(self, data: bytes) -> bytes:
        """GetVersion's first part: hardware (type 01 DESFire, 04 NTAG)."""
        kind = {"ntag424": "0404023000", "desfire": "0401013300"}[self.kind]
        return bytes.fromhex(kind + "1a05") + MORE

    def _authenticate(self, data: bytes) -> bytes:
        self._session = None
        if self._application is None:
            return NO_KEY
        if len(data) < 2 or data[1] > 6:
            return LENGTH
        if data[0] >= len(self._application.keys):
            return NO_KEY
        rnd_b = self.random(16)
        self._pending = (data[0], rnd_b)
        return _encrypt(self._application.keys[data[0]], rnd_b) + MORE

    def _authenticate_second(self, number: int, rnd_b: bytes, data: bytes) -> bytes:
        assert self._application is not None
        key = self._application.keys[number]
        if len(data) != 32:
            return LENGTH
        plain = _decrypt(key, data)
        rnd_a = plain[:16]
        if plain[16:] != rnd_b[1:] + rnd_b[:1]:
            return WRONG_KEY
        # 9.1.7, numbered as there: byte 15 is the first.
        a, b = rnd_a[::-1], rnd_b[::-1]
        middle = bytes(x ^ y for x, y in zip(a[8:14], b[10:16], strict=True))
        context = a[14:16][::-1] + middle[::-1] + b[0:10][::-1] + a[0:8][::-1]
        ti = self.random(4)
        self._session = _Session(
            number, ti,
            _cmac(key, bytes.fromhex("a55a00010080") + context),
            _cmac(key, bytes.fromhex("5aa500010080") + context),
        )  # fmt: skip
        return _encrypt(key, ti + rnd_a[1:] + rnd_a[:1] + bytes(12)) + OK

    # -- with one -----------------------------------------------------------------------------

    def _secure(self, ins: int, data: bytes) -> bytes:
        session = self._session
        if ins not in (0x51, 0xC4, 0x5C):
            return ILLEGAL
        if session is None:
            return DENIED
        if len(data) < 8 or session.tag(ins, data[:-8]) != data[-8:]:
            self._session = None
            return INTEGRITY
        header, cipher = (data[:-8][:1], data[:-8][1:]) if ins != 0x51 else (b"", data[:-8])
        plain = _decrypt(session.enc, cipher, session.iv(b"\xa5\x5a")) if cipher else b""
        plain = plain.rstrip(b"\0")
        if cipher and plain[-1:] != b"\x80":
            return INTEGRITY
        session.counter += 1
        status, answer = self._run(session, ins, header, plain[:-1])
        if status != OK:
            self._session = None
            return status
        if self._session is None:  # the key of the session itself was changed
            return OK
        if answer:
            padded = answer + b"\x80"
            padded += bytes(-len(padded) % 16)
            answer = _encrypt(session.enc, padded, session.iv(b"\x5a\xa5"))
        return answer + session.tag(0, answer) + OK

    def _run(self, session: _Session, ins: int, header: bytes, data: bytes) -> tuple[bytes, bytes]:
        assert self._application is not None
        if ins == 0x51:  # GetCardUID
            return OK, self.uid
        if session.number != 0:
            return DENIED, b""
        if ins == 0x5C:  # SetConfiguration, option 00: bit 1 is the random UID, for ever
            if header != b"\0" or len(data) != 1:
                return PARAMETER, b""
            self.random_id = self.random_id or bool(data[0] & 2)
            return OK, b""
        return self._change_key(session, header[0], data), b""

    def _change_key(self, session: _Session, number: int, data: bytes) -> bytes:
        """10.6.1: the session's own key as it is; another one over the old, with its CRC."""
        application = self._application
        assert application is not None
        if number >= len(application.keys):
            return NO_KEY
        if number == session.number:
            if len(data) != 17:
                return LENGTH
            new = data[:16]
            self._session = None
        else:
            if len(data) != 21:
                return LENGTH
            old = application.keys[number]
            new = bytes(x ^ y for x, y in zip(data[:16], old, strict=True))
            if (zlib.crc32(new) ^ 0xFFFFFFFF).to_bytes(4, "little") != data[17:]:
                return INTEGRITY
        application.keys[number] = new
        application.versions[number] = data[16]
        return OK


class Phone:
    """A phone: a new UID each time, ISO 14443-4, and no application of ours."""

    ats = bytes.fromhex("0578807002")

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self.field_off()

    def field_off(self) -> None:
        self._shown = b"\x08" + self._random(3)

    def halt(self) -> None:
        pass

    def shown(self) -> bytes:
        return self._shown

    def apdu(self, command: bytes) -> bytes:
        return NOT_FOUND if command[:2] == b"\x00\xa4" else NO_SUCH_CLASS
