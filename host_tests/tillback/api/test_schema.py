"""What the API says of itself in OpenAPI is what it does: schemathesis, with every check it has,
sends whatever fits that and whatever does not."""

import os
import re
import subprocess
import sys

import pytest

from host_tests.fakes import records
from host_tests.tillback.api.client import Api, served
from host_tests.tillback.api.test_chargers import add_tariff, say
from host_tests.tillback.api.test_sessions import meter

TOKEN = "9c1f0a6be24d7e35"
# A cursor or an Idempotency-Key of the right form is still of another list or request: of the
# schema's valid values, these are refused.
SETTINGS = """
warnings = false
workers = 1
generation.max-examples = {examples}
auth.openapi.key.bearer = "{key}"
phases.stateful.enabled = {long}
phases.fuzzing.enabled = {long}
phases.coverage.unexpected-methods = ["PATCH", "TRACE"]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409]

[[operations]]
include-path-regex = "/(receipts|usage-records)/"
parameters = {{ "path.id" = "{record}" }}

[[operations]]
include-path-regex = "/authorizations/"
parameters = {{ "path.ref" = "{ref}" }}

[[operations]]
include-path-regex = "/chargers/"
parameters = {{ "path.charger" = "{charger}" }}
"""
HOOKS = """
import uuid
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    for name in list(case.headers or ()):
        if name.lower() == "idempotency-key" and 0 < len(str(case.headers[name])) < 200:
            case.headers[name] = uuid.uuid4().hex
"""


def filled(tmp_path):
    """An API that has something of everything."""
    api = Api(tmp_path, provider="stripe")
    api.add_charger()
    say(api, state="charging", tariff_sha256=add_tariff(api))
    api.add_records(1, 2, 3)
    meter(api)
    api.ask("PUT", f"/v1/tokens/{TOKEN}", json={"account": "acme", "ceiling_minor": 2500})
    return api


def check(tmp_path, *, seed, examples):
    """Raises AssertionError with what schemathesis has found. examples: drawn at random for each
    operation, and in sequences of several, beside those that cover the schema's every edge."""
    api = filled(tmp_path)
    asked = {"charger": records.CHARGER, "token": TOKEN, "currency": "EUR"}
    ref = api.post("/v1/authorizations", asked).json()["ref"]
    (tmp_path / "settings.toml").write_text(SETTINGS.format(
        key=api.key, examples=max(examples, 1), record=f"{records.CHARGER}-1", ref=ref,
        charger=records.CHARGER, long="true" if examples else "false",
    ))  # fmt: skip
    (tmp_path / "hooks.py").write_text(HOOKS)
    with served(api.app) as url:
        found = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", "settings.toml", "run",
             f"{url}/openapi.json", "--checks", "all", "--no-color", "--request-timeout", "20",
             "--seed", str(seed)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
    api.database.close()
    assert found.returncode == 0, found.stdout[-20000:] + found.stderr[-2000:]
    tested = re.search(r"Tested: (\d+)", found.stdout)
    assert tested and int(tested[1]) == sum(map(len, api.app.openapi()["paths"].values()))


def test_it_does_what_it_says(tmp_path):
    check(tmp_path, seed=1, examples=0)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(1800)
def test_it_does_what_it_says_for_long(tmp_path, seed):
    check(tmp_path, seed=seed, examples=100)
