"""API keys: what is kept of them, which cannot be, and the commands that make and end them."""

import pytest

from evtill.core.errors import ConfigError
from host_tests.fakes import records
from host_tests.tillback.api.client import problem
from tillback.api import keys
from tillback.cli import main
from tillback.db.tables import ApiKey


def test_of_a_key_only_a_hash_is_kept(api):
    with api.database.read() as session:
        row = session.query(ApiKey).one()
        told = [str(value) for value in vars(row).values()]
    _, key, secret = api.key.split("_", 2)
    assert row.id == key and len(secret) == 43 and len(api.key) <= 64
    assert not [one for one in told if secret in one]
    assert secret not in repr(keys.caller_of(api.database, f"Bearer {api.key}"))


@pytest.mark.parametrize("name, scopes, charger, says", [
    ("a", ["nothing:read"], None, "unknown scope"), ("a", [], None, "a scope"),
    ("", ["records:read"], None, "name"), ("a\n", ["records:read"], None, "name"),
    ("a", ["records:read"], "DE*NONE", "not registered"),
])  # fmt: skip
def test_a_key_that_cannot_be(refusing, name, scopes, charger, says):
    with pytest.raises(ConfigError, match=says):
        keys.create(refusing.database, name, scopes, charger, refusing.now)
    with pytest.raises(ConfigError):
        keys.revoke(refusing.database, "nobody", refusing.now)


def run(api, capsys, *arguments):
    code = main([*arguments, "--db", api.database.engine.url.render_as_string(False)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_commands(api, capsys):
    code, out, _ = run(api, capsys, "api-key", "create", "shop", "--scope", "records:read",
                       "--scope", "tokens:read")  # fmt: skip
    key = out.strip()
    assert code == 0 and api.get("/v1/tokens", key=key).status_code == 200
    problem(api.get("/v1/chargers", key=key), 403, "forbidden")
    listed = run(api, capsys, "api-key", "list")[1]
    key_id, secret = key.split("_", 2)[1:]
    assert f"{key_id}  " in listed and "shop  records:read tokens:read" in listed
    assert secret not in listed
    assert run(api, capsys, "api-key", "revoke", key_id)[0] == 0
    problem(api.get("/v1/tokens", key=key), 401, "unauthorized")
    assert "revoked 20" in run(api, capsys, "api-key", "list")[1]


def test_a_chargers_key_is_its_payment_password(api, capsys):
    api.add_charger()
    code, out, _ = run(api, capsys, "api-key", "create", "c", "--charger", records.CHARGER)
    assert code == 0 and len(out.strip()) <= 64  # config.payment_password
    found = keys.caller_of(api.database, "Bearer " + out.strip())
    assert (found.charger, found.scopes) == (records.CHARGER, {"authorizations:write"})


@pytest.mark.parametrize("arguments, says", [
    (("create", "x"), "want a scope"), (("create", "x", "--scope", "all"), "unknown scope all"),
    (("create", "x", "--charger", "DE*NONE"), "not registered"), (("revoke", "x"), "no key"),
])  # fmt: skip
def test_a_command_that_cannot_be_says_so_in_one_line(refusing, capsys, arguments, says):
    code, out, err = run(refusing, capsys, "api-key", *arguments)
    assert code == 1 and out == "" and says in err and err.count("\n") == 1
