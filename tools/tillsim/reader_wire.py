"""A PN532 on its HSU line, with cards before it: bytes in, bytes out, no clock.

Written from NXP UM0701-02 Rev. 02 (frames and dialogue 6.2, commands 7.2 and 7.3), apart from the
driver. Stricter than the chip where a driver might lean on leniency: asleep until a wake-up, and
deaf to all but SAMConfiguration and GetFirmwareVersion until configured.
"""

import random
from dataclasses import dataclass
from typing import Protocol

ACK = bytes.fromhex("0000ff00ff00")
NACK = bytes.fromhex("0000ffff0000")
ERROR = bytes.fromhex("0000ff01ff7f8100")
FIRMWARE = bytes.fromhex("32010607")  # IC PN532, version 1.6, type A, type B and ISO 18092
FOR_EVER = 0xFF
# What may be wrong with the reader; `dead` also covers one that was unplugged.
FAULTS = ("none", "dead", "no_ack", "no_answer", "bad_checksum", "truncated", "error_frame")


def frame(data: bytes) -> bytes:
    """Information frame (6.2.1.1, 6.2.1.2) around TFI and packet data."""
    n = len(data)
    if n <= 255:
        head = bytes([n, -n & 0xFF])
    else:
        head = bytes([0xFF, 0xFF, n >> 8, n & 0xFF, -((n >> 8) + (n & 0xFF)) & 0xFF])
    return b"\x00\x00\xff" + head + data + bytes([-sum(data) & 0xFF, 0])


class Activated(Protocol):
    """A card with ISO 14443-4, as card_sim.py has them."""

    ats: bytes

    def shown(self) -> bytes: ...
    def apdu(self, command: bytes) -> bytes: ...
    def halt(self) -> None: ...
    def field_off(self) -> None: ...


@dataclass
class Card:
    """A card as InListPassiveTarget and InAutoPoll show it (7.3.5, 7.3.13).

    kind: "A", "B" or "F" (FeliCa); `uid` is B's PUPI, FeliCa's IDm. `chip` takes APDUs."""

    uid: bytes
    sens_res: bytes = b""
    sel_res: int = 0
    ats: bytes = b""
    kind: str = "A"
    chip: Activated | None = None

    @property
    def types(self) -> tuple[int, ...]:
        """What InAutoPoll looks for when it finds this."""
        return {"A": (0x00, 0x20 if self.sel_res & 0x20 else 0x10), "B": (0x03, 0x23),
                "F": (0x01, 0x11)}[self.kind]  # fmt: skip

    def target(self) -> bytes:
        if self.kind == "B":  # ATQB: application data, protocol info; no ATTRIB answer
            return b"\x50" + self.uid + bytes.fromhex("000000000071 81") + b"\x01\x00"
        if self.kind == "F":  # POL_RES: length, code, IDm, PMm
            return b"\x12\x01" + self.uid + bytes.fromhex("00f1000000014300")
        head = self.sens_res + bytes([self.sel_res, len(self.uid)])
        return head + self.uid + self.ats


class ReaderWire:
    """One reader. `fault` is one of FAULTS; `log` holds (command, args) of each command it got."""

    def __init__(self) -> None:
        self.fault = "none"
        self.log: list[tuple[int, bytes]] = []
        self.card: Card | None = None
        self.largest = 262  # bytes from a card in one answer (7.3.8)
        self.pull_after: int | None = None  # bytes between reader and card until it is pulled away
        self.exchanges = 0
        self.power_cycle()

    def power_cycle(self) -> None:
        """As after power-up: asleep, not configured, nothing pending. The card stays."""
        self.awake = False
        self.configured = False
        self.max_retries = FOR_EVER
        self._stop_search()
        self._selected: Card | None = None
        self._to_card = b""
        self._from_card = b""
        if self.card and self.card.chip:  # the field was off
            self.card.chip.field_off()
        self._rx = b""
        self._last = b""

    def present(self, uid: bytes, sak: int | None = None, ats: bytes = b"") -> bytes:
        """Puts a card into the field; returns what the reader then says on its own.

        `uid` has 4, 7 or 10 bytes; `sak` defaults to a card without ISO 14443-4, or with it when
        there is an `ats`, whose first byte must be its length. Raises ValueError."""
        sens_res = {4: b"\x00\x04", 7: b"\x00\x44", 10: b"\x00\x84"}.get(len(uid))
        if sens_res is None:
            raise ValueError(f"a UID has 4, 7 or 10 bytes, not {len(uid)}")
        if uid[0] == 0x88 and len(uid) == 4:
            raise ValueError("a UID of 4 bytes does not begin with the cascade tag 88")
        if ats and ats[0] != len(ats):
            raise ValueError("the first byte of an ATS is its length")
        return self._put(
            Card(bytes(uid), sens_res, (0x20 if ats else 0x08) if sak is None else sak, ats)
        )

    def present_chip(self, chip: Activated) -> bytes:
        """Puts a card that takes APDUs into the field; returns what the reader then says."""
        chip.field_off()
        uid = chip.shown()
        said = self.present(uid, 0x20, chip.ats)
        assert self.card is not None
        self.card.chip = chip
        return said

    def present_other(self, kind: str, uid: bytes) -> bytes:
        """Puts a card of kind "B" (4 bytes of PUPI) or "F" (8 bytes of IDm) into the field."""
        return self._put(Card(bytes(uid), kind=kind))

    def _put(self, card: Card) -> bytes:
        self.remove()
        self.card = card
        said = self._found() if self.pending else b""
        return self._say(said) if said else b""

    def remove(self) -> None:
        """Takes the card away."""
        if self.card and self.card.chip:
            self.card.chip.field_off()
        self.card = None
        self.pull_after = None

    @staticmethod
    def garbage(n: int, seed: int) -> bytes:
        """`n` bytes of line noise, the same for the same seed."""
        return random.Random(seed).randbytes(n)

    def feed(self, data: bytes) -> bytes:
        """What the reader says to the bytes `data` from the host."""
        if self.fault == "dead":
            self._rx = b""
            return b""
        self._rx += data
        if not self.awake:
            woken = self._rx.find(0x55)
            self._rx = b"" if woken < 0 else self._rx[woken:]
            self.awake = woken >= 0
        said = b""
        while self.awake:
            start = self._rx.find(b"\x00\xff")
            if start < 0:
                self._rx = self._rx[-1:]
                break
            length = self._frame_length(self._rx[start + 2 :])
            if length is None:
                self._rx = self._rx[start + 1 :]
                continue
            if start + 2 + length > len(self._rx):
                break
            body = self._rx[start + 2 : start + 2 + length]
            self._rx = self._rx[start + 2 + length :]
            said += self._frame(body)
        return said

    @staticmethod
    def _frame_length(body: bytes) -> int | None:
        """Bytes from LEN to DCS of a frame that begins with `body`; None when it is none."""
        if len(body) < 2:
            return 2
        if body[:2] in (b"\x00\xff", b"\xff\x00"):
            return 2
        if body[:2] == b"\xff\xff":
            if len(body) < 5:
                return 5
            if sum(body[2:5]) & 0xFF:
                return None
            return 5 + (body[2] << 8 | body[3]) + 1
        return None if sum(body[:2]) & 0xFF else 2 + body[0] + 1

    def _frame(self, body: bytes) -> bytes:
        if body == b"\x00\xff":  # ACK: aborts what is going on (6.2.2)
            self._stop_search()
            return b""
        if body == b"\xff\x00":  # NACK: once more (6.2.1.4)
            return self._last
        packet = body[5:-1] if body[:2] == b"\xff\xff" else body[2:-1]
        if (sum(packet) + body[-1]) & 0xFF or packet[:1] != b"\xd4" or len(packet) < 2:
            return b""
        command, args = packet[1], packet[2:]
        # A new command also aborts the one before (6.2.2).
        self._stop_search()
        self.log.append((command, args))
        if not self.configured and command not in (0x14, 0x02):
            return b""
        if self.fault == "no_ack":
            return b""
        if self.fault == "error_frame":
            return ACK + ERROR
        answer = self._execute(command, args)
        return ACK + (b"" if answer is None else self._say(answer))

    def _execute(self, command: int, args: bytes) -> bytes | None:
        """Answer from its response code on; empty for a syntax error, None for none yet."""
        if command == 0x02 and not args:
            return b"\x03" + FIRMWARE
        if command == 0x14 and args[:1] in (b"\x01", b"\x02", b"\x03", b"\x04") and len(args) <= 3:
            self.configured = True
            return b"\x15"
        if command == 0x32 and len(args) >= 2:
            if args[0] == 5:
                if len(args) != 4:
                    return b""
                self.max_retries = args[3]
            return b"\x33"
        if command == 0x4A and len(args) >= 2 and args[0] in (1, 2) and args[1] <= 4:
            return self._search(command, {0: (0x00,), 1: (0x01,), 3: (0x03,)}.get(args[1], ()))
        if command == 0x60 and len(args) >= 3 and args[0] and 1 <= args[1] <= 15:  # InAutoPoll
            return self._search(command, tuple(args[2:]), args[0] == 0xFF)
        if command == 0x40 and args:
            return bytes([0x41]) + self._exchange(args[0], args[1:])
        if command in (0x44, 0x52) and len(args) == 1:  # InDeselect, InRelease
            if self._selected and self._selected.chip:
                self._selected.chip.halt()
            self._selected = None
            return bytes([command + 1, 0])
        return b""

    def _search(self, command: int, types: tuple[int, ...], for_ever: bool = True) -> bytes | None:
        self._wanted = (command, types)
        self.pending = True
        if said := self._found():
            return said
        if for_ever and self.max_retries == FOR_EVER:
            return None
        self._stop_search()
        return bytes([command + 1, 0])

    def _stop_search(self) -> None:
        self.pending = False
        self._wanted = (0, ())

    def _found(self) -> bytes:
        """The list of targets, if the card in the field is one that is looked for."""
        command, types = self._wanted
        card = self.card
        if card is None or not set(card.types) & set(types):
            return b""
        self._stop_search()
        self._selected = card
        self._to_card = self._from_card = b""
        if card.chip:
            card.chip.halt()
        if command == 0x4A:
            return b"\x4b\x01\x01" + card.target()
        target = b"\x01" + card.target()
        return bytes([0x61, 1, card.types[1], len(target)]) + target

    def _exchange(self, target: int, data: bytes) -> bytes:
        """InDataExchange (7.3.8): status and data. The chip itself does blocks and waiting."""
        card = self._selected
        if target & 0x3F != 1 or card is None:
            return b"\x27"  # not in the right context (7.1)
        if card is not self.card or card.chip is None:
            return b"\x01"  # time out
        if self._from_card and not data:
            return self._next_piece()
        self._to_card += data
        if target & 0x40:
            return b"\x00"
        command, self._to_card = self._to_card, b""
        self.exchanges += 1
        if not self._passes(len(command)):
            return b"\x01"
        self._from_card = card.chip.apdu(command)
        if not self._passes(len(self._from_card)):
            return b"\x02"  # CRC error
        return self._next_piece()

    def _passes(self, n: int) -> bool:
        """Whether `n` bytes pass between reader and card before it is pulled away."""
        if self.pull_after is None:
            return True
        self.pull_after -= n
        if self.pull_after >= 0:
            return True
        self.remove()
        return False

    def _next_piece(self) -> bytes:
        piece, self._from_card = self._from_card[: self.largest], self._from_card[self.largest :]
        return (b"\x40" if self._from_card else b"\x00") + piece

    def _say(self, answer: bytes) -> bytes:
        """The answer on the wire, with the reader's fault."""
        said = frame(b"\xd5" + answer) if answer else ERROR
        if self.fault in ("dead", "no_answer"):
            return b""
        if self.fault == "bad_checksum":
            said = said[:-2] + bytes([said[-2] ^ 0x10]) + said[-1:]
        if self.fault == "truncated":
            said = said[:-3]
        self._last = said
        return said
