"""`tillback tariff`: what records are priced by."""

import argparse
import contextlib
import json
from pathlib import Path

from evtill.core.errors import ConfigError
from tillback import tariffs
from tillback.cli.common import AddCommand
from tillback.db.database import Database
from tillctl.tariff_compile import compile_tariff


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    add = command("tariff add", _add, "make a tariff known, and bill what has waited for it")
    add.add_argument("file", type=Path, help="an OCPI tariff (JSON), or the compact table that "
                     "`tillctl tariff compile` makes of it")  # fmt: skip
    add.add_argument("--timezone", metavar="ZONE",
                     help="of an OCPI tariff: as given to the chargers, such as Europe/Amsterdam")
    add.add_argument("--year", type=int,
                     help="in which an OCPI tariff was compiled for them (default: this one)")


def _add(arguments: argparse.Namespace) -> int:
    file: Path = arguments.file
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    source = None
    if data[:2] != b"ET":
        if arguments.timezone is None:
            raise ConfigError("--timezone: an OCPI tariff needs one")
        try:
            source = json.loads(data)
        except (ValueError, RecursionError):
            raise ConfigError(f"{file}: neither JSON nor a tariff table") from None
        data = compile_tariff(source, arguments.timezone, arguments.year)
    with contextlib.closing(Database(arguments.database)) as database:
        added, billed = tariffs.add_tariff(database, data, source)
    for one in added:
        print(f"{one.id} {one.currency} sha256 {one.sha256}")
    if billed:
        print(f"{billed} records billed that have waited for it")
    return 0
