"""`tillback api-key create`, `list` and `revoke`: who may use the payment API."""

import argparse
import contextlib
import datetime

from tillback.api import keys
from tillback.cli.common import AddCommand
from tillback.db.database import Database


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    create = command("api-key create", _create, "make a key, and print it: it is kept nowhere")
    create.add_argument("name", help="whose it is, for the list")
    create.add_argument("--scope", action="append", default=[], metavar="SCOPE", dest="scopes",
                        help=f"what it may do; several times. One of {', '.join(keys.SCOPES)}")
    create.add_argument("--charger", metavar="ID",
                        help="bind it to this charger: its payment_password. Its scope is "
                        f"{keys.OF_A_CHARGER[0]} unless said otherwise")  # fmt: skip

    command("api-key list", _list, "every key: its id, name, scopes, and since when")

    revoke = command("api-key revoke", _revoke, "end a key, at once")
    revoke.add_argument("id", help="the id that `list` prints: the middle of tb_<id>_<secret>")


def _create(arguments: argparse.Namespace) -> int:
    scopes = arguments.scopes
    if arguments.charger is not None and not scopes:
        scopes = list(keys.OF_A_CHARGER)
    with contextlib.closing(Database(arguments.database)) as database:
        now = datetime.datetime.now(datetime.UTC)
        print(keys.create(database, arguments.name, scopes, arguments.charger, now))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        for row in keys.keys(database):
            ended = f"  revoked {row.revoked_at}" if row.revoked_at else ""
            bound = f"  of {row.charger}" if row.charger else ""
            print(f"{row.id}  {row.created_at}  {row.name}  {row.scopes}{bound}{ended}")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        keys.revoke(database, arguments.id, datetime.datetime.now(datetime.UTC))
    print(f"{arguments.id} revoked")
    return 0
