"""PN532 card reader: UIDs, and APDUs to ISO 14443-4 cards. On its high speed UART (HSU); for I2C
and SPI see pn532_bus.py.

Source: NXP UM0701-02, PN532 User Manual, Rev. 02. Frames: 6.2.1; dialogue, abort: 6.2.2; HSU and
its wake-up: 6.2.3 and 7.2.11; commands: the sections at each constant.

A UID's first byte is the first on the air, with every reader: 04 of NXP leads 7 bytes. Some readers
show 4 bytes the other way round; lists made with those must be turned, not this.
"""

from evtill.core.errors import ReaderError
from evtill.drivers.aio import Receiver, sleep_ms, ticks_add, ticks_diff, ticks_ms

_TO_PN532 = 0xD4  # 6.2.1.1: TFI
_FROM_PN532 = 0xD5
_ERROR_TFI = 0x7F  # 6.2.1.5: syntax error frame
_GET_FIRMWARE_VERSION = 0x02  # 7.2.2; answers IC, version, revision, support
_SAM_CONFIGURATION = 0x14  # 7.2.10; args: mode, timeout, IRQ
_RF_CONFIGURATION = 0x32  # 7.3.1; args: item, data
_IN_LIST_PASSIVE_TARGET = 0x4A  # 7.3.5; args: MaxTg, BrTy

_ACK = b"\x00\x00\xff\x00\xff\x00"  # 6.2.1.3; from the host it aborts a command (6.2.2)
# 7.2.11: asleep, it needs a first byte with edges and time before the command; zeros are preamble.
_WAKE_UP = b"\x55\x55" + bytes(14)
_NORMAL_MODE = b"\x01\x00\x01"  # 7.2.10: no SAM; no timeout; IRQ pin driven
# 7.3.1 item 5, MaxRetries: ATR and PSL as at reset; passive activation without end, so that a card
# is looked for all the time that the caller waits.
_RETRY_FOR_EVER = b"\x05\xff\x01\xff"
_ONE_106A = b"\x01\x00"  # 7.3.5: one target, 106 kbit/s type A
_IC_PN532 = 0x32  # 7.2.2

# 6.2.3 has the reader acknowledge within 15 ms; a UART behind USB or a pty adds its own.
_ACK_TIMEOUT_MS = 100
_ANSWER_TIMEOUT_MS = 200
# The chip does not confirm an abort, and misses a command that follows too closely.
_SETTLE_MS = 2
# Bytes of one frame follow each other; a frame that pauses for so long was noise that looked so.
_PAUSE_MS = 50
_BUFFER = 96  # the longest answer asked for: UID of 10 bytes and ATS of 20, with their frame
_LONGEST = 80

INCOMPLETE = 0
ACK = 1
DATA = 2
ERROR = 3


def put_command(buf, command, args):
    """Writes a normal information frame (6.2.1.1) into `buf`. Returns its length: 9 + len(args)."""
    length = 2 + len(args)
    buf[0] = buf[1] = 0
    buf[2] = 0xFF
    buf[3] = length
    buf[4] = -length & 0xFF
    buf[5] = _TO_PN532
    buf[6] = command
    checksum = _TO_PN532 + command
    for i in range(len(args)):
        buf[7 + i] = args[i]
        checksum += args[i]
    buf[5 + length] = -checksum & 0xFF
    buf[6 + length] = 0
    return 7 + length


class FrameScanner:
    """Finds frames in a stream with noise: the result of `scan` is in its attributes.

    `used`: bytes that can be forgotten. DATA: `start` and `end` of what follows the TFI."""

    def __init__(self):
        self.start = self.end = self.used = 0

    def scan(self, buf, n):
        """Kind of the first frame in `buf[:n]`: ACK, DATA, ERROR, or INCOMPLETE when none is whole.

        What has a wrong checksum, is too long, or is no frame for a host, is skipped. After
        INCOMPLETE, `used < n` says that a frame may have begun at `used`."""
        i = 0
        while i + 1 < n:
            if buf[i] == 0 and buf[i + 1] == 0xFF:
                kind = self._frame_at(buf, i + 2, n)
                if kind is not None:
                    if kind == INCOMPLETE:
                        self.used = i
                    return kind
            i += 1
        # Half of a start code may be the last byte.
        self.used = n - 1 if n and buf[n - 1] == 0 else n
        return INCOMPLETE

    def _frame_at(self, buf, i, n):
        """Kind of the frame whose length byte is at `i`, or None when there is none."""
        if i + 1 >= n:
            return INCOMPLETE
        length = buf[i]
        if length == 0 and buf[i + 1] == 0xFF:
            self.used = i + 2
            return ACK
        # NACK and extended frames (6.2.1.2, 6.2.1.4) end here too: never sent by what we ask.
        if not 0 < length <= _LONGEST or (length + buf[i + 1]) & 0xFF:
            return None
        end = i + 2 + length
        if end >= n:
            return INCOMPLETE
        checksum = 0
        for k in range(i + 2, end + 1):
            checksum += buf[k]
        if checksum & 0xFF:
            return None
        self.used = end + 1
        if length == 1 and buf[i + 2] == _ERROR_TFI:
            return ERROR
        if length < 2 or buf[i + 2] != _FROM_PN532:
            return None
        self.start = i + 3
        self.end = end
        return DATA


def parse_target(data):
    """(UID, SEL_RES) in the answer to InListPassiveTarget for one 106A target, None when it found
    none. SEL_RES (SAK) has bit 5 (0x20) set for a card that takes APDUs.

    `data` begins after the response code (7.3.5): NbTg, Tg, SENS_RES, SEL_RES, NFCIDLength, NFCID1,
    then ATS for ISO 14443-4 cards. The UID has 4, 7 or 10 bytes (ISO/IEC 14443-3, 6.5.4), first
    byte first on the air. Raises ReaderError."""
    n = len(data)
    if n == 1 and data[0] == 0:
        return None
    if n < 6 or data[0] != 1 or data[1] != 1:
        raise ReaderError("target list is malformed")
    end = 6 + data[5]
    if data[5] not in (4, 7, 10) or n < end:
        raise ReaderError("UID of %d bytes" % data[5])
    # The first byte of an ATS is its own length (ISO/IEC 14443-4, 5.2.2).
    if n > end and data[end] != n - end:
        raise ReaderError("ATS with a wrong length")
    return bytes(data[6:end]), data[4]


class PN532:
    """A reader that is polled for one card at a time. One task at a time may use it.

    Any ReaderError: call `begin()` again, which finds the reader whatever state it is in.

    link: a UART, or one of pn532_bus.py. all_kinds: look for type B and FeliCa too, which takes up
    to half a second. `sak`: SEL_RES of the card that was read last."""

    def __init__(self, link, all_kinds=False):
        self._uart = link
        self._rx = link if hasattr(link, "more") else Receiver(link, _BUFFER)
        self._search, self._kinds, self._parse = _IN_LIST_PASSIVE_TARGET, _ONE_106A, parse_target
        if all_kinds:
            from evtill.drivers.pn532_cards import ALL_KINDS, IN_AUTO_POLL, parse_poll

            self._search, self._kinds, self._parse = IN_AUTO_POLL, ALL_KINDS, parse_poll
        self.sak = 0
        self._tx = bytearray(16)
        self._tx_view = memoryview(self._tx)
        self._scanner = FrameScanner()
        self.firmware = None  # (version, revision) after begin()

    async def begin(self):
        """Wakes and configures the reader. Raises ReaderError when no PN532 answers."""
        self.firmware = None
        self._write(_WAKE_UP)
        # An abort before it: a command that was going on before our reboot.
        self._write(_ACK)
        await sleep_ms(_SETTLE_MS)
        # First, because a PN532 after power-up stays in LowVbat mode until it is configured.
        await self.command(_SAM_CONFIGURATION, _NORMAL_MODE, _ANSWER_TIMEOUT_MS, True)
        firmware = await self.check()
        await self.command(_RF_CONFIGURATION, _RETRY_FOR_EVER, _ANSWER_TIMEOUT_MS, True)
        self.firmware = firmware

    async def check(self):
        """(version, revision) of the reader's firmware, asked anew. Raises ReaderError.

        To be called now and then while no card comes: a reader that hangs after its
        acknowledgement looks like one without a card."""
        answer = await self.command(_GET_FIRMWARE_VERSION, b"", _ANSWER_TIMEOUT_MS, True)
        if len(answer) != 4 or answer[0] != _IC_PN532:
            raise ReaderError("the reader is no PN532")
        return answer[1], answer[2]

    async def read_uid(self, timeout_ms):
        """UID of the card in the field, or None when none came within `timeout_ms`.

        A card that stays is found again by every call, at once. Raises ReaderError."""
        answer = await self.command(self._search, self._kinds, timeout_ms, False)
        if answer is None:
            return None
        found = self._parse(answer)
        if found is None:
            return None
        self.sak = found[1]
        return found[0]

    def dialogue(self):
        """`exchange(apdu)` and `release()` for the card that was read last: pn532_cards.Dialogue.

        Loaded when first asked for: chargers whose cards prove nothing do without."""
        from evtill.drivers.pn532_cards import Dialogue

        return Dialogue(self)

    async def command(self, command, args, timeout_ms, must_answer):
        """Sends one command. Returns its answer after the response code, valid until the next.

        None after `timeout_ms` unless `must_answer`: then it was aborted. Raises ReaderError."""
        try:
            self._rx.clear()
            frame = self._tx_view
            if 9 + len(args) > len(self._tx):
                frame = memoryview(bytearray(9 + len(args)))
            frame = frame[: put_command(frame, command, args)]
            self._write(frame)
            if not await self._expect(ACK, 0, _ACK_TIMEOUT_MS):
                self._write(frame)  # 6.2.3: the host sends it again
                if not await self._expect(ACK, 0, _ACK_TIMEOUT_MS):
                    raise ReaderError("the reader does not acknowledge")
            if await self._expect(DATA, command + 1, timeout_ms):
                return self._rx.view[self._scanner.start + 1 : self._scanner.end]
        except OSError as e:
            raise ReaderError("uart: %s" % e) from e
        if must_answer:
            raise ReaderError("the reader does not answer")
        self._write(_ACK)
        await sleep_ms(_SETTLE_MS)
        return None

    async def _expect(self, wanted, code, timeout_ms):
        """Waits for a frame of kind `wanted` (and response `code`); False when there is none.

        Noise and stale frames are skipped. Raises ReaderError for an error frame."""
        rx = self._rx
        scanner = self._scanner
        deadline = ticks_add(ticks_ms(), timeout_ms)
        while True:
            kind = scanner.scan(rx.buf, rx.n)
            if kind == wanted == ACK:
                rx.drop(scanner.used)
                return True
            if kind == wanted == DATA and rx.buf[scanner.start] == code:
                return True
            rx.drop(scanner.used)
            if kind == ERROR:
                raise ReaderError("the reader refuses the command")
            if kind != INCOMPLETE:
                continue
            left_ms = ticks_diff(deadline, ticks_ms())
            if left_ms <= 0:
                return False
            partial = rx.n > 1
            if partial:
                left_ms = min(left_ms, _PAUSE_MS)
            if not await rx.more(left_ms) and partial:
                # What looked like the beginning of a frame was none: look behind it.
                rx.drop(1)

    def _write(self, frame):
        try:
            sent = self._uart.write(frame)
        except OSError as e:
            raise ReaderError("uart: %s" % e) from e
        if sent != len(frame):
            raise ReaderError("command not sent whole")


class TapDetector:
    """Makes one tap of each presentation of a card.

    States: no card (`_uid` is None); a card held (`_uid`), last seen at `_seen_ms`. A held card is
    gone once it was not seen for `absent_ms`; readers miss a card now and then."""

    def __init__(self, absent_ms=300):
        self._absent_ms = absent_ms
        self._uid = None
        self._seen_ms = 0

    @property
    def held(self):
        """Whether a card is held: look again soon, or its going away is not noticed in time."""
        return self._uid is not None

    def update(self, uid, now_ms):
        """The UID when `uid` (None: no card) is a new presentation, else None.

        `now_ms` only grows; it may wrap as MicroPython's ticks_ms does."""
        if uid is None:
            # Modulo ticks_ms's period on 32-bit boards.
            if self._uid is not None and (now_ms - self._seen_ms) & 0x3FFFFFFF >= self._absent_ms:
                self._uid = None
            return None
        same = uid == self._uid
        self._uid = uid
        self._seen_ms = now_ms
        return None if same else uid
