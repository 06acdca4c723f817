"""A backup is the whole database in one file, whatever holds it: gzip of JSON lines.

The first line says what it is: {"tillback": schema, "at": time}. Then a line a row, the tables in
the order of their references: [table, {column: value}], bytes as {"b64": ...}. The last one proves
that nothing is missing: {"rows": n, "sha256": of all lines before it}. It holds every key that the
database holds: the file's mode is 600."""

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import MetaData
from sqlalchemy.exc import SQLAlchemyError

from tillback.db.database import HEAD, Database, StoreError, now, one_line

_BATCH = 500  # rows
_LINE_MAX = 1 << 20  # bytes

Progress = Callable[[int], None]


def write(database: Database, file: Path, progress: Progress = lambda rows: None) -> int:
    """Writes all that is in the database at this moment; the rows written. A file that is there
    already stays until the new one is whole. Raises StoreError."""
    part = file.with_name(file.name + ".part")
    digest, rows = hashlib.sha256(), 0
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as raw, gzip.GzipFile("", "wb", 6, raw) as out:
            for line in _lines(database):
                digest.update(line)
                out.write(line)
                rows += 1
                if rows % _BATCH == 0:
                    progress(rows)
            rows -= 1  # the first line is none
            out.write(_line({"rows": rows, "sha256": digest.hexdigest()}))
            out.flush()
            raw.flush()
        _sync(part)
        os.replace(part, file)
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror or error}") from error
    return rows


def restore(database: Database, file: Path, progress: Progress = lambda rows: None) -> int:
    """Fills an empty database, all of it or nothing; the rows read. A backup of an older schema is
    brought up to date. Raises StoreError."""
    schema = _head(file)["tillback"]
    database.clear(schema)
    tables = MetaData()
    rows, digest, trailer = 0, hashlib.sha256(), None
    waiting: list[tuple[str, dict[str, Any]]] = []
    try:
        with database.engine.execution_options(evtill_writes=True).begin() as connection:
            tables.reflect(connection)
            for line in _read(file):
                found = _parsed(file, line)
                if trailer is not None:
                    raise StoreError(f"{file}: goes on behind its end")
                if isinstance(found, dict) and "rows" in found:
                    trailer = found
                    continue
                digest.update(line)
                if isinstance(found, dict):
                    continue  # the head
                waiting.append(_row(file, found, tables))
                rows += 1
                if len(waiting) == _BATCH:
                    _insert(connection, tables, waiting)
                    progress(rows)
            _insert(connection, tables, waiting)
            if trailer != {"rows": rows, "sha256": digest.hexdigest()}:
                raise StoreError(f"{file}: is damaged or cut off after {rows} rows")
            _go_on_counting(connection, tables)
    except SQLAlchemyError as error:
        raise StoreError(f"{file}: row {rows}: {one_line(error)}") from error
    if schema != HEAD:
        database.migrate()
    return rows


def _lines(database: Database) -> Iterator[bytes]:
    tables = MetaData()
    with database.engine.connect() as connection:
        if not database.is_sqlite:  # SQLite's readers see one moment anyway
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        tables.reflect(connection)
        yield _line({"tillback": database.revision(), "at": now()})
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            query = sqlalchemy.select(table).order_by(*table.primary_key.columns)
            for row in connection.execution_options(yield_per=_BATCH).execute(query).mappings():
                yield _line([table.name, {name: _plain(value) for name, value in row.items()}])


def _line(said: Any) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _read(file: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file, "rb") as lines:
            while line := lines.readline(_LINE_MAX + 1):
                if len(line) > _LINE_MAX:
                    raise StoreError(f"{file}: is not a backup of tillback's")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{file}: {one_line(error)}") from error


def _parsed(file: Path, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise StoreError(f"{file}: is not a backup of tillback's") from None


def _head(file: Path) -> dict[str, Any]:
    found = _parsed(file, next(_read(file), b""))
    if not isinstance(found, dict) or not isinstance(found.get("tillback"), str):
        raise StoreError(f"{file}: is not a backup of tillback's")
    return found


def _row(file: Path, found: Any, tables: MetaData) -> tuple[str, dict[str, Any]]:
    try:
        name, values = found
        table = tables.tables[name]
        if set(values) != set(table.columns.keys()):
            raise KeyError(name)
        return name, {
            key: base64.b64decode(value["b64"]) if isinstance(value, dict) else value
            for key, value in values.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise StoreError(f"{file}: has a row that is not of this schema") from None


def _insert(
    connection: sqlalchemy.Connection, tables: MetaData, waiting: list[tuple[str, dict[str, Any]]]
) -> None:
    """Inserts and empties `waiting`, a statement for each run of rows of one table."""
    start = 0
    while start < len(waiting):
        name = waiting[start][0]
        end = start
        while end < len(waiting) and waiting[end][0] == name:
            end += 1
        connection.execute(tables.tables[name].insert(), [row for _, row in waiting[start:end]])
        start = end
    waiting.clear()


def _go_on_counting(connection: sqlalchemy.Connection, tables: MetaData) -> None:
    """PostgreSQL's sequences do not see rows that bring their number along."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables.sorted_tables:
        if "row" in table.columns:
            connection.execute(sqlalchemy.text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'row'), "
                f'(SELECT coalesce(max("row"), 0) + 1 FROM {table.name}), false)'
            ))  # fmt: skip


def _sync(file: Path) -> None:
    """Has the file on disk before the one that it replaces goes."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
