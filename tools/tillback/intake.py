"""Decides about the messages of chargers: what is stored, and what is acknowledged or refused.

No network here: topics and bodies go in, acknowledgements to publish come out. They are handed
out only after the transaction is on disk."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError

from evtill.core import jws
from tillback import batch, messages, repricing
from tillback.batch import CONFLICT, DUPLICATE, STORED
from tillback.db.database import StoreError, now, one_line
from tillback.db.tables import Charger
from tillback.limits import Limits
from tillback.messages import Event, Oddity, Record, Refusal, Status, Taken
from tillback.repricing import Judgement
from tillback.store import Store
from tillback.tariffs import Tariffs
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey
from tillctl.sources import claimed

KINDS = ("usage", "event", "status", "meter", "cmd/result")

log = logging.getLogger(__name__)

Message = tuple[str, bytes]  # topic and body

_encode = json.JSONEncoder(separators=(",", ":")).encode

_AWAY = (OperationalError, InterfaceError, OSError)  # the database, not the message, is at fault


@dataclass(frozen=True, slots=True)
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
    dropped: int = 0  # beyond a charger's limits
    failed: int = 0


class Intake:
    """take(topic, body) for a message, take_all() for many; `counters` say what became of them."""

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self.counters = Counters()
        self._store = store
        self._limits = limits or Limits()
        self._tariffs = Tariffs()
        self._chargers: dict[str, tuple[Charger, KeyRing]] = {}

    def take(self, topic: str, body: bytes) -> Ack | None:
        """Stores the body of `evtill/v1/<charger>/<kind>` and returns its acknowledgement, if
        any."""
        return self.take_all([(topic, body)])[0]

    def take_all(self, given: Sequence[Message]) -> list[Ack | None]:
        """take() of each, in one transaction where that works; a message that cannot be stored
        costs the others nothing. Raises StoreError where the database cannot be written to: then
        nothing is stored."""
        self.counters.received += len(given)
        try:
            taken = [self._check(topic, body) for topic, body in given]
            known = [one for one in taken if one is not None]
            try:
                outcomes: Sequence[str | None] = self._write(known)
            except _AWAY:
                raise
            except Exception:
                log.exception("a batch of %d: each of it alone", len(known))
                outcomes = [self._write_alone(one) for one in known]
        except _AWAY as error:
            raise StoreError(f"database: {one_line(error)}") from error
        became = iter(outcomes)
        return [None if one is None else self._answer(one, next(became)) for one in taken]

    def _check(self, topic: str, body: bytes) -> Taken | None:
        levels = topic.split("/", 3)
        if len(levels) < 4 or levels[:2] != ["evtill", "v1"] or levels[3] not in KINDS:
            return None
        charger, kind = levels[2], levels[3]
        if not charger.isprintable():  # no broker lets it through
            return None
        registered = self._registered(charger)
        if registered is None:
            if not self._limits.allow("", "stranger"):
                return self._drop()
            return Oddity(charger[:64], "unknown_charger", f"publishes on {kind}")
        if not self._limits.allow(charger, kind):
            return self._drop(charger, kind)
        if len(body) > messages.BODY_MAX:
            return Oddity(charger, "oversized", f"{kind}: more than {messages.BODY_MAX} bytes")
        try:
            return self._read(*registered, kind, topic, body)
        except _AWAY:
            raise
        except Exception:
            log.exception("%s: cannot be judged", topic)
            self.counters.failed += 1
            return Oddity(charger, "not_stored", f"{kind}: see the log")

    def _read(
        self, charger: Charger, ring: KeyRing, kind: str, topic: str, body: bytes
    ) -> Taken | None:
        if kind == "usage":
            if claimed(body, "kid") not in ring.terms:  # a key may have been rotated since
                _, ring = self._registered(charger.id, True) or (charger, ring)
            found: Taken = messages.usage(charger.id, ring, topic, body)
        elif kind == "event":
            found = messages.event(charger.id, topic, body)
        elif kind == "status":
            found = messages.status(charger.id, body)
        elif kind == "meter":
            found = messages.live(charger.id, body)
        else:
            found = messages.result(charger.id, body, self._store.command_key(charger.id))
        if isinstance(found, Refusal) and not self._limits.allow(charger.id, "refusal"):
            return self._drop(charger.id, "refusal")
        return found

    def _drop(self, charger: str = "", kind: str = "") -> Oddity | None:
        """Beyond a limit: no answer, and an alarm a day."""
        self.counters.dropped += 1
        return Oddity(charger, "flood", kind) if charger else None

    def _registered(self, charger: str, anew: bool = False) -> tuple[Charger, KeyRing] | None:
        known = self._chargers.get(charger)
        if known is None or anew:
            row = self._store.charger(charger)
            if row is None:
                return None
            key = PublicKey(row.public_key_pem)
            known = (row, KeyRing([(charger, key)], self._store.rotations(charger)))
            self._chargers[charger] = known
        return known

    def _judge(self, records: list[Record]) -> dict[str, Judgement]:
        """What is billed, by the record's hash, where the tariff is known."""
        wanted = {one.said["tariff"]["sha256"] for one in records}
        if missing := self._tariffs.missing(wanted):
            with self._store.database.read() as session:
                self._tariffs.load(session, missing)
        judged = {}
        for one in records:
            tariff = self._tariffs.get(one.said["tariff"]["sha256"])
            if tariff is not None:
                judged[one.sha256] = repricing.judge(one.said, one.meant, tariff)
        return judged

    def _write(self, taken: Sequence[Taken]) -> Sequence[str]:
        if not taken:
            return []
        judged = self._judge([one for one in taken if isinstance(one, Record)])
        with self._store.database.write() as session:
            return batch.store(session, taken, judged, self._tariffs, now())

    def _write_alone(self, one: Taken) -> str | None:
        """Its outcome, None where it cannot be stored: it is not acknowledged then."""
        try:
            return self._write([one])[0]
        except _AWAY:
            raise
        except Exception:
            log.exception("%s of %s: not stored", type(one).__name__, one.charger)
        self.counters.failed += 1
        self._write([Oddity(one.charger, "not_stored", f"{type(one).__name__}: see the log")])
        return None

    def _answer(self, one: Taken, outcome: str | None) -> Ack | None:
        """Counts it, and says what to publish."""
        if isinstance(one, Status):
            self.counters.statuses += outcome == STORED
        if not isinstance(one, Record | Event | Refusal) or outcome is None:
            return None
        if isinstance(one, Refusal):
            return self._refusal(one.charger, one.topic, one.sha256, one.claimed, one.reason)
        kind = "usage" if isinstance(one, Record) else "event"
        topic = f"evtill/v1/{one.charger}/{kind}"
        if outcome == CONFLICT:
            reason = batch.conflict(one).reason
            return self._refusal(one.charger, topic, one.sha256, one.said["id"], reason)
        self.counters.duplicates += outcome == DUPLICATE
        if outcome == STORED and isinstance(one, Record):
            self.counters.stored += 1
        elif outcome == STORED:
            self.counters.events += 1
        return self._ack(one.charger, topic, one.sha256, one.said["id"])

    def _refusal(
        self, charger: str, topic: str, sha256: str, claimed_id: str | None, reason: str
    ) -> Ack:
        self.counters.refused += 1
        log.warning("refused %s %s: %s", topic, sha256, reason)
        return self._ack(charger, topic, sha256, claimed_id, reason)

    def _ack(
        self, charger: str, topic: str, sha256: str, name: str | None, error: str | None = None
    ) -> Ack:
        """The acknowledgement; a refusal of something without a readable id names it by hash
        alone."""
        said: dict[str, Any] = {"charger": charger, "id": name, "sha256": sha256}
        if error is not None:
            said["error"] = error[:120]
        payload = _encode(said).encode()
        key = self._chargers[charger][0].ack_key
        return Ack(f"{topic}/ack", jws.hs256_sign(payload, jws.ACK, key), error is not None)
