"""A database with a charger, where it stands, and billed records."""

import json
from typing import Any

from evtill.core import jws
from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from tillback.db import tables
from tillback.db.database import Database


def with_charger(url: str, *published: bytes, location: bool = True) -> Database:
    """The database `url` with records of the design's charger, billed as signed; the one of seq 1
    came at 10:00:01Z on 2 March 2026."""
    database = Database(url)
    with database.write() as session:
        session.add(tables.Charger(
            id=records.CHARGER, public_key_pem=cases.SIGNER.public.pem, ack_key=bytes(32),
            mqtt_user=None, registered_at=cases.UPDATED,
        ))  # fmt: skip
        session.flush()
        if location:
            session.add(
                tables.Location(charger=records.CHARGER, ocpi=json.dumps(cases.LOCATION))
            )
        for one in published:
            add(session, one)
    return database


def add(session: Any, published: bytes, billed_minor: int | None = None, bill: bool = True) -> None:
    """Stores a record and its bill."""
    payload = jws.b64url_decode(published.split(b".")[1])
    found = json.loads(payload)
    total_minor = found["total_cost"]["incl_minor"]
    session.add(tables.UsageRecord(
        id=found["id"], charger=found["charger"], seq=found["seq"], prev=found["prev"],
        sha256=records.sha256(published), jws=published, payload=payload,
        received_at=f"2026-03-02T10:00:{found['seq']:02}.000Z",
        started_at=found["start_date_time"], ended_at=found["end_date_time"],
        energy_wh=found["total_energy_wh"], currency=found["currency"], total_minor=total_minor,
        method=found["auth"]["method"], token=found["auth"]["token"],
        auth_ref=found["auth"]["ref"], tariff_sha256=found["tariff"]["sha256"],
    ))  # fmt: skip
    session.flush()
    if bill:
        session.add(tables.Bill(
            record=found["id"], currency=found["currency"], total_minor=total_minor,
            recomputed_minor=billed_minor, finding="", billed_at=cases.UPDATED,
            billed_minor=total_minor if billed_minor is None else billed_minor,
        ))  # fmt: skip
