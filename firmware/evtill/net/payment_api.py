"""The payment API's answer to a card that the charger does not know: POST /v1/authorizations.

Asked: {"charger", "token" (16 hex: its keyed hash), "currency"}, with an Idempotency-Key, under the
charger's own certificate and password. Answered, with status 200 or 201:
  status    one of VERDICTS, OCPI 2.2.1's AllowedType
  ref       the authorisation's name, 1 to 36 characters that OCMF takes, where it is ALLOWED
  ceiling_minor  what it may cost at most, VAT included, or null
  currency  which the ceiling is in, where there is one
  text      for the display, up to 60 printable characters, or null
  method    "prepaid": the answer holds for this once, and must not be remembered
"""

import binascii
import json
import os
import time

from evtill.core.errors import LinkError, TrustError
from evtill.core.text import plain
from evtill.core.tokens import PREPAID

VERDICTS = {  # and what the driver reads where the answer has no text
    "ALLOWED": None,
    "BLOCKED": "card is blocked",
    "EXPIRED": "card has expired",
    "NO_CREDIT": "no credit left",
    "NOT_ALLOWED": "card is not valid here",
}
_CEILING_MAX = 100000000
_AGAIN_MS = 1500  # a second attempt, under the same key, needs as much time


def authorise(post, context, config, token, currency):
    """(allowed, text or None, ref, ceiling_minor, PREPAID or 0) for `token` (hex). Blocks for the
    name look-up and at most payment_s. post: https.post. Raises LinkError; TrustError for a server
    that is not the one."""
    body = json.dumps({"charger": config["charger_id"], "token": token, "currency": currency})
    key = binascii.hexlify(os.urandom(16)).decode()
    began = time.ticks_ms()
    while True:
        left = config["payment_s"] * 1000 - time.ticks_diff(time.ticks_ms(), began)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if config["payment_password"]:
            headers["Authorization"] = "Bearer " + config["payment_password"]
        try:
            status, answer = post(
                context, config["payment_host"], config["payment_port"], "/v1/authorizations",
                headers, body, left,
            )  # fmt: skip
        except TrustError:
            raise
        except LinkError:
            if config["payment_s"] * 1000 - time.ticks_diff(time.ticks_ms(), began) < _AGAIN_MS:
                raise
        else:  # an answer, whatever it is, is not asked for again
            return parse(status, answer, currency)


def parse(status, answer, currency):
    """authorise()'s result from an answer's status and body. Raises LinkError."""
    if status not in (200, 201):
        raise LinkError("payment API: status %d" % status)
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    status = said.get("status") if isinstance(said, dict) else None
    if not isinstance(status, str) or status not in VERDICTS:
        raise LinkError("payment API: an answer without a verdict")
    text, ref, ceiling = said.get("text"), said.get("ref"), said.get("ceiling_minor")
    if text is not None and not _printable(text, 60):
        raise LinkError("payment API: text")
    if status != "ALLOWED":
        return False, text or VERDICTS[status], None, None, 0
    if not _printable(ref, 36) or [c for c in ' "|\\' if c in ref]:
        raise LinkError("payment API: ref")
    if ceiling is not None:
        whole = isinstance(ceiling, int) and not isinstance(ceiling, bool)
        if not whole or not 0 < ceiling <= _CEILING_MAX or said.get("currency") != currency:
            raise LinkError("payment API: ceiling")
    return True, text, ref, ceiling, PREPAID if said.get("method") == "prepaid" else 0


def _printable(text, longest):
    return isinstance(text, str) and 0 < len(text) <= longest and plain(text)
