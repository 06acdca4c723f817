"""A PostgreSQL server of one's own: installed, or unpacked anywhere; as root or not."""

import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from tillsim import debian
from tillsim.postgres import Postgres, PostgresError


def ask(url, statement):
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        found = connection.execute(sqlalchemy.text(statement))
        return found.scalar() if found.returns_rows else None


def test_each_test_has_a_database_of_its_own(postgres, postgres_url):
    ask(postgres_url, "CREATE TABLE t (n int)")
    copy = postgres.create("copy", sqlalchemy.make_url(postgres_url).database)
    ask(copy, "INSERT INTO t VALUES (1)")
    assert [ask(one, "SELECT count(*) FROM t") for one in (postgres_url, copy)] == [0, 1]
    postgres.drop("copy")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="does not exist"):
        ask(copy, "SELECT 1")


def test_only_who_has_the_password_is_served(postgres, postgres_url):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=postgres.port, user="postgres", password="wrong")


def test_it_runs_as_somebody_other_than_root(postgres, postgres_url):
    pid = ask(postgres_url, "SELECT pg_backend_pid()")
    assert pid > 0 and Path(f"/proc/{postgres.pid}").stat().st_uid != 0


def test_what_was_committed_outlives_the_server(postgres, postgres_url):
    ask(postgres_url, "CREATE TABLE t (n int)")
    for n, end in enumerate((postgres.kill, postgres.stop)):
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as open_one:
            ask(postgres_url, f"INSERT INTO t VALUES ({n})")
            end()
            with pytest.raises(psycopg.OperationalError):
                open_one.execute("SELECT 1")
        postgres.start()
    assert ask(postgres_url, "SELECT count(*) FROM t") == 2


def test_its_tools_are_of_the_same_version(postgres, postgres_url):
    said = subprocess.run([*postgres.tool("pg_dump"), "--version"], capture_output=True, text=True,
                          check=True).stdout  # fmt: skip
    assert ask(postgres_url, "SHOW server_version") in said


def test_fsync_is_a_choice():
    with Postgres(durable=True) as durable:
        assert ask(durable.url("postgres"), "SHOW fsync") == "on"
        folder = durable.folder
    assert not folder.exists()


def test_it_runs_from_wherever_it_was_unpacked(tmp_path, monkeypatch):
    """From a folder that only its owner can enter, too."""
    found = debian.installed("postgres")
    if found is None:
        pytest.skip("PostgreSQL is not installed: all tests run an unpacked one")
    programs = Path(found[-1]).resolve().parent
    root = tmp_path / "postgresql"
    for part in (programs.parent, Path("/usr/share/postgresql") / programs.parent.name):
        shutil.copytree(part, root / part.relative_to("/"))
    monkeypatch.setattr(debian, "FOLDER", tmp_path)
    monkeypatch.setattr(debian, "installed", lambda name: None)
    tmp_path.chmod(0o700)
    with Postgres() as server:
        assert Path(f"/proc/{server.pid}/exe").resolve().parent != programs
        assert ask(server.url("postgres"), "SELECT 'öl' < 'zu'") is False  # bytes, not a language's


def test_a_port_that_is_taken_is_said(postgres):
    other = Postgres(postgres.port)
    with pytest.raises(PostgresError, match=r"could not create any TCP/IP sockets"), other:
        pass
    assert not other.folder.exists()
