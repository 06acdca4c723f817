"""Lists in pages: a cursor says where to go on.

It is signed under the key of whoever got it, with the list and its filters: it opens nothing else,
and nobody can make one up."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query

from evtill.core import jws
from evtill.core.errors import EvtillError
from tillback.api.fields import Said
from tillback.api.keys import Caller
from tillback.api.problems import Problem

_MAC_BYTES = 16

Limit = Annotated[int, Query(ge=1, le=500, description="how many, at most")]
CursorText = Annotated[
    str, Query(pattern=r"^[A-Za-z0-9_-]{1,400}$", description="`next_cursor` of the page before")
]
Filters = dict[str, str | None]
Position = int | str
T = TypeVar("T")


class Page(Said, Generic[T]):
    """A part of a list. `next_cursor` goes on after it; at the end of a list too: what comes later
    is found from there. `has_more`: there is more already."""

    data: list[T]
    has_more: bool
    next_cursor: str | None


def make(caller: Caller, of: str, filters: Filters, after: Position) -> str:
    """The cursor to what comes after the position `after` of the list named `of`."""
    body = json.dumps([after]).encode()
    return jws.b64url_encode(_mac(caller, of, filters, body) + body).decode()


def read(caller: Caller, of: str, filters: Filters, cursor: str | None) -> Position | None:
    """The position that make() was given; None without a cursor. Raises Problem."""
    if cursor is None:
        return None
    try:
        found = jws.b64url_decode(cursor.encode())
    except (EvtillError, ValueError):
        raise Problem("cursor") from None
    mac, body = bytes(found[:_MAC_BYTES]), bytes(found[_MAC_BYTES:])
    if not hmac.compare_digest(mac, _mac(caller, of, filters, body)):
        raise Problem("cursor")
    after: Position = json.loads(body)[0]
    return after


def page(
    caller: Caller, of: str, filters: Filters, cursor: str | None, limit: int,
    found: Sequence[tuple[Position, T]],
) -> Page[T]:  # fmt: skip
    """The page of `found`: up to limit + 1 (position, item), in order."""
    shown = found[:limit]
    last = make(caller, of, filters, shown[-1][0]) if shown else cursor
    return Page(data=[one for _, one in shown], has_more=len(found) > limit, next_cursor=last)


def _mac(caller: Caller, of: str, filters: Filters, body: bytes) -> bytes:
    what = json.dumps([of, sorted(filters.items())]).encode()
    return hmac.digest(caller.secret, what + b"\0" + body, hashlib.sha256)[:_MAC_BYTES]
