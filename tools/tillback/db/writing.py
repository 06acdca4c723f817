"""What several writers share: rows that may be there already, and locks that hold until the
transaction ends."""

import zlib
from collections.abc import Collection, Iterable
from typing import Any, cast

from sqlalchemy import Table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

_CHARGERS, _TARIFFS = 1, 2  # PostgreSQL's advisory locks: the first of two keys


def insert(session: Session, table: type[DeclarativeBase], rows: list[dict[str, Any]]) -> None:
    """Inserts rows; one that is there already is an error."""
    if rows:
        session.connection().execute(cast(Table, table.__table__).insert(), rows)


def insert_new(session: Session, table: type[DeclarativeBase], rows: list[dict[str, Any]]) -> None:
    """Inserts the rows that are not there yet, by the table's unique columns.

    In the order of their content: two transactions that insert the same rows do not deadlock."""
    if rows:
        dialect = sqlite if is_sqlite(session) else postgresql
        ordered = sorted(rows, key=lambda row: tuple(map(str, row.values())))
        statement = dialect.insert(table.__table__).on_conflict_do_nothing()
        session.connection().execute(statement, ordered)


def upsert(
    session: Session, table: type[DeclarativeBase], key: str, rows: list[dict[str, Any]]
) -> None:
    """Inserts rows, or puts them in the place of those with the same `key`."""
    if rows:
        dialect = sqlite if is_sqlite(session) else postgresql
        statement = dialect.insert(table.__table__)
        new = {name: statement.excluded[name] for name in rows[0] if name != key}
        statement = statement.on_conflict_do_update(index_elements=[key], set_=new)
        session.connection().execute(statement, sorted(rows, key=lambda row: str(row[key])))


def lock_chargers(session: Session, chargers: Iterable[str]) -> None:
    """One transaction at a time looks at these chargers' chains; SQLite has one writer anyway."""
    if not is_sqlite(session):
        keys = sorted({zlib.crc32(one.encode()) - (1 << 31) for one in chargers})
        session.connection().execute(
            text(f"SELECT pg_advisory_xact_lock({_CHARGERS}, key) FROM "
                 "(SELECT unnest(CAST(:keys AS int[])) AS key ORDER BY 1) AS ordered"),
            {"keys": keys},
        )  # fmt: skip


def lock_tariffs(session: Session, shared: bool) -> None:
    """Shared: no tariff is added until this transaction ends."""
    if not is_sqlite(session):
        name = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        session.connection().execute(text(f"SELECT {name}({_TARIFFS}, 0)"))


def is_sqlite(session: Session) -> bool:
    """Whether the session's database is SQLite."""
    return session.get_bind().dialect.name == "sqlite"


def pieces(values: Collection[Any], size: int = 5000) -> Iterable[list[Any]]:
    """The values in lists that a statement has room for (SQLite takes 32,766 parameters)."""
    whole = list(values)
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
