"""`tillback serve`: everything that has to run."""

import argparse
import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

from tillback.cli.common import (
    AddCommand,
    add_broker,
    broker,
    embedded_url,
    host_port,
    write_secret,
)
from tillback.mqtt import Address
from tillback.store import Store

log = logging.getLogger(__name__)


def add_parser(command: AddCommand) -> None:
    """Adds it to the command line."""
    serve = command("serve", _serve, "store and acknowledge what the chargers publish")
    add_broker(serve, "one of its own, for the registered chargers")
    serve.add_argument("--mqtt-listen", type=host_port, default="127.0.0.1:1883",
                       metavar="HOST:PORT", help="of the broker of its own; 0.0.0.0:1883 for "
                       "chargers on the network, without TLS (default %(default)s)")  # fmt: skip
    serve.add_argument("--pay-url", metavar="URL",
                       help="with {nonce} in it: keeps a fresh QR code of it on every display "
                       "that can show one")  # fmt: skip


def _serve(arguments: argparse.Namespace) -> int:
    from tillback.ingest import Ingest

    async def serve() -> None:
        ingest = Ingest(store, url, pay_url=arguments.pay_url)
        stop = asyncio.Event()
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        await ingest.start()
        await stop.wait()
        await ingest.stop()

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(Store(arguments.database)))
        url: str | Address
        if arguments.broker is None:
            url = stack.enter_context(_embedded(store, arguments))
        else:
            url = broker(arguments)
        asyncio.run(serve())
    return 0


@contextlib.contextmanager
def _embedded(store: Store, arguments: argparse.Namespace) -> Iterator[str]:
    """Runs a broker of our own; its URL, which `tillback command` finds too."""
    from tillback.broker.embedded import Embedded
    from tillback.broker.registered import BACKEND, Registered, login

    guard = Registered(login(store))
    host, port = arguments.mqtt_listen
    own = Embedded(guard, host, port)
    own.start()
    url = own.url(BACKEND, guard.password)
    file = embedded_url(arguments.database)
    try:
        write_secret(file, url)
        log.info("MQTT broker for the registered chargers on %s, port %d", host, port)
        yield url
    finally:
        file.unlink(missing_ok=True)
        own.stop()
