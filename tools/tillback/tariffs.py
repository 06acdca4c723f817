"""The tariffs that records are priced by, found by the hash of their compact table."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from evtill.core import record_check
from evtill.core.tariff import Tariff, split
from tillback import bills
from tillback.db import tables
from tillback.db.database import Database, now
from tillback.db.writing import among, insert_new, lock_tariffs

_BATCH = 500


class Tariffs:
    """Those of a database that were asked for, loaded once each."""

    def __init__(self) -> None:
        self._known: dict[str, Tariff] = {}

    def missing(self, wanted: set[str]) -> set[str]:
        """Those hashes of tables that have not been loaded."""
        return wanted - self._known.keys()

    def load(self, session: Session, wanted: Iterable[str]) -> None:
        """Looks tables up by their sha256."""
        rows = session.scalars(
            select(tables.Tariff.table).where(among(session, tables.Tariff.sha256, wanted))
        )
        self._known |= {one.sha256: one for one in map(Tariff, rows)}

    def get(self, sha256: str) -> Tariff | None:
        """The tariff whose table has this hash, if it has been loaded."""
        return self._known.get(sha256)


def add_tariff(
    database: Database, table: bytes, source: dict[str, Any] | list[Any] | None = None
) -> tuple[list[Tariff], int]:
    """Makes the tariffs of a compact table (a file of one or several) known, and bills the records
    that have waited for them: (the tariffs, how many records).

    source: the OCPI tariff, or list of them, that the table was compiled from. Raises
    TariffError."""
    given = [Tariff(one) for one in split(table)]
    sources: list[Any] = source if isinstance(source, list) else [source] * len(given)
    with database.write() as session:
        lock_tariffs(session, shared=False)
        insert_new(session, tables.Tariff, [
            {
                "sha256": one.sha256, "id": one.id, "currency": one.currency,
                "table": bytes(one.table), "added_at": now(),
                "source": None if ocpi is None else json.dumps(ocpi),
            }
            for one, ocpi in zip(given, sources, strict=True)
        ])  # fmt: skip
        billed = sum(_bill_waiting(session, one) for one in given)
    return given, billed


def _bill_waiting(session: Session, tariff: Tariff) -> int:
    """Bills every record that names this tariff and has no bill."""
    waiting = (
        select(tables.UsageRecord.row, tables.UsageRecord.payload)
        .outerjoin(tables.Bill, tables.Bill.record == tables.UsageRecord.id)
        .where(tables.UsageRecord.tariff_sha256 == tariff.sha256, tables.Bill.record.is_(None))
        .order_by(tables.UsageRecord.row)
        .limit(_BATCH)
    )
    last, billed = 0, 0
    while rows := session.execute(waiting.where(tables.UsageRecord.row > last)).all():
        read = [record_check.parse(payload) for _, payload in rows]
        bills.add(
            session,
            [(one, record_check.parse_ocmf(one["ocmf"])[1], tariff) for one in read],
            now(),
        )
        last, billed = rows[-1][0], billed + len(rows)
    return billed
