"""The command set_tokens: a signed list comes over HTTPS, whole or not at all, whoever charges."""

import contextlib
import hashlib
import random

import pytest

from evtill.core.tokens import BLOCKED
from host_tests.e2e.charger import CARD, HEAD, Outcome, charger, check, outcome, run, step, tap
from host_tests.e2e.test_commands import command
from host_tests.net.file_server import FileServer
from tillctl import artefacts, token_list, trust
from tillctl.token_list import Token
from tillsim.pki import Authority
from tillsim.play import CHARGER

KEY = bytes(range(32))
NAME = "pay.evtill.test"
OTHER = "04CCCCCCCCCC80"
START_S = 1772435640
CONFIG = f'[config]\npayment_host = "{NAME}"\npayment_password = "pay-password"\n'


def listed(cards, n=0, after=None):
    """A list of these cards and, up to `n`, of others."""
    chance = random.Random(1)
    cards = {bytes.fromhex(uid): token for uid, token in cards.items()}
    while len(cards) < n:
        cards[chance.randbytes(7)] = Token(chance.choice("ab"), 0, START_S + 90 * 86400)
    return token_list.build(cards, KEY, after)


def sealed(content, operator, version, typ="tokens", audience="all"):
    return artefacts.seal(content, typ, audience, version, START_S - 9, START_S + 86400, operator)


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    return artefacts.OperatorKey(tmp_path_factory.mktemp("key") / "operator.pem", make=True)


def order(at, path, files):
    return command(at, "set_tokens", path=path, sha256=hashlib.sha256(files[path]).hexdigest())


@contextlib.contextmanager
def served(tmp_path, text, operator, files, **options):
    """(Play of `text` before its run, the server of `files`)"""
    servers = []

    def prepare(playing):
        authority = playing.charger.authority
        servers.append(FileServer(authority.issue(NAME), files))
        playing.scenario.config["payment_port"] = servers[0].port
        point = b"".join(n.to_bytes(32, "big") for n in operator.public.point)
        playing.registration["token_key"] = KEY.hex()  # under which the lists here are made
        playing.files = {
            **trust.files("", None, authority.certificate), "operator.key": point,
        }  # fmt: skip

    with charger(tmp_path, text, prepare=prepare, **options) as playing:
        try:
            yield playing, servers[0]
        finally:
            servers[0].close()


def told(result: Outcome) -> list[tuple[str, str]]:
    return [(row["name"], row["detail"]) for row in result._rows("events.jsonl")
            if row["name"].startswith("tokens_")]  # fmt: skip


def test_ten_thousand_tokens_come_in_at_idle_and_in_a_session(tmp_path, operator):
    """In the heap of an ESP32. Who charges notices nothing, though the new list has not his card
    any more; the meter is read on time."""
    with_other = listed({CARD: Token("g"), OTHER: Token("g")}, 10050)
    files = {
        "/idle": sealed(with_other.encode(), operator, 7),
        "/session": sealed(listed({CARD: Token("g")}, 10100).encode(), operator, 9),
    }
    text = HEAD + CONFIG + order(5, "/idle", files) + tap(120, OTHER) + step(123, "plug", kw=11)
    text += order(150, "/session", files) + tap(300, OTHER) + tap(320, OTHER) + step(330, "end")
    with served(tmp_path, text, operator, files, bits=32) as (playing, server):
        playing.run()
        result = outcome(playing, tmp_path / "out")
    assert told(result) == [("tokens_changed", f"version {n}") for n in (7, 9)]
    check(result)
    assert result.records[0]["flags"] == [] and result.records[0]["stop_reason"] == "Local"
    assert "Not possible: | card is not known" in result.shown()
    assert result.results == [("accepted", "on its way")] * 2
    assert server.heard[0][1]["Authorization"] == "Bearer pay-password"
    assert b"MemoryError" not in (tmp_path / "out" / "console.log").read_bytes()


def test_whatever_is_wrong_the_list_that_is_there_stays_and_an_event_says_why(tmp_path, operator):
    stranger = artefacts.OperatorKey(tmp_path / "stranger.pem", make=True)
    full = listed({CARD: Token("g")}, 500)
    more = listed({CARD: Token("g"), OTHER: Token("g")}, 510, full)
    other = listed({CARD: Token("g")}, 400).encode()
    delta = token_list.diff(full.encode(), more.encode())
    good, newer = sealed(full.encode(), operator, 7), sealed(other, operator, 9)
    mine = f"charger:{CHARGER}"
    files = {
        "/good": good, "/stranger": sealed(other, stranger, 9), "/low": sealed(other, operator, 6),
        "/spoilt": newer[:-1] + b"x", "/cut": newer, "/short": newer, "/elsewhere": newer,
        "/unsaid": newer, "/no-list": sealed(bytes(3000), operator, 9), "/untrusted": newer,
        "/tariff": sealed(other, operator, 9, "tariff"), "/huge": newer, "/mistaken": newer,
        "/delta?v=8": sealed(delta, operator, 8, "tokens-delta", mine), "/none": b"",
    }  # fmt: skip
    wrong = [
        ("/stranger", "does not verify"), ("/low", "version 6 is lower than 7"),
        ("/spoilt", "content is not what was signed"), ("/cut", "https: cut off"),
        ("/short", "https: longer than it said"), ("/elsewhere", "redirects are not followed"),
        ("/unsaid", "https: no content-length"), ("/no-list", "not a token list"),
        ("/tariff", "it is tariff"), ("/huge", "no room in flash"), ("/none", "status 404"),
        ("/mistaken", "not the one that was meant"), ("/untrusted", "The certificate"),
    ]  # fmt: skip
    text = HEAD + CONFIG + order(3, "/good", files) + order(3, "/good", files)
    for n, (path, _) in enumerate(wrong):
        text += order(20 + 10 * n, path, files | {"/mistaken": good})
    text += order(190, "/delta?v=8", files) + tap(200, OTHER) + step(203, "plug", kw=11)
    text += tap(300, OTHER) + command(310, "set_tokens", path="x", sha256="0" * 64)
    text += command(311, "set_tokens", path="/x", sha256="0" * 63) + step(330, "end")
    with served(tmp_path, text, operator, files) as (playing, server):
        files.pop("/none")
        server.faults = {
            "/cut": {"cut": len(newer) // 2}, "/short": {"length": len(newer) - 100},
            "/elsewhere": {"redirect": f"https://{NAME}:{server.port}/good"},
            "/unsaid": {"length": None}, "/huge": {"length": 90000000},
        }  # fmt: skip
        own = playing.charger.authority.issue(NAME)
        strange = Authority(tmp_path / "other").issue(NAME)
        playing.besides = [(139000, lambda: server.use(strange)), (185000, lambda: server.use(own))]
        playing.run()
        result = outcome(playing, tmp_path / "out")
    said = told(result)
    assert said[0] == ("tokens_changed", "version 7")
    assert said[-1] == ("tokens_changed", "version 8")
    assert len(said) == len(wrong) + 2
    for (name, detail), (_, why) in zip(said[1:-1], wrong, strict=True):
        assert name == "tokens_refused" and why in detail
    assert result.results[1] == ("rejected", "another one is on its way")
    assert result.results[-2:] == [("rejected", "path is out of range"),
                                   ("rejected", "sha256 is out of range")]  # fmt: skip
    check(result)  # who charges by what version 8 says
    assert [path for path, _ in server.heard].count("/good") == 1
    assert "/untrusted" not in [path for path, _ in server.heard]


def test_a_card_that_is_blocked_while_it_charges_ends_its_session(tmp_path, operator):
    """And one that is only gone from the list still stops what it began (see above)."""
    blocked = listed({CARD: Token("g", BLOCKED), OTHER: Token("g")})
    files = {
        "/first": sealed(listed({CARD: Token("g")}).encode(), operator, 7),
        "/blocked": sealed(blocked.encode(), operator, 8),
    }
    text = HEAD + CONFIG + order(5, "/first", files) + tap(60) + step(63, "plug", kw=11)
    text += order(150, "/blocked", files) + step(200, "unplug") + tap(220) + step(240, "end")
    with served(tmp_path, text, operator, files) as (playing, _):
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert result.records[0]["stop_reason"] == "DeAuthorized"
    assert "card is blocked" in result.shown().replace(" | ", " ")


def test_a_charger_without_a_payment_host_fetches_nothing(tmp_path):
    text = HEAD + command(5, "set_tokens", path="/x", sha256="0" * 64) + step(20, "end")
    result = run(tmp_path, text)
    assert result.results == [("rejected", "no payment_host is configured to fetch it from")]
