"""News: what has happened, in the transaction that made it so. Webhooks tell it to others."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback.db.tables import Delivery, News, WebhookEndpoint
from tillback.db.writing import insert

KINDS = {
    "usage_record.billed": "a usage record is stored and priced",
    "authorization.changed": "an authorisation has gone from state to state",
    "refund.changed": "a refund was created, done or has failed",
}


Piece = tuple[str, dict[str, Any]]  # its kind, and what to say of it


def tell(session: Session, told: Sequence[Piece], at: str) -> None:
    """Adds news to this transaction, and puts them on their way to every endpoint that wants
    them."""
    if not told:
        return
    rows = [
        {"id": uuid.uuid4().hex, "kind": kind, "body": json.dumps(said), "at": at}
        for kind, said in told
    ]
    insert(session, News, rows)
    endpoints = select(WebhookEndpoint.id, WebhookEndpoint.kinds)
    wanting = session.execute(endpoints.where(WebhookEndpoint.removed_at.is_(None)))
    sent = [
        {"news": row["id"], "endpoint": endpoint, "attempt": 0, "due_at": at, "tried_at": None,
         "delivered_at": None, "error": ""}
        for endpoint, kinds in wanting.all() for row in rows
        if kinds == "*" or row["kind"] in kinds.split()
    ]  # fmt: skip
    insert(session, Delivery, sent)
