"""`tillctl tariff compile | show | lint | price`."""

import argparse
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from evtill.core import tariff
from evtill.core.errors import TariffError

from . import tariff_cases
from .tariff_compile import compile_tariff


def add_parser(subparsers: Any) -> None:
    """Registers `tariff` with its own commands; each sets `run`, which returns the exit code."""
    parser = subparsers.add_parser("tariff", help="compile, show, check and apply tariffs")
    commands = parser.add_subparsers(dest="tariff_command", required=True)

    made = commands.add_parser("compile", help="an OCPI or OCPP tariff to the compact table")
    made.add_argument("tariff", type=Path, help="JSON: a tariff, or a list of several")
    made.add_argument("--timezone", required=True, help="IANA name, e.g. Europe/Amsterdam")
    made.add_argument("--year", type=int, help="offsets from around this year on (default: now)")
    made.add_argument("-o", "--output", type=Path, required=True)
    made.set_defaults(run=_compile)

    priced = commands.add_parser("price", help="what sessions cost: JSON lines in, JSON lines out")
    priced.add_argument("cases", type=Path, help="a case a line (- for standard input)")
    priced.add_argument(
        "--on", choices=["cpython", *tariff_cases.INTERPRETERS], default="cpython"
    )
    priced.set_defaults(run=_price)


def read_json(path: Path) -> Any:
    """JSON with its decimals kept exact. Raises TariffError."""
    try:
        return json.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as e:
        raise TariffError(f"{path}: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        raise TariffError(f"{path}: not JSON: {e}") from None


def _compile(args: argparse.Namespace) -> int:
    table = compile_tariff(read_json(args.tariff), args.timezone, args.year)
    for one in tariff.split(table):
        loaded = tariff.Tariff(one)
        print(f"{loaded.id}: {len(one)} bytes, sha256 {loaded.sha256}")
    args.output.write_bytes(table)
    return 0


def _price(args: argparse.Namespace) -> int:
    try:
        source = sys.stdin.read() if str(args.cases) == "-" else args.cases.read_text("utf-8")
    except OSError as e:
        raise TariffError(f"{args.cases}: {e.strerror}") from None
    failed = 0
    for result in tariff_cases.price(source.splitlines(), args.on):
        print(json.dumps(result))
        failed += "error" in result
    return 1 if failed else 0
