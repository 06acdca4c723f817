"""tillback: the reference backend, from the command line."""

import argparse
import os
import sys
from collections.abc import Callable

from evtill.core.errors import EvtillError
from tillback import logs
from tillback.cli import (
    admin,
    api_keys,
    broker,
    chargers,
    ledger,
    ocpi,
    prepaid,
    records,
    serve,
    tariffs,
    webhooks,
)

_DATABASE = "sqlite:///tillback.sqlite"
_NOUNS = (  # in the order of --help
    serve, chargers, tariffs, records, ledger, prepaid, ocpi, api_keys, webhooks, broker, admin,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the exit code is 0, or 1 after one line on standard error."""
    arguments = _parser().parse_args(argv)
    logs.configure(arguments.log)
    try:
        code: int = arguments.run(arguments)
        return code
    except EvtillError as error:
        print(f"tillback: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tillback records | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tillback", description=__doc__)
    groups = {"": parser.add_subparsers(required=True, metavar="COMMAND")}

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        noun, _, verb = name.rpartition(" ")
        if noun not in groups:
            of_noun = groups[""].add_parser(noun, help=f"see `tillback {noun} --help`")
            groups[noun] = of_noun.add_subparsers(required=True, metavar="COMMAND")
        added = groups[noun].add_parser(verb, help=text, description=text)
        added.add_argument("--db", "--database", dest="database", default=_DATABASE, metavar="URL",
                           help="SQLAlchemy's, such as postgresql+psycopg://user@host/name "
                           f"(default {_DATABASE})")  # fmt: skip
        added.add_argument("--log", choices=logs.FORMS, default="text",
                           help="how to log (default: %(default)s)")  # fmt: skip
        added.set_defaults(run=run)
        return added

    for one in _NOUNS:
        one.add_parser(command)
    return parser
