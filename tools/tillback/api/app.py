"""The payment API, version 1, as an ASGI application."""

import functools
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from tillback.api import (
    authorizations,
    chargers,
    problems,
    receipts,
    refunds,
    sessions,
    starts,
    tokens,
    usage_records,
    webhook_endpoints,
)
from tillback.api.bodies import Bodies
from tillback.api.idempotency import Idempotency
from tillback.api.limits import Rate
from tillback.api.problems import Problem
from tillback.api.security import Clock, Guard
from tillback.db.database import Database, utc_now

ABOUT = """The tills' backend: who may charge, what goes on, what it cost.

Every request carries `Authorization: Bearer tb_...`; a key has scopes. Every error is a
`application/problem+json` (RFC 9457) whose `type` explains itself. A POST under an
`Idempotency-Key` is carried out once. Lists come in pages, with cursors."""
_RESOURCES = (
    authorizations, starts, chargers, sessions, usage_records, receipts, refunds, tokens,
    webhook_endpoints,
)  # fmt: skip


def create_app(
    database: Database, *, clock: Clock = utc_now, rate: Rate | None = None,
    provider: str | None = None,
) -> FastAPI:  # fmt: skip
    """The application: /v1/..., /docs, /openapi.json and /problems.

    provider: the name of the payment provider that holds money for cards and wallets; None: they
    are refused. Each process that serves it has rate limits of its own."""
    app = FastAPIOffline(
        title="tillback", version="1", description=ABOUT, redoc_url=None,
        middleware=[
            Middleware(Guard, database=database, rate=rate or Rate(), clock=clock),
            Middleware(Bodies),
            Middleware(Idempotency, database=database, clock=clock),
        ],
        exception_handlers=problems.HANDLERS,
    )  # fmt: skip
    app.state.database, app.state.clock, app.state.provider = database, clock, provider
    for one in _RESOURCES:
        app.include_router(one.router, prefix="/v1")
    app.add_api_route(problems.BASE + "{name}", _explain, include_in_schema=False)
    app.add_api_route(problems.BASE[:-1], _explain_all, include_in_schema=False)
    app.openapi = functools.cache(functools.partial(_schema, app.openapi))  # type: ignore[method-assign]
    return app


def _explain(name: str) -> JSONResponse:
    """What a problem's `type` leads to."""
    if name not in problems.TYPES:
        raise Problem("not-found")
    status, title, meaning = problems.TYPES[name]
    return JSONResponse({"type": problems.BASE + name, "status": status, "title": title,
                         "meaning": meaning})  # fmt: skip


def _explain_all() -> list[dict[str, Any]]:
    return [
        {"type": problems.BASE + name, "status": status, "title": title, "meaning": meaning}
        for name, (status, title, meaning) in problems.TYPES.items()
    ]


def _schema(made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI, with problem details in the place of the framework's own errors."""
    schema = made()
    parts = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    own = problems.ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    parts |= own.pop("$defs") | {"ProblemDetails": own}
    return schema
