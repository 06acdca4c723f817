"""CDRs as extrawest-ocpi reads them, in a Python of its own (`make build/ocpi/.ready`).

Where its schema is another than the standard's:
- `plain_data` has 512 characters at most there, as in the first editions of 2.2.1 (now 5000). Ours
  holds the readings alone, and so fits both.
- `evse_uid` of a CdrLocation, mandatory in the standard, is unknown there and let pass.
- Times, numbers and prices are hardly looked at: that is what tillback.ocpi.cdr_check is for."""

import copy
import json
import subprocess
from pathlib import Path

import pytest

import host_tests
from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from tillback.ocpi import cdr

ROOT = Path(host_tests.__file__).parents[1]
PYTHON = ROOT / "build" / "ocpi" / "bin" / "python"
SCRIPT = Path(__file__).with_name("extrawest_says.py")


def says(cdrs):
    """What it says of each, "" where it takes it."""
    if not PYTHON.exists():
        pytest.fail("build/ocpi is not there: make build/ocpi/.ready")
    lines = "".join(json.dumps(one) + "\n" for one in cdrs)
    run = subprocess.run([PYTHON, SCRIPT], input=lines, capture_output=True, text=True, check=True,
                         timeout=60)  # fmt: skip
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_it_takes_every_cdr_of_ours_and_refuses_what_is_none():
    """One run of it, as it takes a second to start."""
    good = [cases.cdr_of(published, cases.complete(case["tariff"]))
            for case, published in cases.priced()]  # fmt: skip
    good += [
        cases.cdr_of(records.signed(cases.SIGNER)),
        cases.cdr_of(records.signed(cases.SIGNER), token=None),
        cases.cdr_of(records.signed(cases.SIGNER, meter={
            "vendor": "Ö", "model": "M" * 32, "serial": "S" * 32, "start_wh": 2**53 - 12346,
            "end_wh": 2**53 - 1})),
        cases.no_show(),
        cdr.credit(good[0], cases.UPDATED),
    ]  # fmt: skip
    assert len(good) == 43 and "session_id" not in good[-2]
    bad, whys = [], []
    for name in ("country_code", "party_id", "id", "start_date_time", "end_date_time", "cdr_token",
                 "auth_method", "cdr_location", "currency", "charging_periods", "total_cost",
                 "total_energy", "total_time", "last_updated"):  # fmt: skip
        bad.append({key: value for key, value in good[0].items() if key != name})
        whys.append(name)
    long = copy.deepcopy(good[0])
    long["signed_data"]["signed_values"][0]["plain_data"] = "x" * 513
    bad.append(long)
    whys.append("plain_data")
    found = says(good + bad)
    assert found[: len(good)] == [""] * len(good)
    for why, said in zip(whys, found[len(good) :], strict=True):
        assert why in said
