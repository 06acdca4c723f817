"""Keeps what was refused, for people to look at: so much a day of each charger, and no more.

A charger keeps what is refused to it, so nothing is lost where this is full."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tillback.alarms import Raised, sound
from tillback.db.tables import Refused
from tillback.db.writing import insert
from tillback.messages import Refusal

MOST_A_DAY = 100
BYTES_A_DAY = 1 << 20


def keep(session: Session, found: Iterable[Refusal], at: str) -> None:
    """Keeps each refusal once, with an alarm. Their chargers are locked."""
    left = {(one.charger, one.topic, one.sha256): one for one in found}
    if not left:
        return
    for row in session.execute(
        select(Refused.charger, Refused.topic, Refused.sha256)
        .where(Refused.sha256.in_({sha256 for _, _, sha256 in left}))
    ):  # fmt: skip
        left.pop((row[0], row[1], row[2]), None)
    rows, raised = [], []
    spent = _spent(session, {one.charger for one in left.values()}, at[:10])
    for one in left.values():
        count, size = spent.get(one.charger, (0, 0))
        if count >= MOST_A_DAY or size + len(one.body) > BYTES_A_DAY:
            raised.append(
                Raised(one.charger, "quarantine_full", f"{at[:10]}: nothing more is kept that day")
            )
            continue
        spent[one.charger] = count + 1, size + len(one.body)
        rows.append({
            "charger": one.charger, "topic": one.topic, "sha256": one.sha256,
            "reason": one.reason, "body": one.body, "received_at": at,
        })  # fmt: skip
        raised.append(Raised(one.charger, "refused", f"{one.topic} {one.sha256}: {one.reason}"))
    insert(session, Refused, rows)
    sound(session, raised, at)


def _spent(session: Session, chargers: set[str], day: str) -> dict[str, tuple[int, int]]:
    """(messages, bytes) kept of each charger since the day began."""
    rows = session.execute(
        select(Refused.charger, func.count(), func.sum(func.length(Refused.body)))
        .where(Refused.charger.in_(chargers), Refused.received_at >= day)
        .group_by(Refused.charger)
    )
    return {charger: (count, size) for charger, count, size in rows}
