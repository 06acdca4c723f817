"""An unknown card is asked for at the payment API; what the driver waits is bounded."""

import contextlib
import json
import ssl

import pytest

from host_tests.e2e.charger import CARD, HEAD, charger, check, outcome, session, step
from host_tests.net.test_payment_api import Server
from host_tests.soak import sampled
from tillctl import trust

UNKNOWN = "04BBBBBBBBBB80"
NAME = "pay.evtill.test"
PAYMENT_S = 2  # real ones, while a server is stuck: the least that it takes
ANSWER = {"status": "ALLOWED", "ref": "A-77", "ceiling_minor": 2500, "currency": "EUR"}


@contextlib.contextmanager
def asked(tmp_path, answer, config="", trickle_s=0.0, minutes=2.0, steps="", **options):
    """(Play of `steps`, or of a session with an unknown card; the payment API)"""
    head = HEAD + f'[config]\npayment_host = "{NAME}"\npayment_s = {PAYMENT_S}\n{config}\n'
    text = head + (
        steps or session(10, minutes).replace(CARD, UNKNOWN) + step(30 + minutes * 60, "end")
    )
    servers = []

    def prepare(playing):
        authority = playing.charger.authority
        issued = authority.issue(NAME)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        body = json.dumps(answer).encode()
        servers.append(Server(context, b"HTTP/1.1 200 OK\r\n\r\n" + body, trickle_s))
        playing.scenario.config["payment_port"] = servers[0].port
        playing.files = trust.files("", None, authority.certificate)

    with charger(tmp_path, text, prepare=prepare, **options) as playing:
        try:
            playing.run()
        finally:
            servers[0].close()
        yield playing, servers[0]


@pytest.mark.parametrize("bits", sampled([32, 64], 2))
def test_allowed_with_a_ceiling(tmp_path, bits):
    with asked(tmp_path, ANSWER, bits=bits) as (playing, server):
        result = outcome(playing, tmp_path / "out")
    check(result)
    record = result.records[0]
    assert record["auth_method"] == "AUTH_REQUEST"
    assert (record["auth"]["ref"], record["auth"]["ceiling_minor"]) == ("A-77", 2500)
    assert len(server.heard) == 1
    assert record["auth"]["token"].encode() in server.heard[0]
    assert UNKNOWN.encode() not in server.heard[0]


def test_refused_with_the_reason_on_the_display(tmp_path):
    answer = {"status": "NO_CREDIT", "text": "Please top up"}
    with asked(tmp_path, answer) as (playing, _):
        result = outcome(playing, tmp_path / "out")
    assert result.records == [] and result.truth["sessions"] == []
    assert "Please top up" in result.shown()


@pytest.mark.parametrize("floor_minor", [0, 1500])
def test_a_stuck_server_and_the_offline_policy(tmp_path, floor_minor):
    """It answers a byte a second: the driver waits payment_s, then the configuration decides."""
    config = f"offline_floor_minor = {floor_minor}"
    with asked(tmp_path, ANSWER, config, trickle_s=1.0) as (playing, server):
        result = outcome(playing, tmp_path / "out")
    assert len(server.heard) in (1, 2) and "payment_fault" in result.events
    shown = {row["lines"][0].strip(): row["at"] for row in reversed(result.display)}
    waiting = shown["One moment please"]
    if floor_minor:
        check(result)
        assert result.records[0]["auth"]["ceiling_minor"] == floor_minor
        assert result.records[0]["auth"]["ref"] is None
        assert shown["Card accepted"] - waiting < PAYMENT_S + 1
    else:
        assert result.records == [] and shown["Not possible:"] - waiting < PAYMENT_S + 1
