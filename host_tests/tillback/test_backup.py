"""A backup holds all that is in a database, and fills an empty one of either kind."""

import gzip
import stat

import pytest
import sqlalchemy
from sqlalchemy import MetaData

from host_tests.fakes import records
from host_tests.tillback.db.test_database import released
from tillback.cli import main
from tillback.db.database import HEAD, Database, StoreError
from tillback.intake import Intake
from tillback.store import Store

SIGNER = records.Signer()


def contents(url):
    """{table: rows} of all that is there."""
    engine = sqlalchemy.create_engine(url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        found = {one.name: sorted(map(tuple, connection.execute(one.select())), key=repr)
                 for one in tables.sorted_tables}  # fmt: skip
    engine.dispose()
    return found


def filled(url):
    """A database with a charger, a chain with a hole, and something refused."""
    store = Store(url)
    store.register(records.CHARGER, SIGNER.public.pem, bytes(range(32)), command_key=bytes(32))
    intake = Intake(store)
    for seq in (1, 2, 4):
        intake.take(f"evtill/v1/{records.CHARGER}/usage", records.signed(SIGNER, seq))
    intake.take(f"evtill/v1/{records.CHARGER}/usage", b"not a record")
    store.close()


@pytest.mark.parametrize("from_sqlite", [False, True])
def test_there_and_back(tmp_path, capsys, database_url, from_sqlite):
    """From either database into either."""
    one, other = database_url, f"sqlite:///{tmp_path}/other.sqlite"
    if from_sqlite:
        one, other = other, one
    filled(one)
    file = tmp_path / "all.backup"
    assert main(["backup", "--db", one, "-o", str(file)]) == 0
    assert main(["restore", "--db", other, str(file)]) == 0
    assert contents(one) == contents(other)
    assert len(contents(other)["usage_records"]) == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = capsys.readouterr().out.splitlines()
    assert said[0].partition(": ")[2] == said[1].rpartition(": ")[2]
    # What was restored goes on where it was.
    store = Store(other)
    Intake(store).take(f"evtill/v1/{records.CHARGER}/usage", records.signed(SIGNER, 5))
    assert [row.seq for row in store.records()] == [1, 2, 4, 5]
    store.close()


def test_it_goes_into_an_empty_database_only(tmp_path, capsys):
    url, file = f"sqlite:///{tmp_path}/one.sqlite", str(tmp_path / "all.backup")
    filled(url)
    before = contents(url)
    assert main(["backup", "--db", url, "-o", file]) == 0
    assert main(["restore", "--db", url, file]) == 1
    assert "not empty" in capsys.readouterr().err
    assert contents(url) == before


def test_a_backup_that_is_cut_or_damaged_changes_nothing(tmp_path):
    url, file = f"sqlite:///{tmp_path}/one.sqlite", tmp_path / "all.backup"
    filled(url)
    assert main(["backup", "--db", url, "-o", str(file)]) == 0
    whole = file.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    less = [line for line in lines if b"usage_records" not in line]
    swapped = [line.replace(b'"seq":4', b'"seq":5') for line in lines]
    other = [line.replace(b'"seq":', b'"sequence":') for line in lines]
    for damaged in (
        whole[:-20], whole[: len(whole) // 2], b"", b"hello", gzip.compress(b"[1]\n"),
        gzip.compress(b"".join(lines[:-1])), gzip.compress(b"".join(less)),
        gzip.compress(b"".join(swapped)), gzip.compress(b"".join(other)),
        gzip.compress(b"".join([*lines, *lines])), gzip.compress(b"x" * 3_000_000),
        whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
    ):  # fmt: skip
        file.write_bytes(damaged)
        empty = f"sqlite:///{tmp_path}/empty.sqlite"
        assert main(["restore", "--db", empty, str(file)]) == 1
        assert not any(rows for name, rows in contents(empty).items() if name != "alembic_version")
    file.write_bytes(whole)
    assert main(["restore", "--db", empty, str(file)]) == 0
    assert contents(empty) == contents(url)


def test_one_of_an_older_version_comes_up_to_date(tmp_path):
    old, new = f"sqlite:///{tmp_path}/old.sqlite", f"sqlite:///{tmp_path}/new.sqlite"
    engine = released(old, "0001")
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO chargers VALUES ('C1', 'pem', x'00', NULL, 'then')")
    engine.dispose()
    file = tmp_path / "old.backup"
    head = b'{"tillback":"0001","at":"then"}\n'
    row = (b'["chargers",{"id":"C1","public_key_pem":"pem","ack_key":{"b64":"AA=="},'
           b'"mqtt_user":null,"registered_at":"then"}]\n')  # fmt: skip
    digest = records.sha256(head + row)
    file.write_bytes(gzip.compress(head + row + b'{"rows":1,"sha256":"%s"}\n' % digest.encode()))
    assert main(["restore", "--db", new, str(file)]) == 0
    assert main(["init", "--db", old]) == 0
    assert contents(new) == contents(old)
    assert contents(new)["alembic_version"] == [(HEAD,)]


def test_a_backup_of_a_newer_version_is_refused(tmp_path):
    file = tmp_path / "new.backup"
    file.write_bytes(gzip.compress(b'{"tillback":"9999","at":"then"}\n'))
    made = Database(f"sqlite:///{tmp_path}/x.sqlite")
    from tillback import backup

    with pytest.raises(StoreError, match="newer tillback"):
        backup.restore(made, file)
    made.close()
