"""`tillback serve`, `ingest` and `api`: what has to run, all together or apart."""

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tillback.cli.common import (
    AddCommand,
    add_broker,
    add_listen,
    broker,
    embedded_url,
    host_port,
    write_secret,
)
from tillback.cli.money import add_money, check_money
from tillback.mqtt import Address
from tillback.store import Store

log = logging.getLogger(__name__)


def add_parser(command: AddCommand) -> None:
    """Adds them to the command line."""
    serve = command("serve", _serve, "everything in one: take the chargers' records, answer the "
                    "payment API, move money and news on; wants no configuration")  # fmt: skip
    add_broker(serve, "one of its own, for the registered chargers")
    serve.add_argument("--mqtt-listen", type=host_port, default="127.0.0.1:1883",
                       metavar="HOST:PORT", help="of the broker of its own; 0.0.0.0:1883 for "
                       "chargers on the network, without TLS (default %(default)s)")  # fmt: skip
    serve.add_argument("--pay-url", metavar="URL",
                       help="with {nonce} in it: keeps a fresh QR code of it on every display "
                       "that can show one (default: what --public-url serves)")  # fmt: skip
    _add_api(serve)

    ingest = command("ingest", _ingest, "store what chargers publish: alone, or one of several")
    add_broker(ingest, "the one that `tillback serve` embeds")
    ingest.add_argument("--client-id", default="tillback", metavar="NAME",
                        help="on the broker; its own for each ingester (default: %(default)s)")
    ingest.add_argument("--shared", action="store_true",
                        help="share what comes with other ingesters (mosquitto)")
    add_listen(ingest, None, "/healthz and /metrics")

    _add_api(command("api", _api, "answer the payment API, move money and news on"))


def _add_api(parser: argparse.ArgumentParser) -> None:
    add_listen(parser, "127.0.0.1:8080", "the API (its pages: /docs), /healthz and /metrics")
    parser.add_argument("--webhooks-private", action="store_true",
                        help="webhooks may go to addresses in this network")  # fmt: skip
    parser.add_argument("--webhooks-ca", type=Path, metavar="FILE",
                        help="certificates that webhooks' receivers are known by (default: the "
                        "system's)")  # fmt: skip
    add_money(parser)


def _serve(arguments: argparse.Namespace) -> int:
    from tillback import running
    from tillback.ingest import Ingest

    check_money(arguments)
    pay_url = arguments.pay_url
    if pay_url is None and arguments.public_url is not None:
        pay_url = arguments.public_url + "/q/{nonce}"
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(Store(arguments.database)))
        url: str | Address
        if arguments.broker is None:
            url = stack.enter_context(_embedded(store, arguments))
        else:
            url = broker(arguments)
        running.run(
            store.database, arguments, api=True, make_ingest=lambda metrics: Ingest(
                store, url, pay_url=pay_url, metrics=metrics),
        )  # fmt: skip
    return 0


def _ingest(arguments: argparse.Namespace) -> int:
    from tillback import running
    from tillback.ingest import Ingest

    address = broker(arguments)
    with contextlib.closing(Store(arguments.database)) as store:
        running.run(
            store.database, arguments, api=False, make_ingest=lambda metrics: Ingest(
                store, address, client_id=arguments.client_id, shared=arguments.shared,
                metrics=metrics),
        )  # fmt: skip
    return 0


def _api(arguments: argparse.Namespace) -> int:
    from tillback import running

    check_money(arguments)
    with contextlib.closing(Store(arguments.database)) as store:
        running.run(store.database, arguments, api=True)
    return 0


@contextlib.contextmanager
def _embedded(store: Store, arguments: argparse.Namespace) -> Iterator[str]:
    """Runs a broker of our own; its URL, which `tillback command` finds too."""
    from tillback.broker.embedded import Embedded
    from tillback.broker.registered import Registered, login
    from tillback.broker.rights import BACKEND

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
