"""Alarms: what a person has to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tillback.db.tables import Alarm


@dataclass(frozen=True)
class Raised:
    """An alarm to raise. `name` says what it is (docs/tillback.md), `detail` of what; `charger` is
    "" where it is of none."""

    charger: str
    name: str
    detail: str


def sound(session: Session, raised: Sequence[Raised], at: str) -> None:
    """Raises each that has not been raised before, with this transaction."""
    if not raised:
        return
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    session.execute(
        dialect.insert(Alarm).on_conflict_do_nothing(),
        [{"charger": one.charger, "name": one.name, "detail": one.detail, "raised_at": at}
         for one in dict.fromkeys(raised)],
    )  # fmt: skip
