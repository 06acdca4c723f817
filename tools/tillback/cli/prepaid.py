"""`tillback prepaid top-up` and `balance`: credit that accounts have paid in."""

import argparse
import contextlib

from tillback.cli.common import AddCommand
from tillback.db.database import Database, now
from tillback.payments import prepaid
from tillctl import amounts


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    top_up = command("prepaid top-up", _top_up, "book what an account has paid in; once for each "
                     "--ref, however often it is said")  # fmt: skip
    top_up.add_argument("account", help="whose: the account of its tokens, or the hash of one "
                        "that has none")  # fmt: skip
    top_up.add_argument("amount_minor", type=int, help="in minor units, such as cents")
    top_up.add_argument("currency", help="such as EUR")
    top_up.add_argument("--ref", required=True, metavar="TEXT",
                        help="what names this payment, such as the bank's reference")

    balance = command("prepaid balance", _balance, "what an account has, and what sessions reserve")
    balance.add_argument("account")


def _top_up(arguments: argparse.Namespace) -> int:
    amount, currency = arguments.amount_minor, arguments.currency
    with contextlib.closing(Database(arguments.database)) as database, database.write() as session:
        new = prepaid.top_up(session, arguments.account, amount, currency, arguments.ref, now())
    print(f"{amounts.money(amount, currency)} {'booked' if new else 'was booked before'}")
    return 0


def _balance(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database, database.read() as session:
        found = prepaid.balances(session, arguments.account)
    for currency, has, reserved in found:
        print(f"{amounts.money(has, currency)}, of it {amounts.money(reserved, currency)} reserved")
    if not found:
        print("nothing was paid in")
    return 0
