"""`tillback ocpi`: CDRs out; tokens, tariffs and locations in."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from evtill.core.errors import ConfigError
from tillback.cli.common import AddCommand
from tillback.db.database import Database, stamp
from tillback.ocpi import imports
from tillback.ocpi.cdr import CdrError
from tillback.ocpi.export import Export
from tillctl import token_list


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    one = command("ocpi cdr", _cdr, "print a record's CDR (OCPI 2.2.1)")
    one.add_argument("id", help="the record's id")

    many = command("ocpi cdrs", _cdrs, "write the CDRs of stored records, as a JSON list; a record "
                   "that has none yet is named, and the exit code is 1")  # fmt: skip
    many.add_argument("--charger", help="only this one's")
    many.add_argument("--from", dest="since", type=_moment, metavar="TIME",
                      help="only those last updated then or later, such as 2026-03-01 (UTC) or "
                      "2026-03-01T12:00:00Z")  # fmt: skip
    many.add_argument("--to", dest="until", type=_moment, metavar="TIME",
                      help="only those last updated before then")  # fmt: skip
    many.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    many.add_argument("--jsonl", action="store_true", help="one a line, instead of a list")

    place = command("ocpi location", _location, "say where a charger stands: CDRs name it")
    place.add_argument("file", type=Path, help="OCPI Locations (JSON)")
    place.add_argument("--charger", required=True, help="its id")
    place.add_argument("--evse", metavar="UID", help="which EVSE it is (default: the one whose "
                       "evse_id or uid is the charger's id, or the only one)")  # fmt: skip
    place.add_argument("--connector", metavar="ID", help="which connector (default: the only one)")

    cards = command("ocpi tokens", _tokens, "take tokens in from OCPI Tokens (JSON)")
    cards.add_argument("file", type=Path, help="a list of them, or a response with `data`")
    cards.add_argument("--key", type=Path, required=True, metavar="FILE",
                       help="the chargers' token key, as `tillctl tokens build` takes it")

    tariffs = command("ocpi tariffs", _tariffs, "take tariffs in from OCPI Tariffs (JSON), and "
                      "bill what has waited for them")  # fmt: skip
    tariffs.add_argument("file", type=Path, help="a list of them, or a response with `data`")
    tariffs.add_argument("--timezone", required=True, help="IANA name, e.g. Europe/Amsterdam")
    tariffs.add_argument("--year", type=int, help="as the chargers' table was compiled with "
                         "(default: now)")  # fmt: skip


def _moment(text: str) -> str:
    """A date or time as it stands in the database; one without a zone is UTC."""
    try:
        at = datetime.fromisoformat(text)
        return stamp(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!a} is neither a date nor a time") from None


def _cdr(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        print(json.dumps(Export(database).cdr(arguments.id), indent=2))
    return 0


def _cdrs(arguments: argparse.Namespace) -> int:
    left_out = 0
    with (
        contextlib.closing(Database(arguments.database)) as database,
        _output(arguments.output) as out,
    ):
        between = "" if arguments.jsonl else "[\n"
        for one in Export(database).cdrs(arguments.charger, arguments.since, arguments.until):
            if isinstance(one, CdrError):
                left_out += 1
                print(f"tillback: {one}", file=sys.stderr)
                continue
            out.write(between + json.dumps(one))
            between = "\n" if arguments.jsonl else ",\n"
        end = "[]\n" if between == "[\n" else "\n]\n"
        out.write(("\n" if between else "") if arguments.jsonl else end)
    return 1 if left_out else 0


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """What is written, to standard output or to a file that is there as a whole or not at all."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _location(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        found: dict[str, Any] = imports.set_location(
            database, arguments.file, arguments.charger, arguments.evse, arguments.connector
        )
    print(f"{arguments.charger}: {found['address']}, {found['city']}, EVSE {found['evse_id']}, "
          f"connector {found['connector_id']} ({found['connector_standard']})")  # fmt: skip
    return 0


def _tokens(arguments: argparse.Namespace) -> int:
    try:
        key = token_list.read_key(arguments.key)
    except OSError as error:
        raise ConfigError(f"{arguments.key}: {error.strerror or error}") from error
    with contextlib.closing(Database(arguments.database)) as database:
        print(f"{arguments.file}: {imports.add_tokens(database, arguments.file, key)}")
    return 0


def _tariffs(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Database(arguments.database)) as database:
        added, billed = imports.add_tariffs(
            database, arguments.file, arguments.timezone, arguments.year
        )
    for one in added:
        print(f"{one.id} {one.currency} sha256 {one.sha256}")
    if billed:
        print(f"{billed} records billed that have waited for it")
    return 0
