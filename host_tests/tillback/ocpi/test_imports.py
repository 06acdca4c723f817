"""OCPI files into the database, through the commands that take them."""

import copy
import json

import pytest
from sqlalchemy import select

from evtill.core import tokens
from evtill.core.tariff import Tariff
from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from host_tests.tillback.ocpi.filled import with_charger
from tillback.cli import main
from tillback.db import tables
from tillback.db.database import Database
from tillctl.tariff_compile import compile_tariff

KEY = bytes(range(32))
APP = cases.TOKEN | {"uid": "user-7", "type": "APP_USER", "whitelist": "NEVER", "group_id": ""}
TARIFF = cases.complete(json.loads(cases.LINES[0])["tariff"])


@pytest.fixture
def run(tmp_path, capsys):
    """run(command, what its file holds, *arguments) -> (exit code, standard output, error)."""
    url = f"sqlite:///{tmp_path}/tillback.sqlite"
    (tmp_path / "token.key").write_text(KEY.hex())
    with_charger(url, location=False).close()

    def run(command, content, *arguments):
        file = tmp_path / "file.json"
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        if command == "tokens":
            arguments = ("--key", str(tmp_path / "token.key"), *arguments)
        code = main(["ocpi", command, str(file), "--db", url, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    run.url = url
    return run


def rows(run, table):
    database = Database(run.url)
    with database.read() as session:
        found = session.scalars(select(table)).all()
    database.close()
    return found


def refused(run, command, content, *arguments):
    """The one line that refuses it; nothing of it is stored."""
    code, out, error = run(command, content, *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1)
    for table in (tables.Token, tables.Tariff, tables.Location):
        assert rows(run, table) == []
    return error


# ---- tokens ----


def test_tokens_stand_under_their_hash(run):
    blocked = cases.TOKEN | {"uid": "04:B2:24:3B:6C:5E:80", "valid": False}
    asked = cases.TOKEN | {"uid": "04C2243B", "whitelist": "ALLOWED_OFFLINE"}
    code, out, _ = run("tokens", {"data": [cases.TOKEN, blocked, asked, APP], "status_code": 1000})
    assert code == 0 and "4 added, 0 changed, 0 as they were" in out
    found = {row.uid: row for row in rows(run, tables.Token)}
    for row, uid in (
        (found["04A2243B6C5E80"], bytes.fromhex("04A2243B6C5E80")),
        (found["04:B2:24:3B:6C:5E:80"], bytes.fromhex("04B2243B6C5E80")),
        (found["user-7"], b"user-7"),
    ):
        assert row.token == tokens.token_of(KEY, uid).hex()
    assert [(row.flags, row.group) for row in found.values()] == [
        ("", "fleet"), ("blocked", "fleet"), ("ask", "fleet"), ("", None),
    ]  # fmt: skip
    assert json.loads(found["user-7"].ocpi) == APP


def test_a_second_file_changes_what_it_says_and_nothing_else(run):
    run("tokens", [cases.TOKEN, APP])
    database = Database(run.url)
    with database.write() as session:
        row = session.scalars(select(tables.Token).where(tables.Token.uid == "user-7")).one()
        row.account, row.flags, row.ceiling_minor = "acme", "prepaid ask", 500
    database.close()
    _, out, _ = run("tokens", [cases.TOKEN, APP | {"valid": False}])
    assert "0 added, 1 changed, 1 as they were" in out
    row = next(row for row in rows(run, tables.Token) if row.uid == "user-7")
    assert (row.account, row.flags, row.ceiling_minor) == ("acme", "blocked prepaid", 500)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100000, "not JSON"),
        (7, "not a list"),
        ([7], "token 1: not an object"),
        ([cases.TOKEN, cases.TOKEN | {"uid": None}], "token 2, uid"),
        ([cases.TOKEN, cases.TOKEN | {"uid": "12"}], "token 2, uid: '12' is not a card UID"),
        ([cases.TOKEN | {"contract_id": None}], "token 1, contract_id: is missing"),
        ([cases.TOKEN | {"contract_id": "x" * 37}], "is no CiString(36)"),
        ([cases.TOKEN | {"party_id": "'); DROP TABLE tokens; --"}], "is no Party"),
        ([cases.TOKEN | {"whitelist": "MAYBE"}], "whitelist"),
        ([cases.TOKEN | {"valid": "yes"}], "valid"),
        ([cases.TOKEN, cases.TOKEN | {"issuer": "Other"}], "stands twice"),
    ],
)
def test_bad_tokens_are_refused_in_one_line(run, content, says):
    assert says in refused(run, "tokens", content)


def test_no_key_no_tokens(run, tmp_path):
    assert "No such file" in refused(run, "tokens", [cases.TOKEN], "--key", str(tmp_path / "none"))


# ---- tariffs ----


def test_tariffs_stand_under_their_tables_hash(run):
    code, out, _ = run("tariffs", [TARIFF, TARIFF | {"id": "21"}, TARIFF], "--timezone", "UTC")
    assert code == 0
    first, _ = sorted(rows(run, tables.Tariff), key=lambda row: row.id)
    table = compile_tariff(TARIFF, "UTC")
    assert (first.id, first.currency, first.table) == ("20", "EUR", table)
    assert first.sha256 == Tariff(table).sha256 and first.sha256 in out
    assert json.loads(first.source) == TARIFF
    nulls = TARIFF | {"min_price": TARIFF["min_price"] | {"x": None}, "type": None}
    assert run("tariffs", nulls, "--timezone", "UTC")[0] == 0
    assert len(rows(run, tables.Tariff)) == 2


def test_the_year_of_a_table_is_the_chargers_own(run):
    case = next(json.loads(line) for line in cases.LINES if '"start_time"' in line)
    tariff = cases.complete(case["tariff"])
    run("tariffs", tariff, "--timezone", "Europe/Berlin", "--year", "2024")
    (row,) = rows(run, tables.Tariff)
    assert row.table == compile_tariff(tariff, "Europe/Berlin", 2024)
    assert row.table != compile_tariff(tariff, "Europe/Berlin", 2022)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not", "not JSON"),
        (b'{"id": NaN}', "not JSON"),
        ([], "no tariff"),
        ([TARIFF, "x"], "tariff 2 is not an object"),
        ([TARIFF, TARIFF | {"last_updated": None}], "tariff 2, last_updated: is missing"),
        ([TARIFF, TARIFF | {"elements": [{"price_components": []}]}], "is empty"),
        ([TARIFF | {"currency": "Eur"}], "is no Currency"),
        ([TARIFF, TARIFF | {"tax_included": "YES"}], "tariff 2, tariff: prices that include VAT"),
    ],
)
def test_bad_tariffs_are_refused_in_one_line(run, content, says):
    assert says in refused(run, "tariffs", content, "--timezone", "UTC")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", ""])
def test_a_time_zone_is_one_of_ianas(run, zone):
    assert "none of IANA's" in refused(run, "tariffs", TARIFF, "--timezone", zone)


# ---- locations ----


def located(run, content, *arguments):
    code, _, error = run("location", content, "--charger", records.CHARGER, *arguments)
    assert code == 0, error
    (row,) = rows(run, tables.Location)
    (evse,) = json.loads(row.ocpi)["evses"]
    (connector,) = evse["connectors"]
    return evse["uid"], evse["evse_id"], connector["id"]


def garage(*evses):
    """A Location with (uid, evse_id, connector ids) of each EVSE."""
    found = copy.deepcopy(cases.LOCATION)
    (model,) = found["evses"]
    found["evses"] = [
        model | {"uid": uid, "evse_id": evse_id, "connectors": [
            model["connectors"][0] | {"id": one} for one in connectors]}
        for uid, evse_id, connectors in evses
    ]  # fmt: skip
    return found


def test_a_charger_stands_where_its_evse_does(run):
    two = garage(("E1", "DE*EVT*E000122", "1"), ("E2", "DEEVTE000123", "12"))
    other = garage(("E9", "DE*EVT*E000999", "1")) | {"id": "L9"}
    assert located(run, {"data": [other, two]}, "--connector", "2") == ("E2", "DEEVTE000123", "2")
    # The file says otherwise later, or is asked for otherwise.
    assert located(run, two, "--evse", "e1") == ("E1", "DE*EVT*E000122", "1")
    alone = garage(("E3", None, "1"))
    assert located(run, alone) == ("E3", records.CHARGER, "1")


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        (b"", (), "not JSON"),
        (cases.LOCATION | {"time_zone": None}, (), "location 1, time_zone: is missing"),
        (cases.LOCATION | {"evses": []}, (), "evses: is empty"),
        (cases.LOCATION | {"address": "x" * 46}, (), "fits no CDR: address"),
        (cases.LOCATION | {"coordinates": {"latitude": "91", "longitude": "x"}}, (), "Latitude"),
        (garage(("E1", None, "1"), ("E2", None, "1")), (), "--evse is one of E1, E2"),
        (cases.LOCATION, ("--evse", "E7"), "0 EVSEs with uid E7"),
        (garage(("E1", None, "12")), (), "connectors are 1, 2; --connector"),
        (cases.LOCATION, ("--connector", "7"), "connectors are 1;"),
    ],
)
def test_bad_locations_are_refused_in_one_line(run, content, arguments, says):
    assert says in refused(run, "location", content, "--charger", records.CHARGER, *arguments)


def test_a_strange_charger_stands_nowhere(run):
    assert "nobody is not registered" in refused(
        run, "location", cases.LOCATION, "--charger", "nobody"
    )
