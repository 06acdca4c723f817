"""The parts that hold money, take it and give it back, put together: for running."""

import argparse
from collections.abc import Awaitable, Callable

from fastapi import FastAPI

from tillback.db.database import Database
from tillback.pages import routes
from tillback.payments.attempts import Opener
from tillback.payments.prepaid import Prepaid
from tillback.payments.provider import Provider
from tillback.payments.raising import Raiser
from tillback.payments.settle import Settler
from tillback.payments.starting import Starter
from tillback.payments.stripe import Stripe


def parts(
    database: Database, arguments: argparse.Namespace, app: FastAPI, connected: Callable[[], bool]
) -> dict[str, Callable[[], Awaitable[None]]]:
    """What is to run. arguments: of cli.money, checked; with Stripe's key `app` gets the drivers'
    pages, and may hold money for cards. connected: whether commands to chargers can go out."""
    prepaid = Prepaid()
    providers: dict[str, Provider] = {prepaid.name: prepaid}
    settler = Settler(database, providers)
    found: dict[str, Callable[[], Awaitable[None]]] = {
        "settle": settler.run, "starts": Starter(database).run, "ceilings": Raiser(database).run,
    }  # fmt: skip
    if arguments.stripe_key is not None:
        stripe = providers[Stripe.name] = Stripe(arguments.stripe_key)
        app.state.provider = stripe.name
        app.include_router(routes.router(routes.Site(
            database, settler, stripe, arguments.public_url, arguments.hold_minor,
            arguments.stripe_webhook_secret, connected,
        )))  # fmt: skip
        found["opens"] = Opener(database, connected).run
    return found
