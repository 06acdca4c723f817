"""The QR code on a charger's display: where to pay, with a nonce for this one payment attempt.

AFIR (Regulation (EU) 2023/1804, Article 5) wants a code that is specific to the payment
transaction, where a code is used; and a sticker over it stands out, since it never changes."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import segno

from evtill.core.errors import ConfigError
from tillback import commands
from tillback.store import Store

LIFE_S = 900
NONCE = "{nonce}"
_VERSION_MAX = 3  # 29 modules: what a display of 64 pixels shows at 2 pixels each
_AGAIN_S = 20  # a charger that has been sent one gets so long to say that it has it
_EARLY_S = 60  # before it expires, it is replaced


@dataclass(frozen=True)
class Offer:
    """args: of the command set_display."""

    nonce: str
    url: str
    args: dict[str, Any]


def make(template: str, life_s: int = LIFE_S, now_s: int | None = None) -> Offer:
    """A new offer for the URL `template`, which has {nonce} in it. Raises ConfigError."""
    if template.count(NONCE) != 1 or urlsplit(template).scheme.lower() != "https":
        raise ConfigError(f"url: want one of https with {NONCE} in it")
    # 65 bits in the letters that a QR code packs best, in capitals or small ones as the rest is.
    nonce = base64.b32encode(secrets.token_bytes(10)).decode()[:13]
    url = template.replace(NONCE, nonce)
    size, bits = bitmap(url)
    now_s = int(time.time()) if now_s is None else now_s
    return Offer(nonce, url, {
        "qr": base64.b64encode(bits).decode(), "size": size, "expires_s": now_s + life_s,
    })  # fmt: skip


def bitmap(text: str) -> tuple[int, bytes]:
    """(modules on a side, bits row by row, dark is 1) of the smallest QR code. Raises ConfigError
    where no display shows it."""
    try:
        code = segno.make(text, error="l", micro=False)
        if int(code.version) > _VERSION_MAX:
            raise segno.DataOverflowError
    except segno.DataOverflowError:
        raise ConfigError(
            f"url: {len(text)} characters with its nonce, and a display has room for 53 "
            "(77 where all of it is in capitals)"
        ) from None
    dark = "".join("1" if module else "0" for row in code.matrix for module in row)
    dark += "0" * (-len(dark) % 8)
    return len(code.matrix), int(dark, 2).to_bytes(len(dark) // 8, "big")


class Offers:
    """Keeps a QR code on the chargers' displays: a new one when theirs was used, or expires."""

    def __init__(self, store: Store, template: str) -> None:
        make(template)  # raises what is wrong with it
        self._store = store
        self._template = template
        self._sent: dict[str, tuple[str, int]] = {}  # (boot's nonce, Unix s), by charger

    def answer(self, charger: str, status: bytes, now_s: int | None = None) -> bytes | None:
        """The command to send to a charger that has published `status`, or None."""
        try:
            said = json.loads(status)
            state, boot, expires_s = said["state"], str(said["nonce"]), said["qr_expires_s"]
        except (ValueError, TypeError, KeyError):
            return None
        now_s = int(time.time()) if now_s is None else now_s
        if state != "available" or (isinstance(expires_s, int) and expires_s > now_s + _EARLY_S):
            return None
        sent_boot, sent_s = self._sent.get(charger, ("", 0))
        if sent_boot == boot and now_s < sent_s + _AGAIN_S:
            return None
        key = self._store.command_key(charger)
        if key is None:
            return None
        self._sent[charger] = boot, now_s
        offer = make(self._template, now_s=now_s)
        self._store.add_offer(offer.nonce, charger, offer.args["expires_s"])
        return commands.sign(charger, key, boot, "set_display", offer.args, now_s=now_s)[1]
