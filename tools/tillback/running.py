"""The backend's parts, put together: what `tillback serve`, `ingest` and `api` run."""

import argparse
import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette

from tillback import service
from tillback.db.database import Database, one_line, utc_now
from tillback.ingest import Ingest
from tillback.metrics import Metrics

log = logging.getLogger(__name__)


def run(
    database: Database, arguments: argparse.Namespace, *, api: bool,
    make_ingest: Callable[[Metrics], Ingest] | None = None,
) -> None:  # fmt: skip
    """Serves until a signal comes. arguments: of cli.common's add_listen(), and with the API of its
    add_api(). Raises ConfigError for what they have wrong."""
    metrics = Metrics(database)
    checks: dict[str, service.Check] = {"database": lambda: _look(database)}
    parts: dict[str, Callable[[], Awaitable[None]]] = {}  # in the order in which they end
    app: Starlette = Starlette()
    if api:
        from tillback import paying
        from tillback.api.app import create_app  # an ingester starts in half the time

        app = web = create_app(database)
        money = paying.parts(
            database, arguments, web, lambda: not make_ingest or not checks["broker"]()
        )
    if arguments.listen:
        host, port = arguments.listen
        server = service.HttpServer(
            service.counted(app, metrics), host, port, arguments.tls_cert, arguments.tls_key
        )
        parts["http"] = server.run
        log.info("HTTP on %s", server.url)
    if api:
        from tillback.deliverer import Deliverer

        parts |= money
        parts["webhooks"] = Deliverer(
            database, utc_now, allow_private=arguments.webhooks_private,
            ca_file=arguments.webhooks_ca,
        ).run  # fmt: skip
    if make_ingest:
        ingest = make_ingest(metrics)
        metrics.watch(lambda: dataclasses.asdict(ingest.counters))
        parts["ingest"] = ingest.run
        checks["broker"] = lambda: "" if ingest.connected else "not connected"
    supervisor = service.Supervisor(parts)
    checks["parts"] = lambda: ", ".join(f"{n}: {why}" for n, why in supervisor.troubles.items())
    app.routes.extend(service.health(metrics, checks))
    asyncio.run(supervisor.run())


def _look(database: Database) -> str:
    try:
        with database.read() as session:
            session.execute(sqlalchemy.select(1))
    except SQLAlchemyError as error:
        log.warning("database: %s", one_line(error))
        return "cannot be read"
    return ""
