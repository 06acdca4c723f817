"""`tillback init`, `backup` and `restore`: the database as a whole."""

import argparse
import contextlib
import sys
from pathlib import Path

from tillback import backup
from tillback.cli.common import AddCommand
from tillback.db.database import HEAD, Database, shown


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    command("init", _init, "set a database up, or bring an older one up to date")
    write = command("backup", _backup, "write all that is in the database into one file; others "
                    "may go on working meanwhile")  # fmt: skip
    write.add_argument("-o", "--out", type=Path, required=True, metavar="FILE",
                       help="it holds the chargers' keys: keep it as safe as the database")
    read = command("restore", _restore, "fill an empty database, SQLite or PostgreSQL, from a "
                   "backup of either")  # fmt: skip
    read.add_argument("backup", type=Path, metavar="FILE")


def _init(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database, migrate=True)):
        print(f"{shown(arguments.database)} is ready (schema {HEAD})")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        rows = backup.write(database, arguments.out, _progress)
    print(f"{arguments.out}: {rows} rows")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        rows = backup.restore(database, arguments.backup, _progress)
    print(f"{shown(arguments.database)}: {rows} rows")
    return 0


def _progress(rows: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{rows} rows", end="\r", file=sys.stderr)
