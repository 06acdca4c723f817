"""The firmware itself, on MicroPython, asks the API for a card, over TLS."""

import pytest

from evtill.net.payment_api import VERDICTS
from host_tests.fakes import records
from host_tests.micropython import run
from host_tests.tillback.api.client import served
from tillback.db.tables import Authorization
from tillctl import trust
from tillsim.pki import Authority

TOKEN = "9c1f0a6be24d7e35"
CODE = """
import sys
from evtill.core.errors import LinkError
from evtill.net import https, payment_api, tls_context
folder, port, charger, password = sys.argv[1:5]
config = {"charger_id": charger, "payment_host": "127.0.0.1", "payment_port": int(port),
          "payment_s": 10, "payment_password": password}
try:
    context = tls_context.context(folder, "payment_ca.der")
    print(payment_api.authorise(https.post, context, config, sys.argv[5], "EUR"))
except LinkError as e:
    print(type(e).__name__, e)
"""


@pytest.fixture
def ask(api, tmp_path):
    """What the firmware makes of the API's answer; (charger, password) as it is configured."""
    authority = Authority(tmp_path / "pki")
    issued, client = authority.issue("127.0.0.1"), authority.issue(records.CHARGER)
    files = trust.files(
        records.CHARGER, None, authority.certificate, client.certificate, client.key
    )
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    api.add_charger()
    with served(api.app, issued.certificate, issued.key) as url:
        port = url.rpartition(":")[2]

        def asking(password, charger=records.CHARGER):
            return run(CODE, str(tmp_path), port, charger, password, TOKEN).strip()

        yield asking


def test_it_reads_every_answer_and_no_other_key_opens_anything(api, ask):
    password = api.new_key("authorizations:write", charger=records.CHARGER)
    assert ask(password) == str((False, VERDICTS["NOT_ALLOWED"], None, None, 0))
    api.ask("PUT", f"/v1/tokens/{TOKEN}", json={"account": "acme", "ceiling_minor": 2500})
    said = ask(password)
    with api.database.read() as session:
        [row] = session.query(Authorization).all()
    assert said == str((True, None, row.ref, 2500, 0))
    assert (row.charger, row.token, row.account) == (records.CHARGER, TOKEN, "acme")
    assert ask(password[:-1] + "?") == "LinkError payment API: status 401"
    assert ask(password, "DE*OTHER") == "LinkError payment API: status 403"
    assert ask(api.new_key("records:read")) == "LinkError payment API: status 403"
