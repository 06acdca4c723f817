"""The parts that hold money, take it and give it back, put together: for running."""

import argparse
import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from tillback.db.database import Database, one_line
from tillback.pages import routes
from tillback.payments.attempts import Opener
from tillback.payments.prepaid import Prepaid
from tillback.payments.provider import Provider
from tillback.payments.raising import Raiser
from tillback.payments.settle import Settler
from tillback.payments.starting import Starter
from tillback.payments.stripe import Stripe

_PAUSE_S = 1.0

log = logging.getLogger(__name__)


def parts(
    database: Database, arguments: argparse.Namespace, app: FastAPI, connected: Callable[[], bool]
) -> dict[str, Callable[[], Awaitable[None]]]:
    """What is to run. arguments: of cli.money, checked; with Stripe's key `app` gets the drivers'
    pages, and may hold money for cards. connected: whether commands to chargers can go out."""
    prepaid = Prepaid()
    providers: dict[str, Provider] = {prepaid.name: prepaid}
    settler = Settler(database, providers)
    found: dict[str, Callable[[], Awaitable[None]]] = {
        "settle": settler.run, "starts": _repeated(Starter(database).run_due),
        "ceilings": _repeated(Raiser(database).run_due),
    }  # fmt: skip
    if arguments.stripe_key is not None:
        stripe = providers[Stripe.name] = Stripe(arguments.stripe_key)
        app.state.provider = stripe.name
        app.include_router(routes.router(routes.Site(
            database, settler, stripe, arguments.public_url, arguments.hold_minor,
            arguments.stripe_webhook_secret, connected,
        )))  # fmt: skip
        found["opens"] = _repeated(Opener(database, connected).run_due)
    return found


def _repeated(work: Callable[[], int]) -> Callable[[], Awaitable[None]]:
    """A part that does it again and again; what is in hand when it is cancelled is finished."""

    async def run() -> None:
        while True:
            doing = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                await asyncio.shield(doing)
            except asyncio.CancelledError:
                await doing
                raise
            except SQLAlchemyError as error:
                log.error("database: %s", one_line(error))
            await asyncio.sleep(_PAUSE_S)

    return run
