"""Cards that prove themselves: the dialogue with the one on the reader, and who is locked out.

Loaded only where the configuration has a card key. The master key lies in this charger: who takes
it out of its flash can make cards. So it belongs where the board keeps secrets, and cards of
consequence get a master of their own.
"""

import gc
import os
import sys
from binascii import unhexlify

from evtill.app.compose import forget
from evtill.core.errors import CardError, CardGone
from evtill.core.tokens import TokenListError, anonymous, token_of

_TRIES = 3
_LOCKED_MS = 300000
_REMEMBERED = 8  # cards that failed; the one that failed longest ago is forgotten first
_ISO_14443_4 = 0x20  # SAK (ISO/IEC 14443-3, 6.5.3): takes APDUs


class CardProof:
    """tokens: the list; aes: as core.ev2 wants it, by default the chip's."""

    def __init__(self, config, tokens, aes=None):
        self._config = config
        self._tokens = tokens
        self._master = unhexlify(config["card_key"])
        self._aid = unhexlify(config["card_aid"])
        self._system = config["card_system"].encode()
        self._aes = aes
        self._failed = {}  # UID (b"" for all that show none of their own): [times, when in ms]

    async def look(self, reader, uid, now_ms):
        """(UID, assurance, why) of the card that `reader` has just read: its true UID, and "aes"
        when it proved itself, "uid" when it has no application of ours. why: (event or None, words
        for the driver) when it failed, is locked out or should have proved itself; True when it has
        no UID of its own; else None. Raises ReaderError."""
        uid, assurance, why = await self._ask(reader, uid, now_ms)
        if why is None and assurance == "uid":
            if anonymous(uid):
                why = True
            elif self._must_prove(uid):
                why = "card_unproven", "card is not genuine"
        return uid, assurance, why

    def _must_prove(self, uid):
        config = self._config
        if config["least_assurance"] == "aes":
            return True
        groups = config["aes_groups"]
        if not groups:
            return False
        try:
            found = self._tokens.find(token_of(unhexlify(config["token_key"]), uid))
        except (OSError, TokenListError):
            return True
        return found is not None and found[0] in groups.split(",")

    async def _ask(self, reader, uid, now_ms):
        if not reader.sak & _ISO_14443_4:
            return uid, "uid", None
        who = b"" if anonymous(uid) else uid
        failed = self._failed.get(who)
        if failed and now_ms - failed[1] >= _LOCKED_MS:
            del self._failed[who]
            failed = None
        if failed and failed[0] >= _TRIES:
            return uid, "uid", ("card_locked", "card is locked for some minutes")
        try:
            proved = await self._prove(reader, uid)
        except CardGone:
            return uid, "uid", (None, "hold your card longer")
        except CardError:
            times = (failed[0] if failed else 0) + 1
            self._remember(who, times, now_ms)
            if times == _TRIES:
                return uid, "uid", ("card_locked", "card is locked for some minutes")
            return uid, "uid", ("card_refused", "card is not genuine")
        if failed:
            del self._failed[who]
        return (uid, "uid", None) if proved is None else (proved, "aes", None)

    async def _prove(self, reader, uid):
        from evtill.core.ev2 import prove

        if self._aes is None:
            from cryptolib import aes

            self._aes = aes
        dialogue = prove(self._aes, self._master, self._aid, self._system, uid, os.urandom)
        card = reader.dialogue()
        reply = None
        try:
            while True:
                reply = await card.exchange(dialogue.send(reply))
        except StopIteration as end:
            return end.value
        finally:
            # Some kB of heap, which the session that begins now needs more.
            dialogue = prove = reply = None
            for package, name in (("evtill.core", "ev2"), ("evtill.drivers", "pn532_cards")):
                if package + "." + name in sys.modules:
                    forget(name, package)
            await card.release()
            gc.collect()

    def _remember(self, who, times, now_ms):
        if who not in self._failed and len(self._failed) >= _REMEMBERED:
            del self._failed[min(self._failed, key=lambda uid: self._failed[uid][1])]
        self._failed[who] = [times, now_ms]
