"""Errors as RFC 9457 problem details: the table of what can go wrong, and how it is answered."""

import http
import logging
import secrets
from collections.abc import Iterable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from evtill.core.errors import EvtillError

MEDIA_TYPE = "application/problem+json"
BASE = "/problems/"  # what a `type` begins with; GET on it explains it
AGAIN_S = "2"

# name: (status, title, what it means and what to do)
TYPES = {
    "bad-request": (400, "The request cannot be read",
                    "Its body is no JSON, or HTTP itself is broken. Mend it; sending it again as "
                    "it is changes nothing."),
    "cursor": (400, "The cursor is not valid",
               "Cursors are given out with a page, for the same list, the same filters and the "
               "same key. Begin again without one."),
    "unauthorized": (401, "No valid API key",
                     "Want `Authorization: Bearer tb_...` with a key that was not revoked."),
    "forbidden": (403, "The API key may not do this",
                  "Its scopes, or the charger that it is bound to, do not allow it."),
    "not-found": (404, "There is no such thing", "The path, or the id in it, names nothing here."),
    "method-not-allowed": (405, "The method is not allowed here",
                           "The Allow header names those that are."),
    "timeout": (408, "The request came too slowly", "Send it again, over one connection, whole."),
    "conflict": (409, "It stands otherwise",
                 "What is asked for does not go with how things stand; the detail says why."),
    "in-progress": (409, "The first request with this Idempotency-Key is under way",
                    "Send the same again a little later: it gets the first one's answer."),
    "too-large": (413, "The body is too large", "Bodies have 64 kB at most."),
    "media-type": (415, "The body is not JSON", "Want Content-Type: application/json in UTF-8."),
    "invalid": (422, "A value is not valid", "`errors` says which, and why."),
    "idempotency-key": (422, "The Idempotency-Key was used for another request",
                        "A key stands for one request, for 24 hours. Take a new one."),
    "rate": (429, "Too many requests", "Retry-After says in how many seconds to go on."),
    "internal": (500, "Something broke here",
                 "It is in the log, under `instance`. What was asked for may or may not have "
                 "happened: ask again under the same Idempotency-Key."),
    "unavailable": (503, "Not now", "The database is away, or too much is going on. Send it "
                    "again later, under the same Idempotency-Key."),
}  # fmt: skip
_BY_STATUS = {status: name for name, (status, _, _) in reversed(TYPES.items())}

log = logging.getLogger(__name__)


class Fault(BaseModel):
    """Where a value is that is not valid, and why. `at` is a path: `body/ceiling_minor`."""

    at: str
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457, section 3.1; `errors` is an extension member."""

    type: str = Field(pattern="^/problems/[a-z-]+$")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str | None = None
    errors: list[Fault] | None = None


class Problem(EvtillError):
    """An answer that is an error. name: one of TYPES; detail: one line, without secrets."""

    def __init__(
        self, name: str, detail: str = "", *, headers: dict[str, str] | None = None,
        faults: Iterable[Fault] = (), instance: str | None = None,
    ) -> None:  # fmt: skip
        self.status, title, _ = TYPES[name]
        super().__init__(detail or title)
        self.headers = headers or {}
        self.details = ProblemDetails(
            type=BASE + name, title=title, status=self.status, detail=detail or title,
            instance=instance, errors=list(faults) or None,
        )  # fmt: skip

    def response(self) -> JSONResponse:
        """What is sent."""
        return JSONResponse(
            self.details.model_dump(exclude_none=True), self.status, self.headers,
            media_type=MEDIA_TYPE,
        )  # fmt: skip


def invalid(at: str, detail: str) -> Problem:
    """The problem of one value."""
    return Problem("invalid", f"{at}: {detail}", faults=[Fault(at=at, detail=detail)])


def answers(*names: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` of a route that can fail so, besides what any can."""
    any_route = ("bad-request", "unauthorized", "forbidden", "timeout", "too-large", "invalid",
                 "rate", "internal", "unavailable")  # fmt: skip
    found: dict[int | str, dict[str, Any]] = {}
    for name in (*any_route, *names):
        status = TYPES[name][0]
        headers = {}
        if status in (429, 503):
            headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "seconds"}
        if status == 401:
            headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
        schema = {"$ref": "#/components/schemas/ProblemDetails"}
        found[status] = {"description": http.HTTPStatus(status).phrase, "headers": headers,
                         "content": {MEDIA_TYPE: {"schema": schema}}}  # fmt: skip
    return dict(sorted(found.items(), key=lambda one: str(one[0])))


def on_problem(_: Request, error: Exception) -> JSONResponse:
    """Exception handler."""
    assert isinstance(error, Problem)
    return error.response()


def on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: no such route, no such method, no JSON."""
    assert isinstance(error, HTTPException)
    name = _BY_STATUS.get(error.status_code, "bad-request")
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the framework names those of one route alone
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return Problem(name, headers=headers).response()


def _methods(request: Request) -> set[str]:
    """What the path of a request allows (RFC 9110, 10.2.1)."""
    return {
        method for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }  # fmt: skip


def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """What does not fit the models. Values are never repeated: there may be secrets in them."""
    assert isinstance(error, RequestValidationError)
    faults = [
        Fault(at="/".join(map(str, one["loc"]))[:200], detail=str(one["msg"])[:200])
        for one in error.errors()[:20]
    ]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return Problem("bad-request", "the body is not JSON").response()
    first = faults[0]
    return Problem("invalid", f"{first.at}: {first.detail}", faults=faults).response()


def on_database(_: Request, error: Exception) -> JSONResponse:
    """The database is out of reach, locked, or has no connection left."""
    assert isinstance(error, OperationalError | PoolTimeout)
    log.error("database: %s", str(error).partition("\n")[0])
    return Problem("unavailable", headers={"Retry-After": AGAIN_S}).response()


def on_anything(_: Request, error: Exception) -> JSONResponse:
    """What nobody foresaw. Starlette raises it again after the answer, so that it is logged."""
    instance = f"urn:evtill:failure:{secrets.token_hex(8)}"
    log.error("%s: %s", instance, type(error).__name__)
    return Problem("internal", instance=instance).response()


HANDLERS: dict[type[Exception], Any] = {
    Problem: on_problem, HTTPException: on_http, RequestValidationError: on_invalid,
    OperationalError: on_database, PoolTimeout: on_database, Exception: on_anything,
}  # fmt: skip
