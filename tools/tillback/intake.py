"""Decides about each message of a charger: what is stored, and what is acknowledged or refused.

No network here: a topic and a body go in, an acknowledgement to publish comes out. It is handed
out only after the transaction is on disk."""

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from evtill.core import jws, record_check
from evtill.core.errors import EvtillError, RecordError, SignatureError
from tillback.db.tables import Charger
from tillback.store import CONFLICT, DUPLICATE, STORED, Store
from tillctl.key_ring import KeyRing
from tillctl.public_key import OpenSsl, PublicKey
from tillctl.sources import claimed

BODY_MAX = 65536  # bytes; more than that is dropped unread

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ack:
    """What to publish, QoS 1: `refused` says with an error."""

    topic: str
    body: bytes
    refused: bool


@dataclass
class Counters:
    """What has happened since the start."""

    received: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    events: int = 0
    statuses: int = 0
    failed: int = 0


class Intake:
    """take(topic, body) for each message; `counters` say what became of them."""

    def __init__(self, store: Store) -> None:
        self.counters = Counters()
        self._store = store
        self._keys: dict[str, tuple[Charger, KeyRing]] = {}

    def take(self, topic: str, body: bytes) -> Ack | None:
        """Stores `body` of `evtill/v1/<charger>/<kind>` and returns its acknowledgement, if any."""
        self.counters.received += 1
        levels = topic.split("/")
        if len(levels) < 4 or levels[:2] != ["evtill", "v1"]:
            return None
        charger, kind = levels[2], "/".join(levels[3:])
        registered = self._registered(charger)
        if registered is None:
            self._store.alarm(charger[:64], "unknown_charger", f"publishes on {kind[:32]}")
            return None
        if len(body) > BODY_MAX:
            self._store.alarm(charger, "oversized", f"{kind[:32]}: {len(body)} bytes")
            return None
        if kind == "usage":
            return self._usage(*registered, topic, body)
        if kind == "event":
            return self._event(registered[0], topic, body)
        if kind == "status":
            self._status(charger, body)
        if kind == "cmd/result":
            self._result(charger, body)
        return None

    def _registered(self, charger: str, anew: bool = False) -> tuple[Charger, KeyRing] | None:
        known = self._keys.get(charger)
        if known is None or anew:
            row = self._store.charger(charger)
            if row is None:
                return None
            key = PublicKey(row.public_key_pem)
            known = (row, KeyRing([(charger, key)], self._store.rotations(charger)))
            self._keys[charger] = known
        return known

    def _usage(self, charger: Charger, ring: KeyRing, topic: str, body: bytes) -> Ack:
        sha256 = hashlib.sha256(body).hexdigest()
        record: dict[str, Any] = {}
        if claimed(body, "kid") not in ring.terms:  # a key may have been rotated since
            charger, ring = self._registered(charger.id, True) or (charger, ring)
        key = ring.key_for(body)
        try:
            payload, kid = jws.es256_verify(body, jws.USAGE, key.point, OpenSsl())
            if kid != key.kid:
                raise SignatureError("kid is not the thumbprint of the charger's key")
            record = record_check.parse(payload)
            if record["charger"] != charger.id:
                raise RecordError("the record is of another charger")
            ring.check(record, kid)
            signed, _, der = record_check.parse_ocmf(record["ocmf"])
            if not key.is_signed(signed, der):
                raise SignatureError("the OCMF signature does not verify")
        except EvtillError as error:
            return self._refuse(charger, topic, body, sha256, _claimed_id(body), str(error))
        outcome = self._store.add_record(charger.id, record, body, sha256, payload)
        if outcome == CONFLICT:
            reason = f"seq {record['seq']} is stored with other content"
            return self._refuse(charger, topic, body, sha256, record["id"], reason)
        self.counters.stored += outcome == STORED
        self.counters.duplicates += outcome == DUPLICATE
        return _ack(charger, topic, record["id"], sha256)

    def _event(self, charger: Charger, topic: str, body: bytes) -> Ack:
        sha256 = hashlib.sha256(body).hexdigest()
        try:
            found = _parse_event(charger.id, body)
        except EvtillError as error:
            return self._refuse(charger, topic, body, sha256, _id_of(body), str(error))
        outcome = self._store.add_event(charger.id, found, sha256, body)
        if outcome == CONFLICT:
            reason = "this event id is stored with other content"
            return self._refuse(charger, topic, body, sha256, found["id"], reason)
        self.counters.events += outcome == STORED
        self.counters.duplicates += outcome == DUPLICATE
        return _ack(charger, topic, found["id"], sha256)

    def _status(self, charger: str, body: bytes) -> None:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or len(body) > 4096:
            digest = hashlib.sha256(body).hexdigest()
            self._store.alarm(charger, "status_malformed", digest)
            return
        self.counters.statuses += self._store.add_status(charger, body)
        boot, nonce = found.get("boot"), found.get("nonce")
        if found.get("state") == "offline" or type(boot) is not int or not 0 <= boot < 1 << 32:
            return  # a last will is as old as the link that it ends: a newer boot may be known
        if isinstance(nonce, str) and len(nonce) <= 64 and nonce.isprintable():
            self._store.add_boot(charger, boot, nonce)

    def _result(self, charger: str, body: bytes) -> None:
        """A command's result: kept for whoever sent it."""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("status") not in ("accepted", "rejected"):
            self._store.alarm(charger, "result_malformed", hashlib.sha256(body).hexdigest())
            return
        command, detail = found.get("id"), found.get("detail")
        if isinstance(detail, str) and (command is None or isinstance(command, str)):
            self._store.add_result(charger, command, found["status"], detail[:1024])

    def _refuse(
        self, charger: Charger, topic: str, body: bytes, sha256: str, claimed: str | None,
        reason: str,
    ) -> Ack:  # fmt: skip
        self.counters.refused += 1
        log.warning("refused %s %s: %s", topic, sha256, reason)
        self._store.refuse(charger.id, topic, body, sha256, reason)
        return _ack(charger, topic, claimed, sha256, reason)


def _ack(
    charger: Charger, topic: str, record_id: str | None, sha256: str, error: str | None = None
) -> Ack:
    """The acknowledgement; a refusal of something without a readable id names it by hash alone."""
    said: dict[str, Any] = {"charger": charger.id, "id": record_id, "sha256": sha256}
    if error is not None:
        said["error"] = error[:120]
    payload = json.dumps(said, separators=(",", ":")).encode()
    return Ack(f"{topic}/ack", jws.hs256_sign(payload, jws.ACK, charger.ack_key), error is not None)


def _parse_event(charger: str, body: bytes) -> dict[str, Any]:
    """{id, at, name, detail} of an event; further keys may stand beside them. RecordError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise RecordError("event: not JSON") from None
    if not isinstance(found, dict) or len(body) > 4096:
        raise RecordError("event: not a JSON object of at most 4096 bytes")
    for key, most in (("id", 64), ("name", 48), ("detail", 1024)):
        if not isinstance(found.get(key), str) or len(found[key]) > most:
            raise RecordError(f"event: {key} is not a string of at most {most} characters")
        if not found[key].isprintable():
            raise RecordError(f"event: {key} holds what cannot be printed")
    if not found["id"].startswith(charger + "-e"):
        raise RecordError("event: id is not the charger's")
    if found.get("at", 0) is not None:
        if not isinstance(found.get("at"), str):
            raise RecordError("event: at is not a time or null")
        record_check.unix_s(found["at"])
    return found


def _claimed_id(body: bytes) -> str | None:
    """The id in a JWS that is not trusted, for the refusal to name."""
    try:
        return _id_of(jws.b64url_decode(body.split(b".")[1]))
    except (EvtillError, IndexError, ValueError, TypeError):
        return None


def _id_of(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    claimed = found.get("id") if isinstance(found, dict) else None
    return claimed if isinstance(claimed, str) and 0 < len(claimed) <= 64 else None
