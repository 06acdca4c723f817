"""The SQL database: SQLite by default, PostgreSQL by URL; one schema, made and kept up by Alembic's
migrations."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import MetaData, create_engine, event, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from evtill.core.errors import EvtillError
from tillback.db.tables import APPEND_ONLY, Base

HEAD = "0002"  # the newest migration
_FIRST = "0001"  # what version 0.1.0 made without Alembic
_VERSION = "alembic_version"


class StoreError(EvtillError):
    """The database cannot be opened, or refuses; the text is one line."""


class Database:
    """The database behind `url` (SQLAlchemy's; `sqlite:///FILE`, `postgresql+psycopg://...`).

    An empty one is set up, and a SQLite file of an older version is brought up to date; a
    PostgreSQL of an older version is an error until migrate() was called (`tillback init`).
    Safe to use from several threads and processes."""

    def __init__(self, url: str, migrate: bool = False) -> None:
        """Raises StoreError."""
        try:
            self.engine = create_engine(url, pool_size=8, max_overflow=8, hide_parameters=True)
            self.is_sqlite = self.engine.dialect.name == "sqlite"
            if self.is_sqlite:
                event.listen(self.engine, "connect", _durable)
                event.listen(self.engine, "begin", _begin)
            self._set_up(migrate)
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            raise StoreError(f"database {shown(url)}: {one_line(error)}") from error
        except TypeError as error:  # an in-memory database has no pool of several
            raise StoreError(f"database {shown(url)}: want a file") from error
        self._reads = sessionmaker(self.engine, expire_on_commit=False)
        writer = self.engine.execution_options(evtill_writes=True)
        self._writes = sessionmaker(writer, expire_on_commit=False)

    def write(self) -> contextlib.AbstractContextManager[Session]:
        """A transaction, on disk when the block ends; SQLite lets one at a time write."""
        return self._writes.begin()

    def read(self) -> Session:
        """A session to read with, to be used in a `with`."""
        return self._reads()

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    def revision(self) -> str | None:
        """The migration that the database is at; None for an empty one."""
        with self.engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            if _VERSION in tables:
                found = connection.execute(sqlalchemy.text(f"SELECT version_num FROM {_VERSION}"))
                return found.scalar_one_or_none()
        return _FIRST if "usage_records" in tables else None

    def _set_up(self, migrate: bool) -> None:
        found = self.revision()
        if found is None:
            self._create()
        elif found != HEAD:
            if found > HEAD:
                raise StoreError(f"the database is of a newer tillback (schema {found})")
            if not (migrate or self.is_sqlite):
                raise StoreError(f"the database is of an older tillback: run `tillback init` "
                                 f"(schema {found}, wanted {HEAD})")  # fmt: skip
            self.migrate()

    def _create(self) -> None:
        """All of it at once; a test holds it against the migrations."""
        with self._writing() as connection:
            if inspect(connection).get_table_names():
                return  # another process was faster
            Base.metadata.create_all(connection)
            for table in APPEND_ONLY:
                forbid_changes(connection, table.__tablename__)
            connection.execute(sqlalchemy.text(
                f"CREATE TABLE {_VERSION} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(sqlalchemy.text(f"INSERT INTO {_VERSION} VALUES ('{HEAD}')"))

    def migrate(self, revision: str = HEAD) -> None:
        """Brings the schema up to `revision`."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._writing() as connection:
            config.attributes["connection"] = connection
            tables = inspect(connection).get_table_names()
            if tables and _VERSION not in tables:
                command.stamp(config, _FIRST)
            command.upgrade(config, revision)

    def clear(self, revision: str) -> None:
        """Gives a database without a row in it the schema `revision`, for a backup of that time.
        Raises StoreError where there is a row, or for a schema that is not known."""
        if revision > HEAD:
            raise StoreError(f"the backup is of a newer tillback (schema {revision})")
        found = MetaData()
        with self._writing() as connection:
            found.reflect(connection)
            for table in found.sorted_tables:
                if table.name != _VERSION and connection.execute(table.select().limit(1)).first():
                    raise StoreError("the database is not empty; a backup goes into an empty one")
            if revision != HEAD:
                found.drop_all(connection)
        if revision != HEAD:
            self.migrate(revision)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlalchemy.Connection]:
        """A transaction that changes the schema; on PostgreSQL too, one at a time."""
        with self.engine.execution_options(evtill_writes=True).begin() as connection:
            if not self.is_sqlite:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(719469)"))
            yield connection


def forbid_changes(connection: sqlalchemy.Connection, table: str) -> None:
    """Has the database itself refuse every change and deletion in `table`."""
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            connection.execute(sqlalchemy.text(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            ))  # fmt: skip
        return
    connection.execute(sqlalchemy.text(
        "CREATE OR REPLACE FUNCTION append_only() RETURNS trigger AS $$ BEGIN "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$ LANGUAGE plpgsql"
    ))  # fmt: skip
    connection.execute(sqlalchemy.text(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
    ))  # fmt: skip


def allow_changes(connection: sqlalchemy.Connection, table: str) -> None:
    """Takes back forbid_changes(), for a migration."""
    if connection.dialect.name == "sqlite":
        for verb in ("update", "delete"):
            connection.execute(sqlalchemy.text(f"DROP TRIGGER IF EXISTS {table}_no_{verb}"))
        return
    connection.execute(
        sqlalchemy.text(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
    )


def now() -> str:
    """The time, as it stands in the database: UTC with milliseconds."""
    return stamp(utc_now())


def utc_now() -> datetime.datetime:
    """The time, with its zone."""
    return datetime.datetime.now(datetime.UTC)


def stamp(at: datetime.datetime) -> str:
    """A time with a zone, as it stands in the database."""
    text = at.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def shown(url: str) -> str:
    """A URL without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "URL"


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0]


def _durable(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, DDL included
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sqlalchemy.Connection) -> None:
    """A transaction that will write says so at once: one that reads first and then has to wait for
    another writer would fail instead (SQLITE_BUSY_SNAPSHOT)."""
    writes = connection.get_execution_options().get("evtill_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
