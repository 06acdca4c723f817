"""What `tillback serve` and `api` take to be paid. Secrets come from files or the environment, as
anybody on the machine can read a command line."""

import argparse
import os
from pathlib import Path
from urllib.parse import urlsplit

from evtill.core.errors import ConfigError
from tillback.cli.common import read_text
from tillback.payments.authorizations import MINOR_MAX

KEY, WEBHOOK_SECRET = "TILLBACK_STRIPE_KEY", "TILLBACK_STRIPE_WEBHOOK_SECRET"
_HOLD_MINOR = 5000


def add_money(parser: argparse.ArgumentParser) -> None:
    """Adds --stripe-key and what goes with it."""
    parser.add_argument("--stripe-key", metavar="@FILE",
                        help="Stripe's secret key: drivers then pay by card or wallet on their "
                        f"phones (default: ${KEY})")  # fmt: skip
    parser.add_argument("--stripe-webhook-secret", metavar="@FILE",
                        help="that Stripe signs /stripe/webhook with; without it payments are "
                        f"asked about every few seconds (default: ${WEBHOOK_SECRET})")
    parser.add_argument("--public-url", metavar="URL",
                        help="of https: where drivers' phones find us")  # fmt: skip
    parser.add_argument("--hold-minor", type=int, default=_HOLD_MINOR, metavar="N",
                        help="what is held on a card for a session, in the currency's minor units "
                        "(default: %(default)s)")  # fmt: skip


def check_money(arguments: argparse.Namespace) -> None:
    """Replaces the secrets by what is in their files. Raises ConfigError, without any secret."""
    arguments.stripe_key = _secret("--stripe-key", arguments.stripe_key, KEY)
    arguments.stripe_webhook_secret = _secret(
        "--stripe-webhook-secret", arguments.stripe_webhook_secret, WEBHOOK_SECRET
    )
    if (arguments.stripe_key is None) != (arguments.public_url is None):
        raise ConfigError("--stripe-key and --public-url go together")
    if arguments.public_url is not None:
        arguments.public_url = _public(arguments.public_url)
    if not 0 < arguments.hold_minor <= MINOR_MAX:
        raise ConfigError(f"--hold-minor: want 1 to {MINOR_MAX}")


def _secret(option: str, given: str | None, variable: str) -> str | None:
    if given is not None and not given.startswith("@"):
        raise ConfigError(f"{option}: want @FILE, as others can read a command line")
    said = os.environ.get(variable) if given is None else read_text(Path(given[1:]))
    if said is None:
        return None
    said = said.strip()
    if not said or not said.isascii() or not said.isprintable() or " " in said:
        raise ConfigError(f"{option}: there is no secret in it")
    return said


def _public(url: str) -> str:
    """Without a / at its end."""
    parts = urlsplit(url)
    bare = not (parts.query or parts.fragment or parts.username or parts.path.strip("/"))
    if parts.scheme != "https" or not parts.hostname or not bare or "{" in url:
        raise ConfigError("--public-url: want https://HOST")
    return url.rstrip("/")
