"""The link to the broker over TLS: mosquitto asks for the charger's certificate, and the charger
believes only its own CA and the configured host name."""

import pytest

from host_tests.e2e.charger import HEAD, charger, check, outcome, session, step
from host_tests.soak import sampled
from tillctl import trust
from tillsim.pki import Authority

TLS = HEAD + "tls = true\n"


@pytest.mark.parametrize("bits", sampled([32, 64], 2))
def test_a_whole_session_over_mutual_tls(tmp_path, bits):
    with charger(tmp_path, TLS + session(10, 3), bits=bits) as playing:
        playing.run()
        log = (playing.charger.folder / "broker" / "mosquitto.log").read_text()
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert "link_up" in result.events and "server_mistrusted" not in result.events
    assert "u'DE*EVT*E000123'" in log  # mosquitto's user is the certificate's CN
    assert b"MemoryError" not in (tmp_path / "out" / "console.log").read_bytes()


def test_a_network_that_cuts_and_swallows_tls(tmp_path):
    """Within the handshake, and within a session; a broker that is gone for a while."""
    text = TLS + step(0.1, "proxy", cut_after=900) + step(60, "proxy", cut_after=500)
    text += session(20, 3) + step(250, "proxy", half_open=True)
    text += session(300, 3) + step(900, "proxy", clear=True) + step(1000, "broker", state="stop")
    text += session(1010, 1) + step(1100, "broker", state="start")
    with charger(tmp_path, text + step(1300, "end")) as playing:
        playing.run()
        assert playing.charger.relay.cuts == 2
        check(outcome(playing, tmp_path / "out"), sessions=3)


WRONG = {
    "CA": lambda playing: playing.files.update(
        trust.files("", Authority(playing.charger.folder / "other").certificate)
    ),
    "name": lambda playing: playing.scenario.config.update(broker_host="broker.elsewhere.test"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_broker_that_is_not_to_be_trusted_gets_nothing(tmp_path, wrong):
    """Another CA, another host name: refused before anything is said, with one event and growing
    pauses, while the driver charges. The record waits in flash."""
    text = TLS + session(20, 3) + step(400, "end")
    with charger(tmp_path, text, prepare=WRONG[wrong]) as playing:
        playing.run()
        log = (playing.charger.folder / "broker" / "mosquitto.log").read_text()
        console = bytes(playing.charger.console).decode()
        assert "Stopped by card" in outcome(playing, tmp_path / "out").shown()
    refusals = console.count("link down: cannot connect: The certificate")
    assert 4 < refusals < 20
    assert console.count("event: server_mistrusted broker: cannot connect: The certif") == 1
    assert "DE*EVT*E000123" not in log
