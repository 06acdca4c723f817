"""CDRs out of a database of either kind."""

import base64
import json

import pytest
from pyocmf import OCMF

from evtill.core import key_rotation
from evtill.core.errors import ConfigError
from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from host_tests.tillback.ocpi.filled import add, with_charger
from tillback.db import tables
from tillback.ocpi.cdr import CdrError
from tillback.ocpi.cdr_check import cdr_faults
from tillback.ocpi.export import Export
from tillctl.tariff_compile import compile_tariff

ID = f"{records.CHARGER}-1"
HASH = "9c1f0a6be24d7e35"  # the token in the records


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/tillback.sqlite"


def signed(seq, **changes):
    return records.signed(cases.SIGNER, seq, **changes)


def test_a_range_of_records_in_order(database_url):
    database = with_charger(database_url, signed(1), signed(2), signed(3))
    export = Export(database)
    of = lambda *args: [one["id"].rpartition("-")[2] for one in export.cdrs(*args)]  # noqa: E731
    assert of() == of(records.CHARGER) == ["1", "2", "3"]
    assert of("somebody") == []
    second = "2026-03-02T10:00:02.000Z"
    assert (of(None, second), of(None, None, second)) == (["2", "3"], ["1"])
    assert export.cdr(ID)["last_updated"] == "2026-03-02T10:00:01.000Z"
    database.close()


def test_what_is_missing_is_said_and_the_others_come_out(url):
    database = with_charger(url, signed(1), location=False)
    with pytest.raises(CdrError, match=r"tillback ocpi location FILE --charger 'DE.EVT.E000123'"):
        Export(database).cdr(ID)
    with pytest.raises(ConfigError, match="no record nobody-1"):
        Export(database).cdr("nobody-1")
    with database.write() as session:
        session.add(tables.Location(charger=records.CHARGER, ocpi=json.dumps(cases.LOCATION)))
        add(session, signed(2), bill=False)
        add(session, signed(3))
    first, second, third = Export(database).cdrs()
    assert (first["id"], third["id"]) == (ID, f"{records.CHARGER}-3")
    assert "DE*EVT*E000123-2: is not billed yet" in str(second)
    database.close()


def test_the_bill_is_what_is_to_be_paid(url):
    database = with_charger(url)
    with database.write() as session:
        add(session, signed(1), billed_minor=700)
    found = Export(database).cdr(ID)
    assert found["total_cost"] == {"excl_vat": 5.88, "incl_vat": 7}
    assert "CORRECTION" in found["remark"]
    database.close()


def test_token_and_tariff_are_looked_up(url):
    database = with_charger(url, signed(1))
    table = records.facts()["tariff"]["sha256"]
    elements = [{"price_components": [
        {"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}]}]  # fmt: skip
    with database.write() as session:
        session.add(tables.Token(token=HASH, uid="04A2243B6C5E80", account=None, group=None,
                                 flags="", expires_at=None, ceiling_minor=None,
                                 ocpi=json.dumps(cases.TOKEN), added_at=cases.UPDATED))
        session.add(tables.Tariff(
            sha256=table, id="T1", currency="EUR", table=b"ET", added_at=cases.UPDATED,
            source=json.dumps({"id": "T1", "currency": "EUR", "elements": elements}),
        ))  # fmt: skip
    found = Export(database).cdr(ID)
    assert found["cdr_token"]["contract_id"] == "NL-TNM-C00012345-X"
    assert found["tariffs"] == [{
        "country_code": "DE", "party_id": "EVT", "id": "T1", "currency": "EUR",
        "elements": elements, "last_updated": cases.UPDATED,
    }]  # fmt: skip
    assert found["charging_periods"][0]["tariff_id"] == "T1"
    database.close()


@pytest.mark.parametrize("source", [None, "[]", '{"id": "20", "elements": [7]}'])
def test_a_tariff_that_came_as_a_table_is_said_in_ocpi(url, source):
    tariff = cases.complete(json.loads(cases.LINES[0])["tariff"])
    table = compile_tariff(tariff, "UTC")
    of = {"id": "20", "sha256": records.sha256(table)}
    database = with_charger(url, signed(1, tariff=of), signed(2, tariff=of | {"sha256": "0" * 64}))
    with database.write() as session:
        session.add(tables.Tariff(sha256=of["sha256"], id="20", currency="EUR", table=table,
                                  source=source, added_at=cases.UPDATED))  # fmt: skip
    known, unknown = Export(database).cdrs()
    assert "tariffs" not in unknown
    (said,) = known["tariffs"]
    assert compile_tariff(json.loads(json.dumps(said)), "UTC") == table
    assert (said["country_code"], said["party_id"]) == ("DE", "ALL")
    assert said["last_updated"] == cases.UPDATED
    database.close()


@pytest.mark.parametrize(
    ("uid", "account", "wanted"),
    [
        ("04A2243B6C5E80", "acme", ("04A2243B6C5E80", "acme")),
        (None, None, (HASH, HASH)),
        ("04A2243B6C5E80", "Überlandwerk", ("04A2243B6C5E80", "04A2243B6C5E80")),
    ],
)
def test_a_card_of_our_own_is_named_as_far_as_it_is_known(url, uid, account, wanted):
    database = with_charger(url, signed(1))
    with database.write() as session:
        session.add(tables.Token(token=HASH, uid=uid, account=account, group=None, flags="",
                                 expires_at=None, ceiling_minor=None, ocpi=None,
                                 added_at=cases.UPDATED))  # fmt: skip
    found = Export(database).cdr(ID)["cdr_token"]
    assert (found["uid"], found["contract_id"]) == wanted
    assert (found["country_code"], found["party_id"], found["type"]) == ("DE", "EVT", "RFID")
    database.close()


def test_the_key_is_the_one_that_was_in_force(url):
    new = records.Signer(2)
    database = with_charger(url, signed(1), records.signed(new, 2))
    rotation = key_rotation.signed(
        records.CHARGER, 2, records.ZEROS, new.public.point, cases.SIGNER.public.kid,
        cases.SIGNER.sign,
    )  # fmt: skip
    with database.write() as session:
        session.add(tables.KeyRotation(charger=records.CHARGER, jws=rotation,
                                       registered_at=cases.UPDATED))  # fmt: skip
    for made, signer in zip(Export(database).cdrs(), (cases.SIGNER, new), strict=True):
        key = base64.b64decode(made["signed_data"]["public_key"])
        assert key == signer.public.spki
        (value,) = made["signed_data"]["signed_values"]
        ocmf = OCMF.from_string(base64.b64decode(value["signed_data"]).decode())
        assert ocmf.verify(key.hex()) == (True, [])
    database.close()


def test_before_an_amendment_the_newest_that_it_replaces_is_taken_back(url):
    chain = {3: 1, 4: 1, 5: 3}  # all of the session of record 1
    published = [signed(seq, amends=f"{records.CHARGER}-{chain[seq]}" if seq in chain else None)
                 for seq in range(1, 6)]  # fmt: skip
    database = with_charger(url, *published)
    made = list(Export(database).cdrs())
    assert [one["id"].rpartition("*")[2] for one in made] == [
        "E000123-1", "E000123-2", "E000123-1-C", "E000123-3", "E000123-3-C", "E000123-4",
        "E000123-4-C", "E000123-5",
    ]  # fmt: skip
    assert all(cdr_faults(one) == [] for one in made)
    assert {one["session_id"] for one in made} == {ID, f"{records.CHARGER}-2"}
    assert made[2]["last_updated"] == made[3]["last_updated"]
    assert "Amends DE*EVT*E000123-1." in made[3]["remark"]
    total = sum(round(one["total_cost"]["incl_vat"] * 100) for one in made)
    assert total == 2 * 720  # two sessions
    database.close()


@pytest.mark.parametrize(
    ("amends", "says"),
    [
        (f"{records.CHARGER}-1", "amends what has no CDR yet: no record"),
        (f"{records.CHARGER}-7", "no earlier record"),
        ("DE*EVT*E9-1", "no earlier record"),
        ("x-y", "no earlier record"),
    ],
)
def test_an_amendment_waits_for_what_it_amends(url, amends, says):
    database = with_charger(url, signed(3, amends=amends))
    (found,) = Export(database).cdrs()
    assert isinstance(found, CdrError) and says in str(found)
    database.close()


def test_a_location_that_is_none_is_said(url):
    database = with_charger(url, signed(1), location=False)
    bad = cases.LOCATION | {"city": ""}
    with database.write() as session:
        session.add(tables.Location(charger=records.CHARGER, ocpi=json.dumps(bad)))
    with pytest.raises(CdrError, match="city"):
        Export(database).cdr(ID)
    database.close()
