"""`tillback ingest`: one of several that bring records from the broker into the database."""

import argparse
import asyncio
import contextlib
import signal

from tillback.cli.common import AddCommand, add_broker, broker
from tillback.store import Store


def add_parser(command: AddCommand) -> None:
    """Adds it to the command line."""
    ingest = command("ingest", _ingest, "store what chargers publish: alone, or one of several")
    add_broker(ingest, "the one that `tillback serve` embeds")
    ingest.add_argument("--client-id", default="tillback", metavar="NAME",
                        help="on the broker; its own for each ingester (default: %(default)s)")
    ingest.add_argument("--shared", action="store_true",
                        help="share what comes with other ingesters (mosquitto)")


def _ingest(arguments: argparse.Namespace) -> int:
    from tillback.ingest import Ingest

    async def run() -> None:
        ingest = Ingest(store, address, client_id=arguments.client_id, shared=arguments.shared)
        stop = asyncio.Event()
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        await ingest.start()
        await stop.wait()
        await ingest.stop()

    address = broker(arguments)
    with contextlib.closing(Store(arguments.database)) as store:
        asyncio.run(run())
    return 0
