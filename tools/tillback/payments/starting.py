"""From an authorisation to a session: the start command, and what becomes of it.

Money that is held is given back only on the charger's own word: it refused the command, never got
it, or says, asked, that no session came of it. No time that has passed is such a word."""

import datetime
import json
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tillback import orders
from tillback.db.database import Database, stamp, utc_now
from tillback.db.tables import Authorization, LiveMeter, Order, UsageRecord
from tillback.payments import authorizations
from tillback.payments.provider import PREPAID
from tillback.payments.states import PaymentError

ASK_S = 45  # after that, and then each time as long, a charger that tells nothing is asked
LIVE_S = 60  # a live reading is news for so long
START_WITHIN_S = 30  # a driver who stands there is not started later
_NONE = re.compile(r"none before (\d{1,10})")


def start(session: Session, ref: str, at: datetime.datetime) -> None:
    """Has the charger begin a session on an authorisation; a second time is no error. Raises
    PaymentError for one that cannot: its charger is away, say."""
    auth = authorizations.get(session, ref, lock=True)
    if orders.of(session, ref, "start"):
        return
    if auth.charger is None:
        raise PaymentError(f"authorisation {ref} is for no charger")
    if not orders.is_reachable(session, auth.charger):
        raise PaymentError(f"{auth.charger} is offline")
    authorizations.begin(session, ref, at)
    args: dict[str, Any] = {"ref": ref, "method": auth.method}
    if auth.token is not None:
        args["token"] = auth.token
    if auth.ceiling_minor is not None:
        args["ceiling_minor"] = auth.ceiling_minor
    orders.give(session, auth.charger, "start", args, now=at, within_s=START_WITHIN_S,
                auth_ref=ref)  # fmt: skip


def stop(session: Session, ref: str, at: datetime.datetime) -> None:
    """Has the charger end the session of an authorisation; one that has its record is no error.
    Raises PaymentError."""
    auth = authorizations.get(session, ref, lock=True)
    if auth.record is not None:
        return
    if auth.charger is None or not orders.of(session, ref, "start"):
        raise PaymentError(f"no session was begun on authorisation {ref}")
    under_way = [one for one in orders.of(session, ref, "stop") if one.state not in orders.OVER]
    if not under_way:
        orders.give(session, auth.charger, "stop", {"ref": ref}, now=at, auth_ref=ref)


class Starter:
    """Follows what was started until its record is there, or the charger says that none will be."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime.datetime] = utc_now
    ) -> None:
        self._database = database
        self._clock = clock

    def run_due(self) -> int:
        """Looks after each start that is undecided, and each authorisation that a charger has asked
        for and that holds something; for how many something was done."""
        started = select(Order.auth_ref).where(Order.name == "start")
        with self._database.read() as session:
            refs = list(session.scalars(
                select(Authorization.ref)
                .where(Authorization.record.is_(None),
                       Authorization.ref.in_(started) & Authorization.state.in_(_STARTED)
                       | (Authorization.provider == PREPAID) & Authorization.state.in_(_ASKED_FOR))
                .order_by(Authorization.created_at)
            ))  # fmt: skip
        return sum(self._follow(ref) for ref in refs)

    def _follow(self, ref: str) -> bool:
        at = self._clock()
        with self._database.read() as session:
            what = _what_to_do(session, ref, at)
        if what is None:
            return False
        with self._database.write() as session:
            auth = authorizations.get(session, ref, lock=True)
            what = _what_to_do(session, ref, at)  # now that nobody else changes it
            if what is None or auth.charger is None:
                return False
            if what == _ASK:
                orders.give(session, auth.charger, "diagnostics", {"ref": ref}, now=at,
                            auth_ref=ref)  # fmt: skip
            else:
                authorizations.not_started(session, ref, what, at)
        return True


_ASK = "?"
_STARTED = ("charging", "expired")
_ASKED_FOR = ("authorised", *_STARTED)  # at a charger that may begin a session at any time


def _what_to_do(session: Session, ref: str, at: datetime.datetime) -> str | None:
    """_ASK the charger; or why no session began, in words; or None: wait."""
    auth = authorizations.get(session, ref)
    started = orders.of(session, ref, "start")
    states_ = _STARTED if started else _ASKED_FOR
    if auth.state not in states_ or auth.charger is None or _has_record(session, auth):
        return None
    for one in started[:1]:
        if one.state in (orders.REJECTED, orders.NOT_SENT):
            return one.detail or "refused"
        if one.state not in orders.OVER:
            return None
    asked = orders.of(session, ref, "diagnostics")
    for one in asked[:1]:
        if one.state not in orders.OVER:
            return None
        found = _NONE.fullmatch(one.detail) if one.state == orders.ACCEPTED else None
        if found and _has_all_before(session, auth.charger, int(found[1])):
            return "no session came of it"
    since = max([one.made_at for one in (*started, *asked)], default=auth.created_at)
    quiet = stamp(at - datetime.timedelta(seconds=ASK_S))
    unsure = started and started[0].state == orders.UNANSWERED and not asked
    if (since > quiet and not unsure) or is_live(session, auth.charger, ref, at):
        return None
    return _ASK if orders.is_reachable(session, auth.charger) else None


def _has_record(session: Session, auth: Authorization) -> bool:
    """Whether a record names it: settled by that, or to be, once its tariff is known."""
    named = select(UsageRecord.id).where(UsageRecord.auth_ref == auth.ref).limit(1)
    return auth.record is not None or session.scalar(named) is not None


def is_live(session: Session, charger: str, ref: str, at: datetime.datetime) -> bool:
    """Whether the charger has just told of a session on that authorisation."""
    return live(session, charger, ref, at) is not None


def live(
    session: Session, charger: str, ref: str, at: datetime.datetime
) -> dict[str, Any] | None:  # fmt: skip
    """What the charger has just told of a session on that authorisation, or None."""
    meter = session.get(LiveMeter, charger)
    if meter is None or meter.received_at < stamp(at - datetime.timedelta(seconds=LIVE_S)):
        return None
    said: dict[str, Any] = json.loads(meter.payload)
    return said if said.get("ref") == ref else None


def _has_all_before(session: Session, charger: str, seq: int) -> bool:
    """Whether every record of a charger below `seq` is stored: then none is under way."""
    count = session.scalar(
        select(func.count()).select_from(UsageRecord)
        .where(UsageRecord.charger == charger, UsageRecord.seq < seq)
    )  # fmt: skip
    return count == seq - 1
