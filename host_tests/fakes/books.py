"""Records, authorisations and their bills in a database, without a charger or a broker."""

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from evtill.core import record_check
from host_tests.fakes import records
from tillback import audit, billing
from tillback.db.database import Database
from tillback.db.tables import Authorization, Bill, Charger, UsageRecord
from tillback.store import looked_up

AT = "2026-03-02T08:31:50.000Z"
TOKEN = records.facts()["auth"]["token"]
_SIGNER = records.Signer()


def record(
    seq: int = 1, ref: str | None = None, charger: str = records.CHARGER, gross: int = 720,
    lines: list[dict[str, Any]] | None = None, **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """The payload of the design's example, at another price; `lines`: what it bills, (type, volume,
    price_micro, vat_ppm, incl_minor)."""
    billed = records.bill()
    billed["incl_minor"] = gross
    if lines is not None:
        billed["periods"][0]["dimensions"] = lines
    facts = records.facts(seq, charger=charger, id=f"{charger}-{seq}", **changes)
    facts["auth"] = facts["auth"] | {"ref": ref, "token": changes.get("token", TOKEN)}
    found: dict[str, Any] = record_check.parse(records.payload(_SIGNER, facts, billed))
    return found


@contextlib.contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database, with the chargers of these records in it."""
    with contextlib.closing(Database(url)) as database:
        with database.write() as session:
            for charger in (records.CHARGER, "DE*EVT*E000999"):
                session.add(Charger(id=charger, public_key_pem="", ack_key=b"", registered_at=AT))
        yield database


def arrive(
    session: Session, *payloads: dict[str, Any], billed: int | None = None, at: str = AT
) -> None:  # fmt: skip
    """Stores records with their bills as ingest does, in this transaction."""
    priced = []
    for one in payloads:
        total = one["total_cost"]["incl_minor"]
        minor = total if billed is None else billed
        session.add(stored(one, at))
        session.flush()
        session.add(Bill(
            record=one["id"], currency=one["currency"], total_minor=total, recomputed_minor=minor,
            billed_minor=minor, finding="", billed_at=at,
        ))  # fmt: skip
        priced.append((one, minor))
    billing.book(session, priced, at)


def stored(found: dict[str, Any], at: str = AT) -> UsageRecord:
    """The row of a record's payload."""
    return UsageRecord(
        id=found["id"], charger=found["charger"], seq=found["seq"], prev=found["prev"],
        sha256=f"{found['seq']:064}", jws=b"", payload=b"", received_at=at, **looked_up(found),
    )  # fmt: skip


def authorization(ref: str = "ref1", **changes: Any) -> Authorization:
    """An authorisation that a session is under way on, with 50.00 EUR held."""
    return Authorization(**{
        "ref": ref, "charger": records.CHARGER, "method": "card", "token": None, "account": None,
        "currency": "EUR", "ceiling_minor": 5000, "state": "charging", "provider": "simulated",
        "provider_ref": None, "source": None, "hold_minor": 5000, "hold_until_at": None,
        "capturing_minor": None, "captured_minor": 0, "fee_minor": 0, "refunded_minor": 0,
        "record": None, "attempt": 0, "tries": 0, "due_at": None, "reason": "",
        "created_at": AT, "expires_at": "2026-03-02T09:00:00.000Z",
    } | changes)  # fmt: skip


def sound(database: Database) -> None:
    """Asserts that the books balance."""
    with database.read() as session:
        assert audit.check(session) == []
