"""tillctl: the technician's command line."""

import argparse
import importlib
import sys

from evtill.core.errors import EvtillError
from tillctl.cli import Parser

# Each has add_parser(subparsers), which registers its commands: `run(args) -> exit code`.
_MODULES = ("flash", "meter_cli", "provision", "tariff_cli", "tokens_cli", "verify_cli", "export",
            "keys", "rotate_key", "card", "language_cli")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="tillctl", description="Provision, flash and check evtill chargers.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name in _MODULES:
        importlib.import_module(f"tillctl.{name}").add_parser(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return args.run(args)
    except (EvtillError, OSError) as e:
        print(f"tillctl: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
