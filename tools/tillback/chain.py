"""Whether a charger's records are one chain without a hole, whatever order they come in.

A record whose predecessor is missing waits in `chain_gaps` until that comes; ingesters side by
side take one charger's records in any order, so a hole is alarmed when it has lasted a while
(sweep()). A record that does not name its predecessor is alarmed at once."""

import datetime
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from tillback.alarms import Raised, sound
from tillback.db.database import Database, stamp
from tillback.db.tables import ChainGap, UsageRecord
from tillback.db.writing import among, insert, lock_chargers

HOLE_AFTER_S = 300
_ZEROS = "0" * 64
_NO_BEGIN = "seq 1 does not begin the chain"


class Link(NamedTuple):
    """What of a stored record its neighbours are held against."""

    charger: str
    seq: int
    sha256: str
    prev: str

    @property
    def id(self) -> str:
        """The record's id, which is its charger's and its seq."""
        return f"{self.charger}-{self.seq}"

    @property
    def before(self) -> str:
        """The id of its predecessor."""
        return f"{self.charger}-{self.seq - 1}"

    @property
    def after(self) -> str:
        """The id of its successor."""
        return f"{self.charger}-{self.seq + 1}"


def stored(session: Session, found: Iterable[Link]) -> dict[str, Link]:
    """Those of these records and of their neighbours that are stored, by id. Their chargers are
    locked (db.writing.lock_chargers)."""
    wanted = {name for one in found for name in (one.before, one.id, one.after)}
    rows = session.connection().execute(
        select(
            UsageRecord.charger, UsageRecord.seq, UsageRecord.sha256, UsageRecord.prev
        ).where(among(session, UsageRecord.id, wanted))
    )
    return {link.id: link for link in (Link(*row) for row in rows)}


def follow(
    session: Session, fresh: list[Link], known: dict[str, Link], at: str
) -> list[Raised]:
    """Keeps what the `fresh` records, now stored, say about holes; alarms for what does not fit.

    known: stored() of them, and themselves."""
    found, gaps, filled = [], [], []
    new = {one.id for one in fresh}
    for one in fresh:
        before, after = known.get(one.before), known.get(one.after)
        if one.seq == 1:
            if one.prev != _ZEROS:
                found.append(Raised(one.charger, "chain_broken", _NO_BEGIN))
        elif before is None:
            gaps.append({"charger": one.charger, "seq": one.seq, "since_at": at})
        elif one.prev != before.sha256:
            found.append(_broken(one))
        if after is not None and after.id not in new:
            filled.append({"of": one.charger, "number": one.seq + 1})
            if after.prev != one.sha256:
                found.append(_broken(after))
    insert(session, ChainGap, gaps)
    if filled:
        session.connection().execute(
            delete(ChainGap).where(
                ChainGap.charger == bindparam("of"), ChainGap.seq == bindparam("number")
            ),
            filled,
        )
    return found


def sweep(database: Database, now: datetime.datetime, after_s: float = HOLE_AFTER_S) -> int:
    """Alarms for the holes that have lasted for `after_s`; how many there are."""
    since = stamp(now - datetime.timedelta(seconds=after_s))
    late = select(ChainGap.charger, ChainGap.seq).where(
        ChainGap.alarmed_at.is_(None), ChainGap.since_at <= since
    )
    with database.read() as session:
        if not session.execute(late.limit(1)).first():
            return 0
    with database.write() as session:
        chargers = session.scalars(select(ChainGap.charger).where(ChainGap.alarmed_at.is_(None)))
        lock_chargers(session, chargers.all())
        holes = session.execute(late.order_by(ChainGap.charger, ChainGap.seq)).all()
        at = stamp(now)
        sound(session, [_hole(session, *hole) for hole in holes], at)
        for charger, seq in holes:
            session.execute(
                update(ChainGap)
                .where(ChainGap.charger == charger, ChainGap.seq == seq)
                .values(alarmed_at=at)
            )
    return len(holes)


def _hole(session: Session, charger: str, seq: int) -> Raised:
    known = session.scalar(
        select(func.max(UsageRecord.seq)).where(
            UsageRecord.charger == charger, UsageRecord.seq < seq
        )
    )
    first = (known or 0) + 1
    missing = f"{first}" if first == seq - 1 else f"{first} to {seq - 1}"
    return Raised(charger, "hole_in_seq", f"seq {missing} missing before {seq}")


def _broken(one: Link) -> Raised:
    return Raised(one.charger, "chain_broken", f"seq {one.seq} does not follow {one.seq - 1}")
