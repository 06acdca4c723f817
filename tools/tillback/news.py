"""News: what has happened, in the transaction that made it so. Webhooks tell it to others."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from tillback.db.tables import News

KINDS = {
    "usage_record.billed": "a usage record is stored and priced",
    "authorization.changed": "an authorisation has gone from state to state",
    "refund.changed": "a refund was created, done or has failed",
}


Piece = tuple[str, dict[str, Any]]  # its kind, and what to say of it


def tell(session: Session, told: Sequence[Piece], at: str) -> None:
    """Adds news to this transaction."""
    if told:
        session.execute(insert(News), [
            {"id": uuid.uuid4().hex, "kind": kind, "body": json.dumps(said), "at": at}
            for kind, said in told
        ])  # fmt: skip
