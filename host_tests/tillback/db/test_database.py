"""The schema: made at once or by migrations, it is the same, and no released version's is lost."""

import json

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DatabaseError

from host_tests.fakes import records
from tillback.cli import main
from tillback.db import database, tables
from tillback.db.database import Database, StoreError

VERSIONS = database.__file__.replace("database.py", "migrations")


def config():
    found = Config()
    found.set_main_option("script_location", VERSIONS)
    return found


def released(url, revision):
    """An empty database of an older version, as migrations make it."""
    engine = sqlalchemy.create_engine(url)
    settings = config()
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
    return engine


def forms(url):
    """{table: (columns, indices, unique constraints, primary key)}, to compare schemas by."""
    engine = sqlalchemy.create_engine(url)
    looked = inspect(engine)
    found = {}
    for name in looked.get_table_names():
        columns = {one["name"]: (str(one["type"]).replace("BIGINT", "INTEGER"), one["nullable"])
                   for one in looked.get_columns(name)}  # fmt: skip
        unique = {tuple(one["column_names"]) for one in looked.get_unique_constraints(name)}
        indices = {
            (one["name"], tuple(one["column_names"])) for one in looked.get_indexes(name)
            if tuple(one["column_names"]) not in unique
        }  # fmt: skip
        foreign = {(tuple(one["constrained_columns"]), one["referred_table"])
                   for one in looked.get_foreign_keys(name)}  # fmt: skip
        key = looked.get_pk_constraint(name)["constrained_columns"]
        found[name] = (columns, indices, unique, foreign, key)
    engine.dispose()
    return found


def url_of(tmp_path, name):
    return f"sqlite:///{tmp_path}/{name}.sqlite"


def fill(url, schema):
    """Brings `url` from a schema to the newest; None: at once."""
    if schema:
        released(url, schema).dispose()
    opened = Database(url, migrate=True)
    assert opened.revision() == database.HEAD
    return opened


def test_the_newest_migration_is_the_one_that_is_looked_for():
    assert ScriptDirectory.from_config(config()).get_current_head() == database.HEAD


def test_what_is_made_at_once_is_what_migrations_make(tmp_path, postgres):
    for one, other in (
        (url_of(tmp_path, "old"), url_of(tmp_path, "new")),
        (postgres.create("old"), postgres.create("new")),
    ):
        fill(one, "0001").close()
        fill(other, None).close()
        assert forms(one) == forms(other)
    postgres.drop("old")
    postgres.drop("new")


def test_the_tables_in_code_are_those_of_the_migrations(database_url):
    made = fill(database_url, "0001")
    with made.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, tables.Base.metadata) == []
    made.close()


def test_records_of_version_0_1_0_come_along(database_url):
    """As its own code left them: without a word of Alembic in the database."""
    engine = released(database_url, "0001")
    signer = records.Signer()
    published = records.signed(signer, 1)
    body = records.payload(signer, records.facts(1))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(
            text("INSERT INTO chargers VALUES (:id, :pem, :key, NULL, '2026-01-01T00:00:00.000Z')"),
            {"id": records.CHARGER, "pem": signer.public.pem, "key": bytes(32)},
        )
        connection.execute(
            text("INSERT INTO usage_records VALUES (1, :id, :charger, 1, :prev, :sha256, :jws, "
                 ":payload, '2026-01-01T00:00:00.000Z')"),
            {"id": f"{records.CHARGER}-1", "charger": records.CHARGER, "prev": records.ZEROS,
             "sha256": records.sha256(published), "jws": published, "payload": body},
        )  # fmt: skip
    engine.dispose()
    opened = Database(database_url, migrate=True)
    assert opened.revision() == database.HEAD
    with opened.read() as session:
        row = session.scalars(select(tables.UsageRecord)).one()
    said = json.loads(body)
    assert (row.jws, row.payload) == (published, body)
    assert row.total_minor == said["total_cost"]["incl_minor"] == 720
    assert (row.energy_wh, row.currency, row.token) == (12345, "EUR", said["auth"]["token"])
    opened.close()


@pytest.mark.parametrize("schema", [None, "0001"])
def test_what_is_stored_stays_as_it_is(database_url, schema):
    """Also in a database that was brought up to date."""
    opened = fill(database_url, schema)
    with opened.write() as session:
        session.add(tables.Alarm(charger="C", name="n", detail="d", raised_at=database.now()))
    for order in ("UPDATE alarms SET name = 'm'", "DELETE FROM alarms"):
        with pytest.raises(DatabaseError, match="append-only"), opened.write() as session:
            session.execute(text(order))
    triggers = {
        "sqlite": "SELECT count(*) / 2 FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%append_only'",
    }[opened.engine.dialect.name]
    with opened.read() as session:
        assert session.scalar(text(triggers)) == len(tables.APPEND_ONLY)
    opened.close()


def test_an_older_postgresql_waits_for_init(postgres_url):
    released(postgres_url, "0001").dispose()
    with pytest.raises(StoreError, match="run `tillback init`"):
        Database(postgres_url)
    assert main(["init", "--db", postgres_url]) == 0
    Database(postgres_url).close()


def test_a_newer_database_is_left_alone(tmp_path):
    opened = Database(url_of(tmp_path, "new"))
    with opened.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(StoreError, match="newer tillback"):
        Database(url_of(tmp_path, "new"))


@pytest.mark.parametrize("url, what", [
    ("nonsense", "Could not parse"), ("sqlite:////nowhere/at/all.sqlite", "unable to open"),
    ("postgresql+psycopg://u:secret@127.0.0.1:1/none", "refused"), ("sqlite://", "want a file"),
])  # fmt: skip
def test_a_database_that_cannot_be_opened_says_so_in_one_line(url, what):
    with pytest.raises(StoreError, match=what) as caught:
        Database(url)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
