"""NTAG 424 DNA and MIFARE DESFire EV2, EV3: a card proves by AES that it knows its key. No wire.

Sources (NXP): NT4H2421Gx Rev. 3.0, section 9.1 (secure messaging) and 10 (commands); the same in
MF2DLHX0 Rev. 3.2, section 10; worked examples in AN12196 and AN12343; keys by AN10922.

A dialogue is a generator: it yields C-APDUs, is sent each one's R-APDU, and returns what it found.
`aes(key, mode, iv)` is the chip's: mode 1 ECB, 2 CBC; `encrypt`, `decrypt` (MicroPython's
`cryptolib.aes`). What a card may get wrong raises CardError.

A card holds three keys, each under AN10922 of a master, this message and the key's number: its UID,
the application's identifier, the operator's system identifier, the number.
"""

from evtill.core.crypto.hashes import cmac, constant_time_equal
from evtill.core.errors import CardError
from evtill.core.tokens import anonymous

ISSUER_KEY = 0  # writes the other keys; no charger has its master
CARD_KEY = 1  # differs from card to card: who knows it is the card
UID_KEY = 2  # the same on all: opens the true UID of a card that shows a random one

AUTHENTICATE_FIRST = 0x71  # 10.4.1: AuthenticateEV2First
MORE = 0xAF
GET_CARD_UID = 0x51
SELECT_APPLICATION = 0x5A  # DESFire's own
# 10.9.1 ISOSelectFile: an NTAG 424 DNA's one application, by its DF name; no FCI asked for.
SELECT_NTAG = b"\x00\xa4\x04\x0c\x07\xd2\x76\x00\x00\x85\x01\x01\x00"
OK = b"\x91\x00"
_ISO_OK = b"\x90\x00"
_CONTINUES = b"\x91\xaf"
_NO_IV = bytes(16)
_ECB = 1
_CBC = 2


def apdu(ins, data=b""):
    """A native command wrapped in ISO 7816-4 (9.1.1)."""
    return bytes((0x90, ins, 0, 0)) + (bytes((len(data),)) + data if data else b"") + b"\0"


def card_key(aes, master, uid, aid, system, number):
    """A card's key `number` (16 bytes); UID_KEY: for every card the same.

    uid: 4, 7 or 10 bytes, zeros behind it up to 7; aid: 3 bytes; system: 5 to 16 bytes. AN10922,
    2.2: CMAC over 01 and 16 to 31 bytes."""
    if number == UID_KEY:
        uid = b""
    message = uid + bytes(max(0, 7 - len(uid))) + aid + system + bytes((number,))
    if not 16 <= len(message) <= 31:
        raise ValueError("16 to 31 bytes")  # shorter ones are padded in a way of their own
    return cmac(aes(master, _ECB).encrypt, b"\x01" + message)


def select(aid):
    """Dialogue: opens our application. Whether the card has one."""
    if bytes((yield apdu(SELECT_APPLICATION, aid))) == OK:  # DESFire first: it may be both
        return True
    return bytes((yield SELECT_NTAG)) == _ISO_OK


def authenticate(aes, key, number, rnd_a):
    """Dialogue: AuthenticateEV2First (9.1.5). rnd_a: 16 fresh random bytes.

    Returns the Session; None when the card has no such command or key. Raises CardError when it
    does not know `key`."""
    reply = bytes((yield apdu(AUTHENTICATE_FIRST, bytes((number, 0)))))
    if reply[-2:] != _CONTINUES:
        return None
    if len(reply) != 18:
        raise CardError("challenge of %d bytes" % (len(reply) - 2))
    rnd_b = aes(key, _CBC, _NO_IV).decrypt(reply[:16])
    answer = aes(key, _CBC, _NO_IV).encrypt(rnd_a + rnd_b[1:] + rnd_b[:1])
    reply = bytes((yield apdu(MORE, answer)))
    if len(reply) != 34 or reply[-2:] != OK:
        raise CardError("wrong key: status %s" % _hex(reply[-2:]))
    plain = aes(key, _CBC, _NO_IV).decrypt(reply[:32])  # TI, RndA rotated, capabilities
    if not constant_time_equal(plain[4:20], rnd_a[1:] + rnd_a[:1]):
        raise CardError("wrong key: the card did not decrypt our challenge")
    return Session(aes, key, rnd_a, rnd_b, plain[:4])


def prove(aes, master, aid, system, uid, random):
    """Dialogue: the true UID of a card that has proved to be the one; None when it has no
    application of ours.

    uid: as it shows itself; random(n): n fresh random bytes. Raises CardError: has one, but not
    our keys."""
    if not (yield from select(aid)):
        return None
    if anonymous(uid):
        key = card_key(aes, master, b"", aid, system, UID_KEY)
        session = yield from authenticate(aes, key, UID_KEY, random(16))
        if session is None:
            return None
        uid = yield from session.run(GET_CARD_UID)
        if len(uid) not in (4, 7, 10) or anonymous(uid):
            raise CardError("UID of %d bytes" % len(uid))
    key = card_key(aes, master, uid, aid, system, CARD_KEY)
    session = yield from authenticate(aes, key, CARD_KEY, random(16))
    return uid if session else None


class Session:
    """Secure messaging after an authentication (9.1.6 to 9.1.10). Its dialogues raise CardError."""

    def __init__(self, aes, key, rnd_a, rnd_b, ti):
        mixed = bytes([rnd_a[2 + i] ^ rnd_b[i] for i in range(6)])
        vector = b"\0\1\0\x80" + rnd_a[:2] + mixed + rnd_b[6:] + rnd_a[8:]  # 9.1.7
        encrypt = aes(key, _ECB).encrypt
        self.enc_key = cmac(encrypt, b"\xa5\x5a" + vector)
        self.mac_key = cmac(encrypt, b"\x5a\xa5" + vector)
        self.ti = ti
        self.counter = 0
        self._aes = aes

    def run(self, ins, header=b"", data=b"", full=True):
        """Dialogue: one command, its data and answer encrypted if `full`, always under a MAC."""
        return self.reply((yield self.command(ins, header, data, full)), full)

    def command(self, ins, header=b"", data=b"", full=True):
        """The C-APDU: header (key number, file number and such), data, MAC."""
        if full and data:
            data = data + b"\x80" + bytes(-(len(data) + 1) % 16)
            data = self._cbc(b"\xa5\x5a").encrypt(data)
        body = header + data
        return apdu(ins, body + self._mac(bytes((ins,)), body))

    def reply(self, reply, full=True):
        """The R-APDU's data, once its MAC was found right."""
        reply = bytes(reply)
        if reply[-2:] != OK or len(reply) < 10:
            raise CardError("status %s" % _hex(reply[-2:]))
        self.counter += 1
        data = reply[:-10]
        if not constant_time_equal(self._mac(b"\0", data), reply[-10:-2]):
            raise CardError("wrong MAC")
        if not full or not data:
            return data
        if len(data) % 16:
            raise CardError("answer of %d bytes" % len(data))
        data = self._cbc(b"\x5a\xa5").decrypt(data)
        end = len(data) - 1
        while end > 0 and data[end] == 0:
            end -= 1
        if data[end] != 0x80:
            raise CardError("wrong padding")
        return data[:end]

    def _stamp(self):
        return bytes((self.counter & 0xFF, self.counter >> 8))

    def _cbc(self, label):
        block = label + self.ti + self._stamp() + bytes(8)
        return self._aes(self.enc_key, _CBC, self._aes(self.enc_key, _ECB).encrypt(block))

    def _mac(self, code, body):
        whole = cmac(self._aes(self.mac_key, _ECB).encrypt, code + self._stamp() + self.ti + body)
        return bytes([whole[i] for i in range(1, 16, 2)])  # 9.1.3


def _hex(data):
    return "".join(["%02x" % byte for byte in data])
