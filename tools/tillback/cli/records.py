"""`tillback records` and `receipt`: what is stored."""

import argparse
import contextlib
import json

from evtill.core.errors import ConfigError
from tillback.cli.common import AddCommand
from tillback.db.tables import UsageRecord
from tillback.store import Store
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    records = command("records", _records, "list the usage records")
    records.add_argument("--charger", help="only this one's")
    records.add_argument("--jsonl", action="store_true",
                         help="{jws, payload, ocmf} a line, instead of a table")  # fmt: skip

    receipt = command("receipt", _receipt, "print a session's receipt")
    receipt.add_argument("id", help="the record's id")
    form = receipt.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="a page, self-contained")
    form.add_argument("--text", action="store_true", help="for a terminal (default)")


def _records(arguments: argparse.Namespace) -> int:
    with contextlib.closing(Store(arguments.database)) as store:
        for row in store.records(arguments.charger):
            print(as_jsonl(row) if arguments.jsonl else _as_line(row))
    return 0


def as_jsonl(row: UsageRecord) -> str:
    """{jws, payload, ocmf} of a stored record, on one line."""
    payload = json.loads(row.payload)
    return json.dumps({"jws": row.jws.decode(), "payload": payload, "ocmf": payload["ocmf"]})


def _as_line(row: UsageRecord) -> str:
    found = json.loads(row.payload)
    cost = f"{found['total_cost']['incl_minor']} {found['currency']} minor"
    return f"{row.id:36} {found['start_date_time']} {found['total_energy_wh']:>8} Wh  {cost}"


def _receipt(arguments: argparse.Namespace) -> int:
    from tillback import receipt

    with contextlib.closing(Store(arguments.database)) as store:
        row = store.record(arguments.id)
        charger = store.charger(row.charger) if row else None
        rotations = store.rotations(row.charger) if row else []
    if row is None or charger is None:
        raise ConfigError(f"no record {arguments.id}")
    ring = KeyRing([(charger.id, PublicKey(charger.public_key_pem))], rotations)
    model = receipt.model(row.jws, ring)
    print(receipt.html(model) if arguments.html else receipt.text(model), end="")
    return 0
