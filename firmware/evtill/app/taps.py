"""The card reader's task: cards on the reader become taps. A reader that fails is begun again."""

import asyncio
from binascii import hexlify

from evtill.app import screens
from evtill.core import tokens as lists
from evtill.core.errors import ReaderError
from evtill.drivers.pn532 import TapDetector

_CARD_MS = 100  # between looks at a card that lies on the reader
_NO_CARD_MS = 30000  # the reader itself waits for a card for so long
_TWICE_MS = 2000  # a card that comes again so soon was never meant to: it would undo what it did
_AGAIN_MS = 2000  # before a reader that failed is begun again


class Taps:
    """access: app.access.Access, told how a card has proved itself; point: the ChargePoint, told
    of the tap; face: app.face.Face; report and beat as the ChargePoint's."""

    def __init__(self, config, reader, access, clock, face, report, beat, point):
        self._reader = reader
        self._access = access
        self._clock = clock
        self._face = face
        self._report = report
        self._beat = beat
        self._point = point
        self._tapped_ms = -_TWICE_MS
        self._proof = None
        if config["card_key"]:
            from evtill.app.card_proof import CardProof

            self._proof = CardProof(config, access.tokens)

    async def run(self):
        """Task."""
        taps = TapDetector()
        lost = False
        while True:
            self._beat("reader")
            try:
                await self._reader.begin()
                if lost:
                    lost = False
                    self._report("reader_back", "")
                await self._watch(taps)
            except ReaderError as e:
                if not lost:
                    lost = True
                    self._report("reader_fault", str(e))
                await asyncio.sleep_ms(_AGAIN_MS)

    async def _watch(self, taps):
        """Turns cards into taps until a ReaderError."""
        while True:
            self._beat("reader")
            # A card that lay there is looked for again; else the reader itself waits for one.
            uid = await self._reader.read_uid(_CARD_MS if taps.held else _NO_CARD_MS)
            tap = taps.update(uid, self._clock.now_ms())
            # The reader's checksum is an 8-bit sum: a UID counts when it was read twice alike.
            if tap and await self._reader.read_uid(_CARD_MS) == tap:
                await self._card(tap)
            if taps.held:
                await asyncio.sleep_ms(_CARD_MS)
            else:
                await self._reader.check()

    async def _card(self, uid):
        """A card becomes a tap if it proves as much as is asked of it; else the driver reads why
        not. So a copy of a UID neither starts nor stops a session of one that must prove itself."""
        assurance, why = "uid", lists.anonymous(uid)
        if self._proof:
            uid, assurance, why = await self._proof.look(self._reader, uid, self._clock.now_ms())
        token = lists.token_of(self._access.token_key, uid)
        if not why:
            now_ms = self._clock.now_ms()
            twice = token == self._access.tapped[0] and now_ms - self._tapped_ms < _TWICE_MS
            self._tapped_ms = now_ms
            if not twice:
                self._access.tapped = (token, assurance)
                self._point.post("tap", token)
            return
        if why is True:
            why = "card_anonymous", "phone or hidden card number"
        if why[0]:
            self._report(why[0], hexlify(token).decode())
        self._face.message(screens.refused(why[1]), 3)
