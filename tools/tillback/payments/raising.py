"""Raises the ceiling of a session on prepaid credit before it is reached, while there is credit.

The next allotment is reserved in the transaction that gives the signed raise_ceiling command. The
charger's own word alone makes it the session's ceiling, or frees it before the record is there:
it may have carried out a command that it has not answered."""

import datetime
import json
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback import orders
from tillback.db.database import Database, stamp, utc_now
from tillback.db.tables import Authorization, Order, Token
from tillback.payments import authorizations, prepaid, states
from tillback.payments.provider import PREPAID
from tillback.payments.starting import live

NEAR_PERCENT = 80  # of the ceiling: then it is raised
AGAIN_S = 30  # after a command that came to nothing, the next one
_RUNNING = ("authorised", "charging", "expired")


class Raiser:
    """Looks after the ceilings of sessions on prepaid credit. Several may work side by side."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime.datetime] = utc_now
    ) -> None:
        self._database = database
        self._clock = clock

    def run_due(self) -> int:
        """Looks at each session; for how many something was done."""
        with self._database.read() as session:
            refs = list(session.scalars(
                select(Authorization.ref)
                .where(Authorization.provider == PREPAID, Authorization.state.in_(_RUNNING),
                       Authorization.record.is_(None))
                .order_by(Authorization.created_at)
            ))  # fmt: skip
        return sum(self._look_after(ref) for ref in refs)

    def _look_after(self, ref: str) -> bool:
        at = self._clock()
        with self._database.read() as session:
            if _wanted(session, authorizations.get(session, ref), at) is None:
                return False
        with self._database.write() as session:
            auth = authorizations.get(session, ref, lock=True)
            wanted = _wanted(session, auth, at)  # now that nobody else changes it
            if wanted is not None:
                _carry_out(session, auth, wanted, at)
        return wanted is not None


class _Wanted(NamedTuple):
    """What is to become of an authorisation: what its charger is known to let it cost, what that
    may be, as what is reserved, and what the charger is to be told, or 0."""

    ceiling_minor: int
    hold_minor: int
    raise_to_minor: int
    begins: bool


def _wanted(session: Session, auth: Authorization, at: datetime.datetime) -> _Wanted | None:
    """None: nothing is to be done."""
    if auth.state not in _RUNNING or auth.record is not None or auth.charger is None:
        return None
    raises = [(one, int(json.loads(one.args)["ceiling_minor"]))
              for one in orders.of(session, auth.ref, "raise_ceiling")]  # fmt: skip
    known = max([auth.ceiling_minor or 0,
                 *(minor for one, minor in raises if one.state == orders.ACCEPTED)])  # fmt: skip
    refused = (orders.REJECTED, orders.NOT_SENT)
    perhaps = max([known, *(minor for one, minor in raises if one.state not in refused)])
    said = live(session, auth.charger, auth.ref, at)
    cost = said.get("cost_minor") if said is not None else None
    begins = said is not None and auth.state == "authorised"
    raise_to = 0
    if isinstance(cost, int) and 100 * cost >= NEAR_PERCENT * known:
        newest = raises[0][0] if raises else None
        if newest is None or newest.state == orders.ACCEPTED or _is_past(newest, at):
            raise_to = _next_minor(session, auth, newest, known, perhaps)
    wanted = _Wanted(known, max(perhaps, raise_to), raise_to, begins)
    if wanted == (auth.ceiling_minor, auth.hold_minor, 0, False):
        return None
    return wanted


def _is_past(newest: Order, at: datetime.datetime) -> bool:
    """Whether a command came to nothing, and that is a while ago."""
    before = stamp(at - datetime.timedelta(seconds=AGAIN_S))
    return newest.state in orders.OVER and newest.made_at <= before


def _next_minor(
    session: Session, auth: Authorization, newest: Order | None, known: int, perhaps: int
) -> int:  # fmt: skip
    """The ceiling that the charger is to be told: again the one that it has not answered, or with
    another allotment; 0: none is to be had, or the charger is away."""
    if auth.charger is None or not orders.is_reachable(session, auth.charger):
        return 0
    if perhaps > known and newest is not None and newest.state != orders.REJECTED:
        return perhaps
    token = session.get(Token, auth.token) if auth.token is not None else None
    most = token.ceiling_minor if token is not None else None
    unused = auth.hold_minor - perhaps  # reserved for what is refused now
    more = min(
        prepaid.ALLOTMENT_MINOR,
        unused + prepaid.free_minor(session, auth.account or "", auth.currency),
        authorizations.MINOR_MAX - perhaps,
        authorizations.MINOR_MAX if most is None else most - perhaps,
    )
    return perhaps + more if more > 0 else 0


def _carry_out(
    session: Session, auth: Authorization, wanted: _Wanted, at: datetime.datetime
) -> None:  # fmt: skip
    auth.ceiling_minor, auth.hold_minor = wanted.ceiling_minor, wanted.hold_minor
    if wanted.begins:
        step = states.move(auth, "charging", "the charger tells of its session", stamp(at))
        states.write(session, [step])
    if wanted.raise_to_minor and auth.charger is not None:
        args = {"ref": auth.ref, "ceiling_minor": wanted.raise_to_minor}
        orders.give(session, auth.charger, "raise_ceiling", args, now=at, auth_ref=auth.ref)
