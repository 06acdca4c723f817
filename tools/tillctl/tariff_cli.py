"""`tillctl tariff compile | show | lint | price`."""

import argparse
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from evtill.core import tariff
from evtill.core.errors import TariffError

from . import tariff_cases, tariff_lint, tariff_show
from .tariff_compile import compile_tariff, read


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

    shown = commands.add_parser("show", help="a compact table as a price list, or as JSON")
    shown.add_argument("table", type=Path)
    shown.add_argument("--json", action="store_true", help="as a tariff of the same meaning")
    shown.set_defaults(run=_show)

    linted = commands.add_parser("lint", help="warn of what a driver or the law would mind")
    linted.add_argument("tariff", type=Path, help="JSON: a tariff, or a list of several")
    linted.add_argument("--power-kw", type=float, help="the charging point's (default: any)")
    linted.set_defaults(run=_lint)

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


def _show(args: argparse.Namespace) -> int:
    try:
        tables = tariff.split(args.table.read_bytes())
    except OSError as e:
        raise TariffError(f"{args.table}: {e.strerror}") from None
    if args.json:
        shown = [tariff_show.to_json(table) for table in tables]
        print(json.dumps(shown if len(shown) > 1 else shown[0], indent=2))
    else:
        print("\n\n".join(tariff_show.words(table) for table in tables))
    return 0


def _lint(args: argparse.Namespace) -> int:
    """0 when there is nothing to warn of, else 1."""
    source = read_json(args.tariff)
    warnings = []
    for one in source if isinstance(source, list) else [source]:
        model = read(one)
        found = tariff_lint.unreachable_components(one) + tariff_lint.lint(model, args.power_kw)
        warnings += [f"{model.id}: {warning}" for warning in found]
    for warning in warnings:
        print(warning)
    return 1 if warnings else 0


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
