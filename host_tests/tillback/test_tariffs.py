"""Tariffs: from files and provisioning, and the records that have waited for one."""

import json

import pytest
from sqlalchemy import func, select

from evtill.core.errors import TariffError
from host_tests.fakes import records
from host_tests.tillctl.test_verify import WINDOWS
from tillback import tariffs
from tillback.__main__ import main
from tillback.db import tables
from tillback.intake import Intake
from tillback.store import Store
from tillctl import provision
from tillctl.tariff_compile import compile_tariff

SIGNER = records.Signer()
USAGE = f"evtill/v1/{records.CHARGER}/usage"


@pytest.fixture
def store(database_url):
    store = Store(database_url)
    store.register(records.CHARGER, SIGNER.public.pem, bytes(32))
    yield store
    store.close()


def bills(store):
    with store.database.read() as session:
        found = session.execute(
            select(tables.Bill.record, tables.Bill.billed_minor).order_by(tables.Bill.record)
        )
        balance = session.scalar(select(func.sum(tables.Posting.amount_minor)))
        return [tuple(row) for row in found], balance or 0


def test_a_record_of_an_unknown_tariff_is_kept_and_billed_when_that_is_added(store):
    first = records.signed(SIGNER, 1)
    second = records.signed(SIGNER, 2, records.sha256(first))
    intake = Intake(store)
    assert not intake.take(USAGE, first).refused
    assert not intake.take(USAGE, second).refused
    assert bills(store) == ([], 0)
    [alarm] = store.alarms()
    assert alarm.name == "tariff_unknown"
    assert records.sha256(records.TARIFF) in alarm.detail
    other = compile_tariff(WINDOWS, "Europe/Amsterdam", 2026)
    assert tariffs.add_tariff(store.database, other)[1] == 0
    [tariff], billed = tariffs.add_tariff(store.database, records.TARIFF, records.OCPI_TARIFF)
    assert (tariff.id, billed) == ("DE*EVT*T1", 2)
    wanted = [(f"{records.CHARGER}-1", 720), (f"{records.CHARGER}-2", 720)]
    assert bills(store) == (wanted, 0)
    assert tariffs.add_tariff(store.database, records.TARIFF)[1] == 0
    third = records.signed(SIGNER, 3, records.sha256(second))  # by the ingester that knew it not
    intake.take(USAGE, third)
    assert bills(store) == ([*wanted, (f"{records.CHARGER}-3", 720)], 0)
    assert [alarm.name for alarm in store.alarms()] == ["tariff_unknown"]


def test_more_records_than_are_looked_at_together_are_all_billed(store, monkeypatch):
    monkeypatch.setattr(tariffs, "_BATCH", 3)
    Intake(store).take_all([(USAGE, records.signed(SIGNER, seq)) for seq in range(1, 12)])
    assert tariffs.add_tariff(store.database, records.TARIFF)[1] == 11
    assert len(bills(store)[0]) == 11


def test_what_is_no_table_is_refused(store):
    for table in (b"", b"ET", records.TARIFF[:-1], records.TARIFF + b"x"):
        with pytest.raises(TariffError):
            tariffs.add_tariff(store.database, table)


def test_the_command_takes_tables_and_ocpi(tmp_path, capsys):
    database = f"sqlite:///{tmp_path}/t.sqlite"
    (tmp_path / "t.bin").write_bytes(records.TARIFF)
    (tmp_path / "t.json").write_text(json.dumps([records.OCPI_TARIFF, WINDOWS]))
    assert main(["tariff", "add", str(tmp_path / "t.bin"), "--db", database]) == 0
    said = capsys.readouterr().out
    assert said == f"DE*EVT*T1 EUR sha256 {records.sha256(records.TARIFF)}\n"
    words = ["tariff", "add", str(tmp_path / "t.json"), "--db", database]
    assert main(words) == 1
    assert "--timezone" in capsys.readouterr().err
    assert main([*words, "--timezone", "UTC"]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    store = Store(database)
    with store.database.read() as session:
        known = session.execute(select(tables.Tariff.sha256, tables.Tariff.source)).all()
    store.close()
    assert len(known) == 2 and [json.loads(source) for _, source in known if source] == [WINDOWS]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"ET\x01", b'{"id": 7}', b"\xff"])
def test_a_file_that_holds_no_tariff_gets_one_line(tmp_path, capsys, content):
    (tmp_path / "t").write_bytes(content)
    words = ["tariff", "add", str(tmp_path / "t"), "--timezone", "UTC"]
    for file in ("t", "missing"):
        words[2] = str(tmp_path / file)
        assert main([*words, "--db", f"sqlite:///{tmp_path}/t.sqlite"]) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_registration_brings_the_tariff_along(tmp_path, capsys):
    """As provisioning leaves it (host_tests/e2e has the whole way)."""
    from base64 import b64encode

    provision.write(tmp_path, {
        "charger": records.CHARGER, "public_key": SIGNER.public.pem, "ack_key": "00" * 32,
        "command_key": "11" * 32, "tariff": b64encode(records.TARIFF).decode(),
    })  # fmt: skip
    [file] = tmp_path.glob("*.json")
    database = f"sqlite:///{tmp_path}/t.sqlite"
    assert main(["register", str(file), "--db", database]) == 0
    store = Store(database)
    Intake(store).take(USAGE, records.signed(SIGNER, 1))
    assert bills(store) == ([(f"{records.CHARGER}-1", 720)], 0)
    assert store.alarms() == []
    store.close()
