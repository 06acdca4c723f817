"""What a charger's message says: a topic and a body in, a checked thing to store out. No database
here, no network, no clock."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from evtill.core import jws, record_check
from evtill.core.commands import result_mac
from evtill.core.errors import EvtillError, RecordError, SignatureError
from tillctl.key_ring import KeyRing
from tillctl.public_key import OpenSsl

BODY_MAX = 65536  # bytes; more than that is dropped unread
_SMALL_MAX = 4096  # of events, statuses, results and live readings


@dataclass(frozen=True, slots=True)
class Record:
    """A usage record whose signatures hold: `said` is its payload parsed, `meant` its OCMF's."""

    charger: str
    sha256: str
    jws: bytes
    payload: bytes
    said: dict[str, Any]
    meant: dict[str, Any]

    @property
    def id(self) -> str:
        """The record's id, which is its charger's and its seq."""
        return str(self.said["id"])


@dataclass(frozen=True, slots=True)
class Event:
    """An event: `said` has id, at, name and detail, checked, and whatever else it says."""

    charger: str
    sha256: str
    body: bytes
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """`boot` and its `nonce` where the charger itself says them."""

    charger: str
    body: bytes
    boot: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Result:
    """A command's result; `command` is None where the charger could not read its id."""

    charger: str
    command: str | None
    status: str
    detail: str
    proven: bool


@dataclass(frozen=True, slots=True)
class Live:
    """What the meter shows now."""

    charger: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record or event that is none, and why; `claimed` is the id that it gives itself."""

    charger: str
    topic: str
    sha256: str
    body: bytes
    claimed: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Oddity:
    """What is not kept, only told: an alarm, once a day."""

    charger: str
    name: str
    detail: str = ""


Taken = Record | Event | Status | Result | Live | Refusal | Oddity


def usage(charger: str, ring: KeyRing, topic: str, body: bytes) -> Record | Refusal:
    """A usage record: both signatures, the key in force, and every field."""
    sha256 = hashlib.sha256(body).hexdigest()
    key = ring.key_for(body)
    try:
        payload, kid = jws.es256_verify(body, jws.USAGE, key.point, OpenSsl(key))
        if kid != key.kid:
            raise SignatureError("kid is not the thumbprint of the charger's key")
        said = record_check.parse(payload)
        if said["charger"] != charger:
            raise RecordError("the record is of another charger")
        ring.check(said, kid)
        signed, meant, der = record_check.parse_ocmf(said["ocmf"])
        if not key.is_signed(signed, der):
            raise SignatureError("the OCMF signature does not verify")
    except EvtillError as error:
        return Refusal(charger, topic, sha256, body, _claimed_id(body), str(error))
    return Record(charger, sha256, body, payload, said, meant)


def event(charger: str, topic: str, body: bytes) -> Event | Refusal:
    """An event: {id, at, name, detail}; further keys may stand beside them."""
    sha256 = hashlib.sha256(body).hexdigest()
    try:
        return Event(charger, sha256, body, _parse_event(charger, body))
    except EvtillError as error:
        return Refusal(charger, topic, sha256, body, _id_of(body), str(error))


def status(charger: str, body: bytes) -> Status | Oddity:
    """A status; a last will is as old as the link that it ends, so it tells of no boot."""
    found = _small_object(body)
    if found is None:
        return Oddity(charger, "status_malformed")
    boot, nonce = found.get("boot"), found.get("nonce")
    if found.get("state") == "offline" or type(boot) is not int or not 0 <= boot < 1 << 32:
        return Status(charger, body, None)
    if not isinstance(nonce, str) or len(nonce) > 64 or not nonce.isprintable():
        return Status(charger, body, None)
    return Status(charger, body, (boot, nonce))


def result(charger: str, body: bytes, key: bytes | None) -> Result | Oddity:
    """A command's result: kept for whoever sent it. key: the charger's command key, which proves
    it."""
    found = _small_object(body) or {}
    command, detail = found.get("id"), found.get("detail")
    named = command is None or (isinstance(command, str) and command.isprintable())
    known = found.get("status") in ("accepted", "rejected")
    if not (known and named and isinstance(detail, str)):
        return Oddity(charger, "result_malformed")
    proven, mac = False, found.get("mac")
    if command is not None and key and isinstance(mac, str) and (mac + detail).isprintable():
        meant = result_mac(key, command, found["status"], detail)
        proven = hmac.compare_digest(mac.encode(), meant.encode())
    return Result(charger, command and command[:64], found["status"], _shown(detail), proven)


def live(charger: str, body: bytes) -> Live | Oddity:
    """A live reading."""
    if _small_object(body) is None:
        return Oddity(charger, "meter_malformed")
    return Live(charger, body)


def _parse_event(charger: str, body: bytes) -> dict[str, Any]:
    found = _small_object(body)
    if found is None:
        raise RecordError(f"event: not a JSON object of at most {_SMALL_MAX} bytes")
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


def _small_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a short body, or None."""
    if len(body) > _SMALL_MAX:
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:1024])


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
