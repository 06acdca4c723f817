"""Logs say what happened, in a line, and never a secret."""

import json
import logging

import pytest

from tillback import logs


@pytest.fixture
def root():
    """The root logger, as it was afterwards."""
    found = logging.getLogger()
    before, level = found.handlers[:], found.level
    yield found
    found.handlers[:] = before
    found.setLevel(level)


def test_json_is_one_object_a_line(root, capsys):
    logs.configure("json")
    log = logging.getLogger("tillback.intake")
    log.warning("refused %s", "a\nline", extra={"charger": "DE*EVT*E1", "seq": 4})
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["event"] == r"refused a\nline" and first["level"] == "warning"
    assert first["logger"] == "tillback.intake" and first["charger"] == "DE*EVT*E1"
    assert first["seq"] == 4 and first["timestamp"].endswith("Z")
    assert "ValueError: x" in second["exception"]


SECRETS = (
    "mqtt://evtill:hunter2@broker:1883", "postgresql+psycopg://u:hunter2@db/x",
    "Authorization: Bearer hunter2", "Basic aHVudGVyMg==hunter2", "tb_k1_hunter2", "whsec_hunter2",
    "sk_live_hunter2", "rk_test_hunter2",
)  # fmt: skip


@pytest.mark.parametrize("form", logs.FORMS)
def test_no_secret_is_logged(root, capsys, form):
    logs.configure(form)
    log = logging.getLogger("x")
    for secret in SECRETS:
        log.info("with %s in it", secret)
        log.info("beside", extra={"where": secret, "list": [secret]})
    for name in ("password", "mqtt_password", "ack_key", "secret", "authorization", "token_key"):
        log.info("under a name", extra={name: "hunter2"})
    try:
        raise RuntimeError(SECRETS[0])
    except RuntimeError:
        log.exception("in a trace")
    said = capsys.readouterr().err
    assert "hunter2" not in said and "***" in said
    assert len(said.splitlines()) >= 23


def test_nobody_forges_a_line(root, capsys):
    logs.configure()
    logging.getLogger("x").info("id %s", "1\n2026-01-01 all is well\x1b[2J")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_libraries_are_quiet(root, capsys):
    logs.configure()
    logging.getLogger("alembic.runtime.migration").info("Context impl")
    assert capsys.readouterr().err == ""
