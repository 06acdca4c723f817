"""Up to where a table that grows can be read without leaving something out for good.

PostgreSQL counts rows up as they are inserted, not as their transactions end: one may come to light
below another that was seen already. Whoever reads on from the last row seen would miss it."""

import time

from sqlalchemy import func, select, text
from sqlalchemy.orm import DeclarativeBase, Session

from tillback.db.writing import is_sqlite

WAIT_S = 2.0
_POLL_S = 0.005
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND granted "
    "AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid() AND relation = to_regclass(:name) "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Unsettled(Exception):
    """A transaction that inserts has been open for longer than WAIT_S."""


def last_row(session: Session, table: type[DeclarativeBase]) -> int:
    """The highest `row` below which none will come to light any more; for statements after this
    one. Raises Unsettled.

    An insert locks the table for itself before it is given a number. So whoever may still commit
    one up to the highest that is seen holds that lock now: those alone are waited for."""
    row = table.__table__.c.row
    last = int(session.scalar(select(func.max(row))) or 0)
    if is_sqlite(session):
        return last  # one writes at a time
    name = {"name": table.__tablename__}
    waiting = set(session.scalars(_WRITERS, name))
    until_s = time.monotonic() + WAIT_S
    while waiting:
        if time.monotonic() > until_s:
            raise Unsettled
        time.sleep(_POLL_S)
        waiting &= set(session.scalars(_WRITERS, name))
    return last
