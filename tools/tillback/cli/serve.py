"""`tillback serve`: everything that has to run."""

import argparse
import asyncio
import signal

from tillback.cli.common import AddCommand, broker
from tillback.store import Store


def add_parser(command: AddCommand) -> None:
    """Adds it to the command line."""
    serve = command("serve", _serve, "store and acknowledge what the chargers publish")
    serve.add_argument("--broker", required=True, metavar="URL",
                       help="mqtt://user:password@host:port; or @FILE that holds it")  # fmt: skip
    serve.add_argument("--pay-url", metavar="URL",
                       help="with {nonce} in it: keeps a fresh QR code of it on every display "
                       "that can show one")  # fmt: skip


def _serve(arguments: argparse.Namespace) -> int:
    from tillback.ingest import Ingest

    store = Store(arguments.database)
    ingest = Ingest(store, broker(arguments), pay_url=arguments.pay_url)

    async def serve() -> None:
        stop = asyncio.Event()
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        await ingest.start()
        await stop.wait()
        await ingest.stop()

    try:
        asyncio.run(serve())
    finally:
        store.close()
    return 0
