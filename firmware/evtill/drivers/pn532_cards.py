"""What a PN532 does beside reading type A's UIDs: APDUs to cards, and cards of other kinds.

Source: NXP UM0701-02, PN532 User Manual, Rev. 02; the sections at each constant.
"""

from evtill.core.errors import CardGone, ReaderError
from evtill.drivers.pn532 import parse_target

IN_AUTO_POLL = 0x60  # 7.3.13; args: PollNr, Period, types
# Without end, 150 ms for each: type A, type B, FeliCa at 212 and 424 kbit/s.
ALL_KINDS = b"\xff\x01\x00\x03\x01\x02"
_IN_DATA_EXCHANGE = 0x40  # 7.3.8; args: Tg (bit 6: more follows), data; answers status, data
_IN_RELEASE = 0x52  # 7.3.11; args: Tg
_MORE = 0x40
_STATUS = 0x3F  # 7.1: bits of the status that are the error code
_PIECE = 240  # of a command to a card: what a normal frame holds (6.2.1.1) and some to spare
_LONGEST_REPLY = 512  # bytes put together from a card's pieces
# The longest that a card may take: it asks the reader for time (WTX), which has no end of its own.
_CARD_MS = 1500
_ANSWER_TIMEOUT_MS = 200


def parse_poll(data):
    """(id, SEL_RES) in the answer to InAutoPoll, None when it found none. SEL_RES is 0 for others
    than type A. An id is a UID, type B's PUPI (4 bytes, with some cards new each time), or FeliCa's
    IDm (8 bytes).

    `data` begins after the response code (7.3.13): NbTg, type, length, target data as 7.3.5 has
    them. Raises ReaderError."""
    if len(data) == 1 and data[0] == 0:
        return None
    if len(data) < 4 or not 1 <= data[0] <= 2 or 3 + data[2] > len(data):
        raise ReaderError("target list is malformed")
    kind = data[1] & 0x0F  # 7.3.13: 10, 20 type A; 23 type B; 11, 12 FeliCa
    target = data[3 : 3 + data[2]]
    if kind == 0:
        return parse_target(b"\x01" + bytes(target))
    if kind == 3 and len(target) >= 13 and target[1] == 0x50:  # Tg, ATQB
        return bytes(target[2:6]), 0
    if kind in (1, 2) and len(target) >= 19 and target[1] in (18, 20) and target[2] == 1:  # POL_RES
        return bytes(target[3:11]), 0
    raise ReaderError("a card of unknown kind %02x" % data[1])


class Dialogue:
    """With the ISO 14443-4 card that `reader` has read last.

    The chip does RATS, blocks, their repetition, chaining and waiting times by itself."""

    def __init__(self, reader):
        self._reader = reader

    async def exchange(self, apdu):
        """The R-APDU (bytes) to a C-APDU. Raises CardGone, ReaderError."""
        at = 0
        while True:
            piece = apdu[at : at + _PIECE]
            at += len(piece)
            if at >= len(apdu):
                break
            await self._send(b"\x41" + piece)
        answer = await self._send(b"\x01" + piece)
        reply = bytes(answer[1:])
        while answer[0] & _MORE:
            answer = await self._send(b"\x01")
            reply += answer[1:]
            if len(reply) > _LONGEST_REPLY:
                raise ReaderError("the card's answer has no end")
        return reply

    async def _send(self, args):
        answer = await self._reader.command(_IN_DATA_EXCHANGE, args, _CARD_MS, False)
        if answer is None:
            raise CardGone("the card does not answer")
        if len(answer) == 0:
            raise ReaderError("answer without a status")
        if answer[0] & _STATUS:
            raise CardGone("the card is gone (%02x)" % (answer[0] & _STATUS))
        return answer

    async def release(self):
        """Ends it: read_uid finds the card anew. Raises ReaderError."""
        await self._reader.command(_IN_RELEASE, b"\x01", _ANSWER_TIMEOUT_MS, True)
