"""Receipts in each form; what does not verify says so."""

import dataclasses

from host_tests.fakes import records
from host_tests.tillback.api.client import problem
from tillback import receipt
from tillctl.key_ring import KeyRing

PATH = f"/v1/receipts/{records.CHARGER}-42"


def test_the_same_receipt_in_each_form(api):
    signer = records.Signer()
    api.add_charger()
    [jws] = api.add_records(42)
    model = receipt.model(jws, KeyRing([(records.CHARGER, signer.public)]))
    page, text = api.get(PATH, params={"form": "html"}), api.get(PATH, params={"form": "text"})
    assert page.text == receipt.html(model) and text.text == receipt.text(model)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    said = api.get(PATH).json()
    assert said == dataclasses.asdict(model) and said["faults"] == [] and said["verified"]


def test_a_record_by_another_key_is_said_not_to_verify(api):
    api.add_charger()
    api.add_records(42, signer=records.Signer(9))
    assert api.get(PATH).json()["faults"]
    assert "DOES NOT VERIFY" in api.get(PATH, params={"form": "text"}).text


def test_what_is_not_there(api):
    problem(api.get(PATH), 404, "not-found")
    problem(api.get(PATH, params={"form": "pdf"}), 422, "invalid")
