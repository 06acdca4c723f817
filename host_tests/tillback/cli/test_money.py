"""What is given to `tillback serve` to be paid, and that no secret is said again."""

import argparse

import httpx
import pytest

from evtill.core.errors import ConfigError
from host_tests.tillback.test_serve import Serving, registered  # noqa: F401 - a fixture
from tillback.cli import main, money
from tillsim.broker import HOST, free_port

SECRET = "sk_test_0123456789"


def parsed(*words):
    parser = argparse.ArgumentParser()
    money.add_money(parser)
    arguments = parser.parse_args(words)
    money.check_money(arguments)
    return arguments


@pytest.fixture
def key(tmp_path):
    (tmp_path / "key").write_text(SECRET + "\n")
    return f"@{tmp_path}/key"


def test_secrets_come_from_files_and_the_environment(key, monkeypatch):
    public = ("--public-url", "https://pay.example/")
    found = parsed("--stripe-key", key, *public)
    assert (found.stripe_key, found.stripe_webhook_secret) == (SECRET, None)
    assert (found.public_url, found.hold_minor) == ("https://pay.example", 5000)
    monkeypatch.setenv(money.KEY, "sk_test_1")
    monkeypatch.setenv(money.WEBHOOK_SECRET, "whsec_1")
    found = parsed(*public)
    assert (found.stripe_key, found.stripe_webhook_secret) == ("sk_test_1", "whsec_1")
    assert parsed("--stripe-key", key, *public).stripe_key == SECRET


def test_nothing_is_given():
    assert (parsed().stripe_key, parsed().public_url) == (None, None)


@pytest.mark.parametrize("words, says", [
    (("--stripe-key", SECRET), "want @FILE"), (("--stripe-key", "KEY"), "go together"),
    (("--public-url", "https://pay.example"), "go together"),
    (("--stripe-key", "@/nowhere"), "cannot be read"),
    (("--stripe-key", "@/dev/null"), "no secret"),
    (("--stripe-key", "KEY", "--public-url", "http://pay.example"), "https://HOST"),
    (("--stripe-key", "KEY", "--public-url", "https://u:p@pay.example"), "https://HOST"),
    (("--stripe-key", "KEY", "--public-url", "https://pay.example/{0}"), "https://HOST"),
    (("--hold-minor", "0"), "1 to"), (("--hold-minor", "100000001"), "1 to"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(key, words, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parsed(*(key if one == "KEY" else one for one in words))
    assert "\n" not in str(caught.value) and SECRET not in str(caught.value)


def test_serve_says_it_too(tmp_path, capsys):
    database = f"sqlite:///{tmp_path}/x.sqlite"
    assert main(["serve", "--db", database, "--stripe-key", SECRET]) == 1
    said = capsys.readouterr().err
    assert "want @FILE" in said and SECRET not in said


def test_serve_has_the_pages(registered, key):  # noqa: F811 - the fixture
    base = f"{HOST}:{free_port()}"
    with Serving("--listen", base, "--stripe-key", key, "--stripe-webhook-secret", key,
                 "--public-url", "https://pay.example") as serving:  # fmt: skip
        serving.healthy(f"http://{base}")
        page = httpx.get(f"http://{base}/c/DE*EVT*E000123?lang=en", trust_env=False)
        hook = httpx.post(f"http://{base}/stripe/webhook", content=b"{}", trust_env=False)
    assert (page.status_code, hook.status_code, serving.code) == (200, 400, 0)
    assert "cannot be reached" in page.text  # the charger
    assert SECRET not in serving.said
