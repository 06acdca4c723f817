"""/v1/sessions: what goes on now, as chargers tell it every few seconds. Nothing is billed by it:
that is what usage records are for."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evtill.core import session as states
from tillback.api import cursors, problems
from tillback.api.chargers import count, statuses
from tillback.api.context import Data
from tillback.api.cursors import CursorText, Limit, Page
from tillback.api.fields import ChargerId, Said
from tillback.api.keys import Caller
from tillback.api.security import needs
from tillback.db.tables import Charger, LiveMeter, Tariff, UsageRecord

router = APIRouter(tags=["sessions"])
_NAME = "sessions"
_AT_ONCE = 500  # chargers whose states are looked up together


class SessionSaid(Said):
    """A session that goes on. What it has metered is null until the charger has told it;
    `metered_at` says how old that is."""

    charger: str
    state: str = Field(json_schema_extra={"enum": list(states.RUNNING)})
    state_at: str
    energy_wh: int | None
    duration_ms: int | None
    cost_minor: int | None = Field(description="so far, VAT included")
    currency: str | None
    power_w: int | None
    metered_at: str | None


@router.get("/sessions", responses=problems.answers("cursor"))
def list_sessions(
    caller: Annotated[Caller, needs("sessions:read")], database: Data,
    charger: Annotated[ChargerId | None, Query()] = None, limit: Limit = 100,
    cursor: CursorText | None = None,
) -> Page[SessionSaid]:  # fmt: skip
    """Sessions that go on, by their charger."""
    filters = {"charger": charger}
    after = cursors.read(caller, _NAME, filters, cursor)
    found: list[SessionSaid] = []
    last = str(after or "")
    with database.read() as session:
        while len(found) <= limit:
            ids = _chargers(session, last, charger)
            if not ids:
                break
            found += _running(session, ids)
            last = ids[-1]
    positions = [(one.charger, one) for one in found[: limit + 1]]
    return cursors.page(caller, _NAME, filters, cursor, limit, positions)


def _chargers(session: Session, after: str, only: str | None) -> list[str]:
    query = select(Charger.id).where(Charger.id > after).order_by(Charger.id).limit(_AT_ONCE)
    if only is not None:
        query = query.where(Charger.id == only)
    return list(session.scalars(query))


def _running(session: Session, chargers: list[str]) -> list[SessionSaid]:
    """The sessions of those that have one, in their order."""
    found = {charger: (said, at) for charger, (said, at) in statuses(session, chargers).items()
             if said.get("state") in states.RUNNING}  # fmt: skip
    meters = _meters(session, list(found))
    named = {str(said.get("tariff_sha256")) for said, _ in found.values()}
    currencies = {sha256: currency for sha256, currency in session.execute(
        select(Tariff.sha256, Tariff.currency).where(Tariff.sha256.in_(named)))}  # fmt: skip
    made = []
    for charger in chargers:
        if charger not in found:
            continue
        said, at = found[charger]
        live, metered_at = meters.get(charger, ({}, None))
        made.append(SessionSaid(
            charger=charger, state=said["state"], state_at=at,
            energy_wh=count(live.get("energy_wh")), duration_ms=count(live.get("duration_ms")),
            cost_minor=count(live.get("cost_minor")), power_w=count(live.get("power_w")),
            currency=currencies.get(str(said.get("tariff_sha256"))), metered_at=metered_at,
        ))  # fmt: skip
    return made


def _meters(session: Session, chargers: list[str]) -> dict[str, tuple[dict[str, Any], str]]:
    """What each charger's meter said last, unless that was of the session before."""
    ended = {charger: at for charger, at in session.execute(
        select(UsageRecord.charger, func.max(UsageRecord.received_at))
        .where(UsageRecord.charger.in_(chargers)).group_by(UsageRecord.charger)
    )}  # fmt: skip
    rows = session.scalars(select(LiveMeter).where(LiveMeter.charger.in_(chargers)))
    return {row.charger: (json.loads(row.payload), row.received_at) for row in rows
            if row.received_at > ended.get(row.charger, "")}  # fmt: skip
