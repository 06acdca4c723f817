"""`tillback ledger check` and `balances`: the books."""

import argparse
import contextlib
import sys

from tillback import audit, ledger
from tillback.cli.common import AddCommand
from tillback.db.database import Database
from tillctl import amounts


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    command("ledger check", _check, "prove that the books balance: exit code 1 where not")
    command("ledger balances", _balances, "what stands on each account; credits are negative")


def _check(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database, database.read() as session:
        wrong = audit.check(session)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(wrong)} things are wrong" if wrong else "the books balance")
    return 1 if wrong else 0


def _balances(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database, database.read() as session:
        for account, currency, amount in ledger.balances(session):
            print(f"{account:44} {amounts.money(amount, currency):>20}")
    return 0
