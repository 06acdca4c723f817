"""What several writers share: rows that may be there already, and locks that hold until the
transaction ends."""

import zlib
from collections.abc import Iterable
from typing import Any
from typing import cast as typed

import psycopg
from psycopg import sql
from sqlalchemy import ARRAY, ColumnElement, String, Table, any_, cast, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

_COPIED = {str: "text", int: "int8", bytes: "bytea"}  # PostgreSQL's types of our columns
_CHARGERS, _TARIFFS = 1, 2  # PostgreSQL's advisory locks: the first of two keys


def insert(session: Session, table: type[DeclarativeBase], rows: list[dict[str, Any]]) -> None:
    """Inserts rows that all give the same columns; one that is there already is an error.

    On PostgreSQL by COPY, at a fraction of INSERT's cost."""
    if not rows:
        return
    into = typed(Table, table.__table__)
    if is_sqlite(session):
        session.connection().execute(into.insert(), rows)
        return
    names = list(rows[0])
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(into.name), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    connection = session.connection().connection
    try:
        with connection.cursor().copy(statement) as copy:
            copy.set_types([_COPIED[into.c[name].type.python_type] for name in names])
            for row in rows:
                copy.write_row([row[name] for name in names])
    except psycopg.Error as error:
        raise DBAPIError.instance(
            f"COPY {into.name}", None, error, psycopg.Error, dialect=session.get_bind().dialect
        ) from error


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


def among(
    session: Session, column: InstrumentedAttribute[str], values: Iterable[str]
) -> ColumnElement[bool]:
    """A condition for queries: that a text column is one of up to 30,000 values.

    PostgreSQL gets them as one parameter, which is prepared once; SQLite has no such thing."""
    if is_sqlite(session):
        return column.in_(list(values))
    return column == any_(cast(list(values), ARRAY(String)))
