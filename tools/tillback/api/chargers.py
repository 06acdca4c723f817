"""/v1/chargers: what they say of themselves, and what charging costs there now."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evtill.core import session as states
from tillback.api import cursors, prices, problems
from tillback.api.context import Data, Now
from tillback.api.cursors import CursorText, Limit, Page
from tillback.api.fields import ChargerInPath, Said
from tillback.api.keys import Caller
from tillback.api.prices import PriceSaid
from tillback.api.problems import Problem
from tillback.api.security import needs
from tillback.db.tables import Charger, Event, LiveMeter, Status, Tariff, UsageRecord
from tillctl import languages

router = APIRouter(tags=["chargers"])
_NAME = "chargers"
STATES = (*states.STATES.split(), "reserved", "offline")  # `offline`: its last will

Language = Annotated[
    str,
    Query(pattern="^[a-z]{2}$", description="of the words, ISO 639-1",
          json_schema_extra={"enum": languages.names()}),
]


class TariffSaid(Said):
    """The tariff that a session gets which starts now."""

    id: str
    sha256: str


class ChargerSaid(Said):
    """A charger. `state` and what follows it up to `tokens_sha256` are its own words; null where it
    has said none. `price` is null where its tariff is not known here, or is not valid now."""

    id: str
    registered_at: str
    seen_at: str | None = Field(description="when it was heard of last")
    state: str | None = Field(json_schema_extra={"enum": [*STATES, None]})
    state_at: str | None
    firmware: str | None
    clock: str | None = Field(description="how far its clock is trusted: OCMF's U, I, S or R")
    records_waiting: int | None = Field(description="records that it has not handed over yet")
    journal_used_pct: int | None
    tariff: TariffSaid | None
    price: PriceSaid | None


@router.get("/chargers", responses=problems.answers("cursor"))
def list_chargers(
    caller: Annotated[Caller, needs("chargers:read")], database: Data, clock: Now,
    language: Language = "en", limit: Limit = 100, cursor: CursorText | None = None,
) -> Page[ChargerSaid]:  # fmt: skip
    """Chargers, by their id."""
    spoken = prices.language(language)
    after = cursors.read(caller, _NAME, {}, cursor)
    query = select(Charger).where(Charger.id > (after or "")).order_by(Charger.id)
    with database.read() as session:
        rows = list(session.scalars(query.limit(limit + 1)))
        said = _said(session, rows, int(clock().timestamp()), spoken)
    found = list(zip([row.id for row in rows], said, strict=True))
    return cursors.page(caller, _NAME, {}, cursor, limit, found)


@router.get("/chargers/{charger}", responses=problems.answers("not-found"))
def get_charger(
    charger: ChargerInPath, caller: Annotated[Caller, needs("chargers:read")], database: Data,
    clock: Now, language: Language = "en",
) -> ChargerSaid:  # fmt: skip
    """A charger, its state, and its price now."""
    spoken = prices.language(language)
    with database.read() as session:
        row = session.get(Charger, charger)
        if row is None:
            raise Problem("not-found", "no such charger")
        [said] = _said(session, [row], int(clock().timestamp()), spoken)
    return said


def statuses(session: Session, chargers: list[str]) -> dict[str, tuple[dict[str, Any], str]]:
    """{charger: (what it said of itself last, when)}; nobody has checked the values."""
    newest = (
        select(func.max(Status.row)).where(Status.charger.in_(chargers)).group_by(Status.charger)
    )
    rows = session.scalars(select(Status).where(Status.row.in_(newest)))
    return {row.charger: (json.loads(row.payload), row.received_at) for row in rows}


def _said(
    session: Session, rows: list[Charger], now_s: int, spoken: prices.Language
) -> list[ChargerSaid]:
    ids = [row.id for row in rows]
    found = statuses(session, ids)
    seen = _seen(session, ids)
    named = {charger: _text(said.get("tariff_sha256"), 64) for charger, (said, _) in found.items()}
    tariffs: dict[str | None, Tariff] = {one.sha256: one for one in session.scalars(
        select(Tariff).where(Tariff.sha256.in_(set(named.values()) - {None})))}  # fmt: skip
    made = []
    for row in rows:
        said, at = found.get(row.id, ({}, None))
        state = said.get("state")
        tariff = tariffs.get(named.get(row.id))
        made.append(ChargerSaid(
            id=row.id, registered_at=row.registered_at,
            seen_at=max([one for one in (at, seen.get(row.id)) if one], default=None),
            state=state if state in STATES else None, state_at=at,
            firmware=_text(said.get("firmware"), 64), clock=_text(said.get("clock"), 1),
            records_waiting=count(said.get("records_waiting")),
            journal_used_pct=count(said.get("journal_used_pct")),
            tariff=TariffSaid(id=tariff.id, sha256=tariff.sha256) if tariff else None,
            price=prices.now(tariff.table, now_s, spoken) if tariff else None,
        ))  # fmt: skip
    return made


def _seen(session: Session, chargers: list[str]) -> dict[str, str]:
    """When each was heard of last, by what it sends beside statuses."""
    seen: dict[str, str] = {}
    for table in (LiveMeter, Event, UsageRecord):
        for charger, at in session.execute(
            select(table.charger, func.max(table.received_at))
            .where(table.charger.in_(chargers)).group_by(table.charger)
        ):  # fmt: skip
            seen[charger] = max(at, seen.get(charger, ""))
    return seen


def _text(value: Any, most: int) -> str | None:
    fits = isinstance(value, str) and len(value) <= most and value.isprintable()
    return value if fits else None


def count(value: Any) -> int | None:
    """A whole number that a charger says; None for anything else."""
    return value if type(value) is int and 0 <= value < 1 << 53 else None
