"""Which key signs which of a charger's records: the keys that are trusted, and those that these
have named in their place (core.key_rotation)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from evtill.core import jws, key_rotation, record_check
from evtill.core.errors import EvtillError, RecordError, SignatureError
from tillctl.public_key import OpenSsl, PublicKey
from tillctl.sources import claimed


@dataclass(frozen=True)
class Term:
    """A key signs the records from seq `first` to `last` (None: it is in force still) of `charger`
    (None: of any). `prev`: SHA-256 of the record before `first`, None where nobody has said it."""

    key: PublicKey
    charger: str | None = None
    first: int = 1
    last: int | None = None
    prev: str | None = None


class KeyRing:
    """terms: {kid: Term}. faults: what is wrong with the rotations given, in words."""

    def __init__(
        self, roots: Iterable[tuple[str | None, PublicKey]], rotations: Iterable[bytes] = ()
    ) -> None:
        """roots: (charger or None, key) that are trusted from elsewhere."""
        self.terms = {key.kid: Term(key, charger) for charger, key in roots}
        self.faults: list[str] = []
        left = list(dict.fromkeys(rotations))
        while ready := [one for one in left if claimed(one, "kid") in self.terms]:
            for one in ready:
                left.remove(one)
                try:
                    self._apply(one)
                except EvtillError as error:
                    self.faults.append(f"rotation by {claimed(one, 'kid')}: {error}")
        for one in left:
            self.faults.append(f"rotation by {str(claimed(one, 'kid'))[:43]!a}: an unknown key")

    def _apply(self, rotation: bytes) -> None:
        old = self.terms[claimed(rotation, "kid") or ""]
        payload, _ = jws.es256_verify(rotation, key_rotation.ROTATION, old.key.point, OpenSsl())
        found = record_check.parse_rotation(payload)
        if old.charger not in (None, found["charger"]):
            raise RecordError(f"it is of charger {found['charger']}, the key is {old.charger}'s")
        if old.last is not None:
            raise SignatureError("the key has named another key before")
        known = self.terms.get(found["kid"])
        if known and (known is old or (known.last, known.prev) != (None, None)):
            raise SignatureError("the new key is one that was used before")
        if found["seq"] < old.first:
            raise RecordError(f"seq {found['seq']} is before the old key's first, {old.first}")
        self.terms[old.key.kid] = replace(old, charger=found["charger"], last=found["seq"] - 1)
        self.terms[found["kid"]] = Term(
            PublicKey.of_point(found["point"]), found["charger"], found["seq"], None, found["prev"]
        )

    @property
    def has_terms(self) -> bool:
        """Whether a key here is not simply in force for whatever it has signed."""
        return any(term.charger or term.last is not None for term in self.terms.values())

    def key_for(self, published: bytes) -> PublicKey:
        """The key that a JWS is to be verified with: the one that it names, or else the first."""
        term = self.terms.get(claimed(published, "kid") or "")
        return term.key if term else next(iter(self.terms.values())).key

    def check(self, record: dict[str, Any], kid: str) -> str:
        """Says that the key `kid` is in force for a record. Raises SignatureError."""
        term = self.terms[kid]
        if term.charger not in (None, record["charger"]):
            raise SignatureError(f"the key is {term.charger}'s, the record {record['charger']}'s")
        if record["seq"] < term.first:
            raise SignatureError(f"the key signs from seq {term.first} on, this is {record['seq']}")
        if term.last is not None and record["seq"] > term.last:
            raise SignatureError(f"the key signed up to seq {term.last}, this is {record['seq']}")
        return f"signs from seq {term.first} " + ("on" if term.last is None else f"to {term.last}")
