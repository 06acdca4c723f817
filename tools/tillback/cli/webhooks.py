"""`tillback webhook list`, `retry` and `deliver`: news on their way to others."""

import argparse
import asyncio
import contextlib
import datetime
from pathlib import Path

from sqlalchemy import select

from evtill.core.errors import ConfigError
from tillback import webhooks
from tillback.cli.common import AddCommand
from tillback.db.database import Database, now
from tillback.db.tables import WebhookEndpoint


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    command("webhook list", _list, "the endpoints, and how their deliveries fare")

    retry = command("webhook retry", _retry, "send what an endpoint never took once more")
    retry.add_argument("id", help="the endpoint's")

    deliver = command("webhook deliver", _deliver, "send what is due, once, and end")
    deliver.add_argument("--allow-private", action="store_true",
                         help="endpoints in one's own network are meant")  # fmt: skip
    deliver.add_argument("--ca", type=Path, metavar="PEM",
                         help="trust certificates of these alone")  # fmt: skip


def _list(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database, database.read() as session:
        query = select(WebhookEndpoint).where(WebhookEndpoint.removed_at.is_(None))
        for row in session.scalars(query.order_by(WebhookEndpoint.created_at)):
            fares = webhooks.fares(session, row.id)
            print(f"{row.id}  {row.url}  {row.kinds}  waiting {fares.waiting}, "
                  f"delivered {fares.delivered}, given up {fares.given_up}"
                  + (f"; {fares.last_error}" if fares.last_error else ""))  # fmt: skip
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database, database.write() as session:
        row = session.get(WebhookEndpoint, arguments.id)
        if row is None or row.removed_at is not None:
            raise ConfigError(f"no webhook endpoint {arguments.id[:64]!a}")
        count = webhooks.retry(session, row, now())
    print(f"{count} to be sent again")
    return 0


def _deliver(arguments: argparse.Namespace) -> int:
    from tillback.deliverer import Deliverer

    with contextlib.closing(Database(arguments.database)) as database:
        deliverer = Deliverer(
            database, lambda: datetime.datetime.now(datetime.UTC),
            allow_private=arguments.allow_private, ca_file=arguments.ca
        )
        print(f"{asyncio.run(deliverer.run_due())} tried")
    return 0
