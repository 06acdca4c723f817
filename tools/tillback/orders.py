"""Commands on their way to chargers, durable: given in the transaction that wants them, sent by
whoever is connected to the broker, answered by the charger.

| state | meaning |
| --- | --- |
| waiting | nobody has sent it; given up, as `not_sent`, at `due_at` |
| sent | it may have arrived; without an answer by `due_at` it is `unanswered` |
| accepted, rejected | the charger's own word: its result is proven by the command key |
| not_sent | the charger was never reached: it will not be carried out |
| unanswered | nobody knows: the charger has to be asked what has become of it |

It is `sent` before it is, so that a process that dies in between sends nothing twice."""

import datetime
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tillback import commands
from tillback.db.database import Database, stamp
from tillback.db.tables import Boot, CommandKey, Order, Status

WAITING, SENT, ACCEPTED, REJECTED = "waiting", "sent", "accepted", "rejected"
NOT_SENT, UNANSWERED = "not_sent", "unanswered"
OVER = (ACCEPTED, REJECTED, NOT_SENT, UNANSWERED)
_GRACE_S = 30  # for an answer, after the command has expired
_BATCH = 50


@dataclass(frozen=True)
class Message:
    """What to publish, QoS 1."""

    topic: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A charger's result of a command. proven: by its mac."""

    charger: str
    order: str
    accepted: bool
    detail: str
    proven: bool


def give(
    session: Session, charger: str, name: str, args: dict[str, Any], *, now: datetime.datetime,
    within_s: int = 30, auth_ref: str | None = None,
) -> str:  # fmt: skip
    """Has a command sent within `within_s`, or not at all; its id."""
    order = secrets.token_hex(8)
    session.add(Order(
        id=order, charger=charger, name=name, args=json.dumps(args), auth_ref=auth_ref,
        state=WAITING, detail="", made_at=stamp(now),
        due_at=stamp(now + datetime.timedelta(seconds=within_s)),
    ))  # fmt: skip
    return order


def take(database: Database, now: datetime.datetime) -> list[Message]:
    """What is to be published now, which counts as sent from here on. Gives up what is overdue."""
    life = datetime.timedelta(seconds=commands.LIFE_S + _GRACE_S)
    with database.read() as session:  # most often there is nothing
        due = (Order.state == WAITING) | (Order.due_at <= stamp(now))
        if session.scalar(select(Order.id).where(due).limit(1)) is None:
            return []
    with database.write() as session:
        _give_up(session, now)
        rows = list(session.scalars(
            select(Order).where(Order.state == WAITING).order_by(Order.made_at).limit(_BATCH)
            .with_for_update(skip_locked=True)
        ))  # fmt: skip
        chargers = {row.charger for row in rows}
        nonces, keys = _nonces(session, chargers), _keys(session, chargers)
        found = []
        for row in rows:
            nonce, key = nonces.get(row.charger), keys.get(row.charger)
            if nonce is None or key is None:
                continue  # offline, or not to be commanded: it waits
            _, body = commands.sign(
                row.charger, key, nonce, row.name, json.loads(row.args),
                now_s=int(now.timestamp()), command_id=row.id,
            )  # fmt: skip
            row.state, row.due_at = SENT, stamp(now + life)
            found.append(Message(f"evtill/v1/{row.charger}/cmd", body))
    return found


def answered(session: Session, answers: Iterable[Answer]) -> None:
    """Takes the chargers' results; those that are not proven, or not asked for, change nothing."""
    for one in answers:
        if one.proven:
            session.execute(
                update(Order)
                .where(Order.id == one.order, Order.charger == one.charger,
                       Order.state.in_((SENT, UNANSWERED)))
                .values(state=ACCEPTED if one.accepted else REJECTED, detail=one.detail,
                        due_at=None)
            )  # fmt: skip


def of(session: Session, auth_ref: str, name: str) -> list[Order]:
    """An authorisation's commands of a name, the newest first."""
    return list(session.scalars(
        select(Order).where(Order.auth_ref == auth_ref, Order.name == name)
        .order_by(Order.made_at.desc())
    ))  # fmt: skip


def is_reachable(session: Session, charger: str) -> bool:
    """Whether the charger is there to take a command now, as far as is known."""
    return charger in _nonces(session, {charger}) and charger in _keys(session, {charger})


def _give_up(session: Session, now: datetime.datetime) -> None:
    for old, new, why in (
        (WAITING, NOT_SENT, "the charger was not reached"),
        (SENT, UNANSWERED, "the charger did not answer"),
    ):
        session.execute(
            update(Order).where(Order.state == old, Order.due_at <= stamp(now))
            .values(state=new, detail=why, due_at=None)
        )  # fmt: skip


def _nonces(session: Session, chargers: set[str]) -> dict[str, str]:
    """The nonce of each charger that is online: of its newest boot."""
    found = {}
    for charger in chargers:
        status = session.scalars(
            select(Status.payload).where(Status.charger == charger).order_by(Status.row.desc())
            .limit(1)
        ).first()  # fmt: skip
        if status is None or json.loads(status).get("state") == "offline":
            continue
        nonce = session.scalars(
            select(Boot.nonce).where(Boot.charger == charger).order_by(Boot.row.desc()).limit(1)
        ).first()
        if nonce is not None:
            found[charger] = nonce
    return found


def _keys(session: Session, chargers: set[str]) -> dict[str, bytes]:
    rows = session.execute(
        select(CommandKey.charger, CommandKey.key).where(CommandKey.charger.in_(chargers))
    )
    return {charger: key for charger, key in rows}
