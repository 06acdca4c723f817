"""The CDRs of stored records: what belongs to one is looked up, and what is made is checked."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import select

from evtill.core import record_check
from evtill.core.errors import ConfigError
from tillback.billing import may_amend
from tillback.db import tables
from tillback.db.database import Database
from tillback.ocpi import cdr
from tillback.ocpi.cdr import CdrError, TimesUnknown
from tillback.ocpi.cdr_check import cdr_faults
from tillback.ocpi.objects import faults, is_cistring
from tillctl import tariff_show
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey


class Export:
    """What it has looked up of a charger, token or tariff it does not look up again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._location = cache(self._find_location)
        self._keys = cache(self._find_keys)
        self._tariff = cache(self._find_tariff)

    def cdr(self, record_id: str) -> dict[str, Any]:
        """The CDR of a record. Raises ConfigError for an unknown one, CdrError."""
        with self._database.read() as session:
            row = session.scalars(
                select(tables.UsageRecord).where(tables.UsageRecord.id == record_id)
            ).one_or_none()
        if row is None:
            raise ConfigError(f"no record {record_id}")
        return self._made(row)

    def cdrs(
        self, charger: str | None = None, since: str | None = None, until: str | None = None
    ) -> Iterator[dict[str, Any] | CdrError]:
        """The CDRs of the records that came from `since` on and before `until` (as they stand in
        the database), in the order in which they came; of a record that has none, the CdrError.
        Before the CDR of a record that amends another, the Credit CDR of that one."""
        came = tables.UsageRecord.received_at
        query = select(tables.UsageRecord).order_by(tables.UsageRecord.row)
        if charger is not None:
            query = query.where(tables.UsageRecord.charger == charger)
        if since is not None:
            query = query.where(came >= since)
        if until is not None:
            query = query.where(came < until)
        with self._database.read() as session:
            for row in session.scalars(query.execution_options(yield_per=200)):
                yield from self._one(row)

    def _one(self, row: tables.UsageRecord) -> Iterator[dict[str, Any] | CdrError]:
        try:
            made = self._made(row)
            record = json.loads(row.payload)
            if record["amends"] is not None and (before := self._amended(record)):
                yield _checked(cdr.credit(before, row.received_at))
        except CdrError as error:
            yield error
        else:
            yield made

    def _amended(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """The CDR to take back; None where there never was one. Raises CdrError where it is still
        to come: it would be billed besides."""
        if not may_amend(record):
            raise CdrError(f"{record['id']}: amends {record['amends']}, which is no earlier record "
                           "of its charger")  # fmt: skip
        try:
            return self.cdr(self._versions(record)[-1])
        except TimesUnknown:
            return None
        except (CdrError, ConfigError) as error:
            raise CdrError(f"{record['id']}: amends what has no CDR yet: {error}") from error

    def _versions(self, record: dict[str, Any]) -> list[str]:
        """The ids of a session's records before `record`, which amends one of them: the first, and
        what amends that or what amends it."""
        rows = select(tables.UsageRecord.payload).where(
            tables.UsageRecord.charger == record["charger"], tables.UsageRecord.seq < record["seq"]
        ).order_by(tables.UsageRecord.seq)  # fmt: skip
        with self._database.read() as session:
            payloads = session.scalars(rows).all()
        earlier = [json.loads(one) for one in payloads if b'"amends":null' not in one]
        amends = {one["id"]: one["amends"] for one in [*earlier, record] if may_amend(one)}
        first = record["amends"]
        while first in amends:
            first = amends[first]
        found = [first]
        for id_, of in amends.items():
            if of in found and id_ != record["id"]:
                found.append(id_)
        return found

    def _made(self, row: tables.UsageRecord) -> dict[str, Any]:
        record = record_check.parse(bytes(row.payload))
        location = self._location(row.charger)
        if location is None:
            raise CdrError(f"{row.id}: no location of {row.charger}; `tillback ocpi location FILE "
                           f"--charger '{row.charger}'` registers it")  # fmt: skip
        with self._database.read() as session:
            bill = session.get(tables.Bill, row.id)
            token = session.get(tables.Token, row.token) if row.token else None
            tariff = session.get(tables.Tariff, row.tariff_sha256)
        if bill is None:
            why = "" if tariff else (f": its tariff {record['tariff']['id']}, sha256 "
                                     f"{row.tariff_sha256}, is not known")  # fmt: skip
            raise CdrError(f"{row.id}: is not billed yet{why}")
        amends = record["amends"] is not None and may_amend(record)
        return _checked(cdr.build(
            record, self._keys(row.charger).key_for(row.jws), location,
            _ocpi_token(token, location), self._tariff(row.tariff_sha256, row.charger),
            row.received_at, self._versions(record)[0] if amends else row.id, bill.billed_minor,
        ))  # fmt: skip

    def _find_location(self, charger: str) -> dict[str, Any] | None:
        with self._database.read() as session:
            row = session.get(tables.Location, charger)
        if row is None:
            return None
        found: dict[str, Any] = json.loads(row.ocpi)
        if wrong := faults("Location", found):
            raise CdrError(f"the location of {charger}: {wrong[0]}")
        return found

    def _find_keys(self, charger: str) -> KeyRing:
        with self._database.read() as session:
            root = session.get_one(tables.Charger, charger)
            rotations = session.scalars(
                select(tables.KeyRotation.jws).where(tables.KeyRotation.charger == charger)
                .order_by(tables.KeyRotation.row)
            ).all()  # fmt: skip
        return KeyRing([(charger, PublicKey(root.public_key_pem))], rotations)

    def _find_tariff(self, sha256: str, charger: str) -> dict[str, Any] | None:
        """The OCPI Tariff of a table: the one that it was made of, or if that is not complete what
        the table says itself; of our party where it does not name one. None for one that is not
        known, or made from OCPP."""
        with self._database.read() as session:
            row = session.get(tables.Tariff, sha256)
        if row is None:
            return None
        location = self._location(charger) or {}
        ours = {name: location.get(name) for name in ("country_code", "party_id")}
        ours["last_updated"] = row.added_at
        source = json.loads(row.source) if row.source else None
        if isinstance(source, dict) and not faults("Tariff", ours | source):
            return ours | source
        said = tariff_show.to_json(row.table)
        return ours | said if said.get("elements") else None


def _ocpi_token(row: tables.Token | None, location: dict[str, Any]) -> dict[str, Any] | None:
    """What a CdrToken is made of; of a card of our own as far as it is known."""
    if row is None:
        return None
    if row.ocpi is not None:
        found: dict[str, Any] = json.loads(row.ocpi)
        return found
    uid = row.uid if is_cistring(row.uid, 36) else row.token
    account = row.account if is_cistring(row.account, 36) else uid
    return {"country_code": location["country_code"], "party_id": location["party_id"],
            "uid": uid, "type": "RFID", "contract_id": account}  # fmt: skip


def _checked(made: dict[str, Any]) -> dict[str, Any]:
    if wrong := cdr_faults(made):
        raise CdrError(f"{made['id']}: {wrong[0]}")
    return made
