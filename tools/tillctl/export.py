"""`tillctl export`: usage records in the containers of other people's verifiers."""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from evtill.core.errors import RecordError
from tillctl.key_ring import KeyRing
from tillctl.verify import FAIL, Verified, verify
from tillctl.verify_cli import add_keys, open_sources


def add_parser(commands: Any) -> None:
    """Registers `export` with argparse's subparsers."""
    parser = commands.add_parser(
        "export", help="usage records for other people's verifiers", description="Writes a "
        "charger's usage records as an XML container that S.A.F.E. e.V.'s Transparenzsoftware "
        "and others open: each record's OCMF string with the public key for it. A record that is "
        "not as signed is refused.",
    )  # fmt: skip
    parser.add_argument("--safe-xml", action="store_true", required=True,
                        help="S.A.F.E.'s XML container")  # fmt: skip
    parser.add_argument("record", nargs="+", metavar="RECORD",
                        help="files, folders or a database, as `verify` takes them")  # fmt: skip
    add_keys(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="default: standard output")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises EvtillError for records that cannot be read or are not as signed."""
    found, ring = open_sources(args)
    container = safe_xml(found.records, ring)
    if args.output:
        args.output.write_bytes(container)
    else:
        sys.stdout.buffer.write(container)
    return 0


def safe_xml(published: list[bytes], ring: KeyRing) -> bytes:
    """S.A.F.E.'s XML container of the records (JWS) of one charger, by seq, copies left out.

    `transactionId` is the record's seq. There is no namespace, and the OCMF strings are the signed
    bytes. Raises RecordError."""
    root = ElementTree.Element("values")
    for one in _in_order([verify(record, ring) for record in dict.fromkeys(published)]):
        record = one.record or {}
        value = ElementTree.SubElement(
            root, "value", transactionId=str(record["seq"]), context="Transaction.End"
        )
        data = ElementTree.SubElement(value, "signedData", format="OCMF", encoding="plain")
        data.text = record["ocmf"]
        ElementTree.SubElement(value, "publicKey", encoding="plain").text = one.key.spki.hex()
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()


def _in_order(records: list[Verified]) -> list[Verified]:
    for one in records:
        for check in one.checks:
            if check.result == FAIL:
                raise RecordError(f"{one.name}: {check.name}: {check.text}")
    if len({one.record["charger"] for one in records if one.record}) != 1:
        raise RecordError("the records are of several chargers: choose one with --charger")
    records.sort(key=lambda one: (one.record or {})["seq"])
    for before, one in itertools.pairwise(records):
        if (before.record or {})["seq"] == (one.record or {})["seq"]:
            raise RecordError(f"{one.name} stands twice, with other content")
    return records
