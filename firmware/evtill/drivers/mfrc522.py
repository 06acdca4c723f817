"""MFRC522 card reader over SPI: a modem alone, so that ISO 14443-3 and -4 are spoken here.

Sources: NXP MFRC522 data sheet Rev. 3.9 (registers: 9; commands: 10; SPI: 8.1.2), ISO/IEC 14443-3
(type A, anticollision: 6.5) and 14443-4 (RATS: 5; blocks: 7). Same use as pn532.PN532, and the same
order of UID bytes: first byte first on the air.
"""

from evtill.core.errors import CardGone, ReaderError
from evtill.drivers.aio import sleep_ms, ticks_add, ticks_diff, ticks_ms

_COMMAND = 0x01
_COM_IRQ = 0x04
_ERROR = 0x06
_FIFO_DATA = 0x09
_FIFO_LEVEL = 0x0A
_CONTROL = 0x0C
_BIT_FRAMING = 0x0D
_COLL = 0x0E
_MODE = 0x11
_TX_CONTROL = 0x14
_TX_ASK = 0x15
_T_MODE = 0x2A
_T_PRESCALER = 0x2B
_T_RELOAD_HIGH = 0x2C
_T_RELOAD_LOW = 0x2D
_VERSION = 0x37

_IDLE = 0x00
_TRANSCEIVE = 0x0C
_SOFT_RESET = 0x0F
_VERSIONS = (0x90, 0x91, 0x92, 0x88)  # 0.0, 1.0, 2.0, and the FM17522 that modules carry
_ANTENNA = 0x03
_T_AUTO = 0x80  # the timer starts when all is sent: 9.3.3.10
_RECEIVED = 0x30  # RxIRq, IdleIRq
_TIMER = 0x01
_COLLISION = 0x08
_BAD = 0x17  # buffer overflow, CRC, parity, protocol
# 13.56 MHz / (2 * 169 + 1) = 40 kHz: 25 us a tick.
_PRESCALER = 0xA9

_WUPA = 0x52  # 14443-3, 6.4.1: wakes idle and halted cards
_HLTA = b"\x50\x00"
_SELECT = (0x93, 0x95, 0x97)  # 6.5.3.1: cascade levels
_CASCADE_TAG = 0x88
_RATS = b"\xe0\x50"  # 14443-4, 5.1: blocks of up to 64 bytes, which is the FIFO; CID 0
_FSC = (16, 24, 32, 40, 48, 64)  # 5.2.3: by FSCI; more than 64 bytes we do not send
_DESELECT = b"\xc2"
_FIFO = 64
_LOOK_MS = 50  # between looks for a card
_SHORT_MS = 2  # for a card's answer in 14443-3 (6.1.5: at most 0.1 ms and what it sends)
_CARD_MS = 1500  # the longest that a card may take, whatever time it asks for
_REPEATS = 2  # of a block that was not understood
_LONGEST_REPLY = 512


def crc_a(data):
    """CRC_A (14443-3, 6.2.4), low byte first: 2 bytes."""
    crc = 0x6363
    for byte in data:
        byte ^= crc & 0xFF
        byte = (byte ^ byte << 4) & 0xFF
        crc = crc >> 8 ^ byte << 8 ^ byte << 3 ^ byte >> 4
    return bytes((crc & 0xFF, crc >> 8))


class MFRC522:
    """spi: a machine.SPI, mode 0, at most 10 MHz; cs: an output Pin. One task at a time may use it.

    Any ReaderError: call `begin()` again. `sak` and `ats`: of the card that was read last."""

    def __init__(self, spi, cs):
        self._spi = spi
        self._cs = cs
        cs.value(1)
        self.sak = 0
        self.ats = b""
        self._active = False  # a card is selected
        self._size = 0  # bytes of a block's content once it speaks 14443-4; 0 before
        self._fwt_ms = 5
        self._number = 0  # of the next block

    async def begin(self):
        """Resets and configures the chip. Raises ReaderError when there is none."""
        self._active = False
        self._size = 0
        self._put(_COMMAND, _SOFT_RESET)
        await sleep_ms(50)
        version = self._get(_VERSION)
        if version not in _VERSIONS:
            raise ReaderError("the reader is no MFRC522 (%02x)" % version)
        self._put(_T_MODE, _T_AUTO)
        self._put(_T_PRESCALER, _PRESCALER)
        self._put(_TX_ASK, 0x40)  # 100 % ASK
        self._put(_MODE, 0x3D)
        self._put(_COLL, 0x00)  # bits behind a collision read as zeros
        self._put(_TX_CONTROL, 0x80 | _ANTENNA)
        await sleep_ms(5)  # 14443-3: a card needs that from field to request

    async def check(self):
        """Whether the chip is as begin() left it. Raises ReaderError: it hangs or was reset."""
        if self._get(_TX_CONTROL) & _ANTENNA != _ANTENNA or self._get(_T_MODE) != _T_AUTO:
            raise ReaderError("the reader was reset or hangs")

    async def read_uid(self, timeout_ms):
        """UID of a card in the field, or None when none came within `timeout_ms`.

        A card that stays is found again by every call, at once. Raises ReaderError."""
        deadline = ticks_add(ticks_ms(), timeout_ms)
        await self.release()
        while True:
            try:
                uid = await self._activate()
            except CardGone:
                uid = None
            if uid is not None:
                return uid
            left_ms = ticks_diff(deadline, ticks_ms())
            if left_ms <= 0:
                return None
            await sleep_ms(min(left_ms, _LOOK_MS))
            await self.check()

    async def _activate(self):
        """14443-3, 6.5: request, then anticollision and select, level by level."""
        if await self._air(bytes((_WUPA,)), _SHORT_MS, 7) is None:
            return None
        uid = b""
        for command in _SELECT:
            part = await self._anticollision(command)
            sak = await self._framed(bytes((command, 0x70)) + part, _SHORT_MS)
            if sak is None or len(sak) != 1:
                raise CardGone("no answer to select")
            if not sak[0] & 0x04:
                self._active = True
                self.sak = sak[0]
                return uid + part[:4]
            if part[0] != _CASCADE_TAG:
                raise CardGone("a UID that goes on without saying so")
            uid += part[1:4]
        raise CardGone("a UID without end")

    async def _anticollision(self, command):
        """4 bytes and their check byte of one card; where several answer, of the one with ones."""
        known = bytearray(5)
        bits = 0
        while True:
            whole, rest = bits >> 3, bits & 7
            sent = bytes((command, 0x20 + (whole << 4) + rest)) + known[: whole + (rest > 0)]
            got = await self._air(sent, _SHORT_MS, rest, rest)
            if got is None or len(got) != 5 - whole:
                raise CardGone("no answer in anticollision")
            if rest:
                got[0] = known[whole] & (1 << rest) - 1 | got[0] & (0xFF << rest & 0xFF)
            known[whole:] = got
            if not self._collided:
                if known[0] ^ known[1] ^ known[2] ^ known[3] != known[4]:
                    raise CardGone("wrong check byte")
                return bytes(known)
            where = self._get(_COLL)
            at = (where & 0x1F or 32) + (whole << 3)
            if where & 0x20 or at <= bits or at > 32:
                raise CardGone("collision without a place")
            bits = at
            known[bits - 1 >> 3] |= 1 << (bits - 1 & 7)

    def dialogue(self):
        """What has `exchange` and `release`: as a PN532."""
        return self

    async def exchange(self, apdu):
        """The R-APDU (bytes) of the ISO 14443-4 card that was read last. Raises CardGone,
        ReaderError."""
        if not self._active:
            raise CardGone("no card was read")
        if not self._size:
            await self._rats()
        deadline = ticks_add(ticks_ms(), _CARD_MS)
        at = 0
        while True:  # 14443-4, 7.5.2: chaining
            piece = apdu[at : at + self._size]
            at += len(piece)
            more = 0x10 if at < len(apdu) else 0
            reply = await self._block(bytes((0x02 | more | self._number,)) + piece, deadline)
            if not more:
                break
            if reply[0] & 0xF6 != 0xA2 or reply[0] & 1 != self._number:
                raise CardGone("a piece was not acknowledged")
            self._number ^= 1
        data = b""
        while True:
            if reply[0] & 0xEE != 0x02 or reply[0] & 1 != self._number:
                raise CardGone("an answer out of turn")
            self._number ^= 1
            data += reply[1:]
            if len(data) > _LONGEST_REPLY:
                raise ReaderError("the card's answer has no end")
            if not reply[0] & 0x10:
                return data
            reply = await self._block(bytes((0xA2 | self._number,)), deadline)

    async def _rats(self):
        ats = await self._framed(_RATS, 10)
        if ats is None or len(ats) < 1 or ats[0] != len(ats):
            raise CardGone("no answer to RATS")
        self.ats = bytes(ats)
        form = ats[1] if len(ats) > 1 else 0x02  # 5.2.3: without it, 32 bytes
        self._size = _FSC[min(form & 0x0F, 5)] - 3
        at = 2 + (form >> 4 & 1)
        times = ats[at] if form & 0x20 and at < len(ats) else 0x40
        self._fwt_ms = (302 << min(times >> 4, 14)) // 1000 + 2  # 7.2
        self._number = 0
        if times & 0x0F:
            await sleep_ms((302 << min(times & 0x0F, 14)) // 1000 + 1)

    async def _block(self, block, deadline):
        """Sends a block, answers the card's wishes for time, asks again for what was not
        understood (7.5.4, 7.5.5). Returns the block that answers it."""
        sent, wait_ms, repeats = block, self._fwt_ms, 0
        while True:
            if ticks_diff(deadline, ticks_ms()) <= 0:
                raise CardGone("the card takes too long")
            reply = await self._framed(sent, min(wait_ms, _CARD_MS))
            wait_ms = self._fwt_ms
            if not reply:
                repeats += 1
                if repeats > _REPEATS:
                    raise CardGone("the card is gone")
                # Rules 4 and 5: within the card's own chain ask for the piece, else say no.
                sent = block if block[0] & 0xF6 == 0xA2 else bytes((0xB2 | self._number,))
            elif reply[0] & 0xF7 == 0xF2 and len(reply) == 2:  # S(WTX)
                times = reply[1] & 0x3F
                if not 1 <= times <= 59:
                    raise CardGone("a wrong wish for time")
                wait_ms = self._fwt_ms * times
                sent = bytes((0xF2, times))
            elif reply[0] & 0xF6 == 0xA2 and reply[0] & 1 != self._number:
                repeats += 1
                if repeats > _REPEATS:
                    raise CardGone("the card does not understand")
                sent = block  # rule 6: it never came
            else:
                return reply

    async def release(self):
        """Ends a dialogue with a card: read_uid finds it anew. Raises ReaderError."""
        if self._active:
            self._active = False
            if self._size:
                self._size = 0
                await self._framed(_DESELECT, self._fwt_ms)
            else:
                await self._framed(_HLTA, 1)  # which no card answers

    async def _framed(self, data, timeout_ms):
        """The answer to `data`, both with CRC_A; None when there is none or a damaged one."""
        got = await self._air(data + crc_a(data), timeout_ms)
        if got is None or len(got) < 3 or self._collided or self._bits:
            return None
        return got[:-2] if crc_a(got[:-2]) == got[-2:] else None

    async def _air(self, data, timeout_ms, last_bits=0, align=0):
        """Sends `data`, of its last byte `last_bits` (0: all). Returns the answer (bytearray), its
        first bit at `align`; None without one or with damage. Raises ReaderError.

        `_collided`: whether cards spoke at once; `_bits`: of the last byte that came, 0 for all."""
        self._collided = False
        ticks = timeout_ms * 40
        self._put(_COMMAND, _IDLE)
        self._put(_COM_IRQ, 0x7F)
        self._put(_FIFO_LEVEL, 0x80)
        self._put(_T_RELOAD_HIGH, ticks >> 8 & 0xFF)
        self._put(_T_RELOAD_LOW, ticks & 0xFF)
        self._transfer(bytes((_FIFO_DATA << 1,)) + data)
        self._put(_COMMAND, _TRANSCEIVE)
        self._put(_BIT_FRAMING, 0x80 | align << 4 | last_bits)
        deadline = ticks_add(ticks_ms(), timeout_ms + 50)
        while True:
            irq = self._get(_COM_IRQ)
            if irq & (_RECEIVED | _TIMER):
                break
            if ticks_diff(deadline, ticks_ms()) <= 0:
                raise ReaderError("the reader does not answer")
            await sleep_ms(1)
        self._put(_BIT_FRAMING, 0)
        if not irq & _RECEIVED:
            return None
        error = self._get(_ERROR)
        if error & _BAD:
            return None
        self._collided = bool(error & _COLLISION)
        self._bits = self._get(_CONTROL) & 7
        n = min(self._get(_FIFO_LEVEL) & 0x7F, _FIFO)
        return self._transfer(bytes((0x80 | _FIFO_DATA << 1,)) * n + b"\0")[1:]

    # -- registers ----------------------------------------------------------------------------

    def _put(self, register, value):
        self._transfer(bytes((register << 1, value)))

    def _get(self, register):
        return self._transfer(bytes((0x80 | register << 1, 0)))[1]

    def _transfer(self, out):
        got = bytearray(len(out))
        self._cs.value(0)
        try:
            self._spi.write_readinto(out, got)
        except OSError as e:
            raise ReaderError("spi: %s" % e) from e
        finally:
            self._cs.value(1)
        return got
