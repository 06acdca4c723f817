"""tillctl: the technician's command line."""

import argparse
import importlib
import sys

from evtill.core.errors import EvtillError

# Each has add_parser(subparsers), which registers its commands: `run(args) -> exit code`.
_MODULES = ("flash", "provision", "tariff_cli", "verify")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="tillctl", description="Provision, flash and check evtill chargers.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
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
