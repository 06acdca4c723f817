"""An MFRC522 behind its SPI, and cards in its field by ISO 14443-3 and -4, bit by bit.

Written from the data sheet's registers (9.3) and the standard, apart from the driver."""

SHORT, ANTICOLLISION, FRAME = range(3)


def crc_a(data):
    """14443-3, annex B, bit by bit: x^16 + x^12 + x^5 + 1, reflected, from 6363."""
    crc = 0x6363
    for byte in data:
        for i in range(8):
            bit = (crc ^ byte >> i) & 1
            crc = crc >> 1 ^ (0x8408 if bit else 0)
    return crc.to_bytes(2, "little")


def bits_of(data):
    return [byte >> i & 1 for byte in data for i in range(8)]


def bytes_of(bits):
    rows = [bits[at : at + 8] for at in range(0, len(bits), 8)]
    return bytes(sum(bit << i for i, bit in enumerate(row)) for row in rows)


class Picc:
    """A type A card: states of 14443-3, 6.3; with `chip`, blocks of 14443-4.

    wants_time: wishes for time before each answer; lose: numbers of its answers that never arrive;
    damage: those that arrive with a wrong bit; piece: bytes of its blocks (FSD 64 at most)."""

    def __init__(self, uid, sak=0x08, chip=None, wants_time=0, lose=(), damage=(), piece=61):
        self.uid, self.chip, self.piece = uid, chip, piece
        self.sak = 0x20 if chip else sak
        self.wants_time, self.lose, self.damage = wants_time, set(lose), set(damage)
        self.sent = 0
        self.state, self.halted, self.level = "idle", False, 0
        self.frames = []

    def levels(self):
        uid, parts = self.uid, []
        while len(uid) > 4:
            parts.append(b"\x88" + uid[:3])
            uid = uid[3:]
        parts.append(uid)
        return [part + bytes([part[0] ^ part[1] ^ part[2] ^ part[3]]) for part in parts]

    def hear(self, bits):
        """The bits of the answer, or None."""
        data = bytes_of(bits)
        if len(bits) == 7:
            wakes = data[0] == 0x52 or (data[0] == 0x26 and not self.halted)
            if self.state in ("idle", "halt") and wakes:
                self.state, self.level = "ready", 0
                return bits_of(bytes([{4: 0x04, 7: 0x44, 10: 0x84}[len(self.uid)], 0x03]))
            return self._drop()
        if self.state == "ready" and data[0] == (0x93, 0x95, 0x97)[self.level]:
            return self._ready(bits, data)
        if len(bits) % 8 or len(data) < 3 or crc_a(data[:-2]) != data[-2:]:
            return None if self.state == "protocol" else self._drop()
        if self.state == "active":
            if data[:2] == b"\x50\x00":
                self.halted, self.state = True, "halt"
                return None
            if data[0] == 0xE0 and self.chip:
                self.state, self.number, self.command, self.reply = "protocol", 1, b"", b""
                self.waiting, self.last, self.wishes = None, b"", 0
                self.chip.halt()
                return self._framed(self.chip.ats)
            return self._drop()
        if self.state == "protocol":
            block = self._block(data[:-2])
            if block is None:
                return None
            self.last = block if block[0] != 0xC2 else b""
            return self._framed(block)
        return None

    def _drop(self):
        self.state = "halt" if self.halted else "idle"
        return None

    def _ready(self, bits, data):
        part = self.levels()[self.level]
        if data[1] == 0x70 and len(data) == 9 and crc_a(data[:7]) == data[7:]:
            if data[2:7] != part:
                return self._drop()
            self.level += 1
            last = self.level == len(self.levels())
            self.state = "active" if last else "ready"
            sak = bytes([self.sak if last else 0x04])
            return bits_of(sak + crc_a(sak))
        known = (data[1] >> 4) * 8 + (data[1] & 7) - 16
        if not 0 <= known < 40 or len(bits) != 16 + known:
            return self._drop()
        if bits[16:] != bits_of(part)[:known]:
            return self._drop()
        return bits_of(part)[known:]

    def _framed(self, data):
        n, self.sent = self.sent, self.sent + 1
        self.frames.append(data)
        if n in self.lose:
            return None
        bits = bits_of(data + crc_a(data))
        if n in self.damage:
            bits[3] ^= 1
        return bits

    def _block(self, block):
        pcb = block[0]
        if pcb == 0xC2:  # DESELECT
            self.halted, self.state = True, "halt"
            return block
        if pcb == 0xF2 and self.waiting is not None:  # S(WTX) of the reader
            return self._wait()
        if pcb & 0xE2 == 0x02:  # I-block
            self.number ^= 1
            self.command += block[1:]
            if pcb & 0x10:
                return bytes([0xA2 | self.number])
            command, self.command = self.command, b""
            self.reply = self.chip.apdu(command)
            self.wishes = self.wants_time
            self.waiting = self._piece
            return self._wait()
        if pcb & 0xE6 == 0xA2:  # R-block
            if pcb & 1 == self.number:  # rule 11
                return self.last
            if pcb & 0x10:  # rule 12: NAK
                return bytes([0xA2 | self.number])
            self.number ^= 1  # rule 13: ACK, chaining goes on
            return self._piece()
        return None

    def _wait(self):
        if self.wishes:
            self.wishes -= 1
            return b"\xf2\x02"
        answer, self.waiting = self.waiting, None
        return answer()

    def _piece(self):
        piece, self.reply = self.reply[: self.piece], self.reply[self.piece :]
        return bytes([0x02 | (0x10 if self.reply else 0) | self.number]) + piece


class MFRC522Chip:
    """The SPI bus and the pin that selects the chip. `cards`: in the field."""

    def __init__(self, cards=()):
        self.cards = list(cards)
        self.broken = self.hangs = False
        self.transfers = 0
        self.pull_after = None  # bytes on the air until all cards are pulled away
        self._reset()

    def _reset(self):
        self.registers = {0x37: 0x92, 0x14: 0x80, 0x2A: 0x00, 0x0E: 0x20}
        self.fifo = b""
        self._field(False)

    def _field(self, on):
        if not on:
            for card in self.cards:
                card.state, card.halted = "idle", False

    def value(self, level):
        self.selected = level == 0

    def write_readinto(self, out, into):
        assert self.selected and len(out) == len(into)
        self.transfers += 1
        if self.broken:
            raise OSError(5, "EIO")
        if self.hangs:
            into[:] = b"\xff" * len(into)
            return
        into[0] = 0
        if out[0] & 0x80:
            for i in range(1, len(out)):
                into[i] = self._read(out[i - 1] >> 1 & 0x3F)
        else:
            for byte in out[1:]:
                self._write(out[0] >> 1 & 0x3F, byte)

    def _read(self, register):
        if register == 0x09:
            byte, self.fifo = (self.fifo[0], self.fifo[1:]) if self.fifo else (0, b"")
            return byte
        if register == 0x0A:
            return len(self.fifo)
        return self.registers.get(register, 0)

    def _write(self, register, value):
        if register == 0x01 and value == 0x0F:
            self._reset()
        elif register == 0x09:
            assert len(self.fifo) < 64, "FIFO overflow"
            self.fifo += bytes([value])
        elif register == 0x0A and value & 0x80:
            self.fifo = b""
        elif register == 0x04 and not value & 0x80:
            self.registers[4] = self.registers.get(4, 0) & ~value
        else:
            self.registers[register] = value
            if register == 0x0D and value & 0x80 and self.registers.get(0x01) == 0x0C:
                self._transceive(value & 7, value >> 4 & 7)

    def _transceive(self, last_bits, align):
        sent, self.fifo = bits_of(self.fifo), b""
        if last_bits:
            sent = sent[: len(sent) - 8 + last_bits]
        on = self.registers[0x14] & 3 == 3
        answers = [bits for card in list(self.cards) if on and (bits := card.hear(sent))]
        self._passes(len(sent) // 8)
        if answers and not self._passes(len(answers[0]) // 8):
            answers = [] if len(self.cards) else [answers[0][: len(answers[0]) // 2]]
        self.registers[0x06] = 0
        if not answers:
            self.registers[4] = self.registers.get(4, 0) | 0x01
            return
        bits, where = answers[0], None
        for other in answers[1:]:
            for i in range(len(bits)):
                if bits[i] != other[i] and (where is None or i < where):
                    where = i
        if where is not None:
            bits = bits[:where] + [0] * (len(bits) - where)
            self.registers[0x06] = 0x08
            # The position counts from the first bit of the first byte in the FIFO.
            self.registers[0x0E] = where + align + 1 & 0x1F
        bits = [0] * align + bits
        self.fifo = bytes_of(bits)[:64]
        self.registers[0x0C] = len(bits) % 8
        self.registers[4] = self.registers.get(4, 0) | 0x30

    def _passes(self, n):
        if self.pull_after is None:
            return True
        self.pull_after -= n
        if self.pull_after < 0:
            self.cards = []
            return False
        return True
