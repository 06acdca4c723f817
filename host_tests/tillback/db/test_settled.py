"""Reading on from the last row seen leaves nothing out, whichever transaction ends first."""

import threading

import pytest

from tillback.db import settled
from tillback.db.database import Database, now
from tillback.db.tables import Alarm


def add(session, detail):
    session.add(Alarm(charger="c", name="n", detail=detail, raised_at=now()))
    session.flush()


def seen(database, after=0):
    with database.read() as session:
        until = settled.last_row(session, Alarm)
        rows = session.query(Alarm).where(Alarm.row > after, Alarm.row <= until)
        return [one.detail for one in rows.order_by(Alarm.row)]


def test_on_sqlite_the_last_row_is_the_last(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    assert seen(database) == []
    for detail in "ab":
        with database.write() as session:
            add(session, detail)
    assert seen(database) == ["a", "b"]
    database.close()


def test_on_postgresql_a_row_below_is_waited_for(postgres_url):
    database = Database(postgres_url)
    found, started = [], threading.Event()

    def read():
        started.set()
        found.append(seen(database))

    reader = threading.Thread(target=read)
    with database.write() as slow:
        add(slow, "first")
        with database.write() as fast:
            add(fast, "second")
        reader.start()
        started.wait(5)
        reader.join(0.1)
        assert found == []  # "second" is there, and is not shown yet
    reader.join(5)
    assert found == [["first", "second"]]
    database.close()


def test_on_postgresql_who_begins_later_is_not_waited_for(postgres_url, monkeypatch):
    """A stream of writers would hold a reader up for ever otherwise."""
    database = Database(postgres_url)
    with database.write() as session:
        add(session, "a")
    with database.write() as slow:
        add(slow, "b")
        monkeypatch.setattr(settled, "WAIT_S", 0.05)
        with pytest.raises(settled.Unsettled):
            seen(database)
        begun = []

        def one_more(_):
            if not begun:
                slow.commit()
                begun.append(database.write())
                add(begun[0].__enter__(), "c")

        monkeypatch.setattr(settled.time, "sleep", one_more)
        monkeypatch.setattr(settled, "WAIT_S", 5.0)
        assert seen(database) == ["a"]
        begun[0].__exit__(None, None, None)
    monkeypatch.undo()
    assert seen(database) == ["a", "b", "c"]
    database.close()
