"""`tillctl language list | check`."""

import argparse
import tomllib
from pathlib import Path

from tillctl import languages


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "language", help="list and check the languages of the display",
        description="Languages are files in languages/, whose README.md says how to add one.",
    )  # fmt: skip
    sub = parser.add_subparsers(metavar="COMMAND", required=True, dest="language_command")
    p = sub.add_parser("list", help="the languages that there are")
    p.set_defaults(run=_list)
    p = sub.add_parser("check", help="lint a language's file",
                       description="Exit code 1 and a line for what is wrong.")  # fmt: skip
    p.add_argument("file", nargs="+", type=Path, metavar="FILE")
    p.set_defaults(run=_check)


def _list(args: argparse.Namespace) -> int:
    for name in languages.names():
        if name == "en":
            print("en  English (in the firmware)")
        else:
            path = languages.FOLDER / f"{name}.toml"
            print(f"{name}  {tomllib.loads(path.read_text())['name']}")
    return 0


def _check(args: argparse.Namespace) -> int:
    wrong = 0
    for path in args.file:
        faults = languages.check(path)
        for fault in faults:
            print(f"{path}: {fault}")
        if not faults:
            print(f"{path}: {len(languages.load(str(path)))} bytes on a board")
        wrong += len(faults)
    return 1 if wrong else 0
