"""Stores a batch of checked messages: all of it in one transaction, or nothing.

Usage records are idempotent on (charger, seq), events on (charger, id)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evtill.core.tariff import Tariff
from tillback import bills, chain, orders, quarantine
from tillback.alarms import Raised, sound
from tillback.db import tables
from tillback.db.writing import among, insert, insert_new, lock_chargers, lock_tariffs, upsert
from tillback.messages import (
    Event,
    Live,
    Oddity,
    Record,
    Refusal,
    Result,
    Status,
    Taken,
)
from tillback.repricing import Judgement
from tillback.store import looked_up
from tillback.tariffs import Tariffs

STORED, DUPLICATE, CONFLICT = "stored", "duplicate", "conflict"

TARIFF_UNKNOWN = "tariff_unknown"


def store(
    session: Session, taken: Sequence[Taken], judged: dict[str, Judgement], tariffs: Tariffs,
    at: str,
) -> list[str]:  # fmt: skip
    """What became of each message: STORED; DUPLICATE when it is there; CONFLICT when something
    else is there in its name, which is a refusal then.

    judged: what is billed, by the record's hash, for those whose tariff was known before."""
    lock_chargers(session, {one.charger for one in taken})
    of: dict[type, list[Any]] = {}
    for one in taken:
        of.setdefault(type(one), []).append(one)
    records, events = of.get(Record, []), of.get(Event, [])
    outcomes: dict[int, str] = {}
    conflicts = _add_records(session, records, outcomes, judged, tariffs, at)
    conflicts += _add_events(session, events, outcomes, at)
    refused = [*of.get(Refusal, []), *conflicts]
    quarantine.keep(session, refused, at)
    _add_statuses(session, of.get(Status, []), outcomes, at)
    insert(session, tables.CommandResult, [
        {"charger": one.charger, "command": one.command, "status": one.status,
         "detail": one.detail, "received_at": at, "proven": int(one.proven)}
        for one in of.get(Result, [])
    ])  # fmt: skip
    orders.answered(session, [
        orders.Answer(one.charger, one.command, one.status == "accepted", one.detail, one.proven)
        for one in of.get(Result, []) if one.command is not None
    ])  # fmt: skip
    latest = {one.charger: one for one in of.get(Live, [])}
    upsert(session, tables.LiveMeter, "charger", [
        {"charger": one.charger, "payload": one.body, "received_at": at} for one in latest.values()
    ])  # fmt: skip
    sound(session, [
        Raised(one.charger, one.name, f"{at[:10]} {one.detail}".strip())
        for one in of.get(Oddity, [])
    ], at)  # fmt: skip
    return [outcomes.get(id(one), STORED) for one in taken]


def conflict(one: Record | Event) -> Refusal:
    """What becomes of a message in whose name another one is stored."""
    if isinstance(one, Record):
        kind, body = "usage", one.jws
        reason = f"seq {one.said['seq']} is stored with other content"
    else:
        kind, body, reason = "event", one.body, "this event id is stored with other content"
    topic = f"evtill/v1/{one.charger}/{kind}"
    return Refusal(one.charger, topic, one.sha256, body, one.said["id"], reason)


def _add_records(
    session: Session, found: list[Record], outcomes: dict[int, str],
    judged: dict[str, Judgement], tariffs: Tariffs, at: str,
) -> list[Refusal]:  # fmt: skip
    links = [chain.Link(r.charger, r.said["seq"], r.sha256, r.said["prev"]) for r in found]
    known = chain.stored(session, links)
    fresh: list[Record] = []
    new: list[chain.Link] = []
    conflicts = []
    for one, link in zip(found, links, strict=True):
        there = known.setdefault(link.id, link)
        if there is link:
            fresh.append(one)
            new.append(link)
            outcomes[id(one)] = STORED
        elif there.sha256 == one.sha256:
            outcomes[id(one)] = DUPLICATE
        else:
            outcomes[id(one)] = CONFLICT
            conflicts.append(one)
    insert(session, tables.UsageRecord, [_row(one, at) for one in fresh])
    raised = chain.follow(session, new, known, at)
    raised += _bill(session, fresh, judged, tariffs, at)
    raised += [
        Raised(one.charger, "same_seq_other_content", f"seq {one.said['seq']}: {one.sha256}")
        for one in conflicts
    ]
    sound(session, raised, at)
    return list(map(conflict, conflicts))


def _row(one: Record, at: str) -> dict[str, Any]:
    said = one.said
    return {
        "id": said["id"], "charger": one.charger, "seq": said["seq"], "prev": said["prev"],
        "sha256": one.sha256, "jws": one.jws, "payload": one.payload, "received_at": at,
        **looked_up(said),
    }  # fmt: skip


def _bill(
    session: Session, fresh: list[Record], judged: dict[str, Judgement], tariffs: Tariffs, at: str
) -> list[Raised]:
    bills.write(
        session, [(one.said, judged[one.sha256]) for one in fresh if one.sha256 in judged], at
    )
    left = [one for one in fresh if one.sha256 not in judged]
    if not left:
        return []
    lock_tariffs(session, shared=True)  # whoever adds one bills what waits for it, and sees these
    tariffs.load(session, {one.said["tariff"]["sha256"] for one in left})
    priced: list[tuple[dict[str, Any], dict[str, Any], Tariff]] = []
    raised = []
    for one in left:
        named = one.said["tariff"]
        tariff = tariffs.get(named["sha256"])
        if tariff is not None:
            priced.append((one.said, one.meant, tariff))
        else:
            raised.append(
                Raised(one.charger, TARIFF_UNKNOWN, f"{named['id']}, sha256 {named['sha256']}")
            )
    bills.add(session, priced, at)
    return raised


def _add_events(
    session: Session, found: list[Event], outcomes: dict[int, str], at: str
) -> list[Refusal]:
    known: dict[tuple[str, str], str] = {}
    if found:
        rows = session.execute(
            select(tables.Event.charger, tables.Event.id, tables.Event.sha256).where(
                among(session, tables.Event.id, {one.said["id"] for one in found}),
                among(session, tables.Event.charger, {one.charger for one in found}),
            )
        )
        known = {(charger, name): sha256 for charger, name, sha256 in rows}
    fresh, conflicts = [], []
    for one in found:
        name = one.charger, one.said["id"]
        if name not in known:
            known[name] = one.sha256
            fresh.append(one)
        elif known[name] == one.sha256:
            outcomes[id(one)] = DUPLICATE
        else:
            outcomes[id(one)] = CONFLICT
            conflicts.append(conflict(one))
    insert(session, tables.Event, [
        {
            "id": one.said["id"], "charger": one.charger, "at": one.said["at"],
            "name": one.said["name"], "detail": one.said["detail"], "sha256": one.sha256,
            "payload": one.body, "received_at": at,
        }
        for one in fresh
    ])  # fmt: skip
    return conflicts


def _add_statuses(
    session: Session, found: list[Status], outcomes: dict[int, str], at: str
) -> None:
    """Those that differ from their charger's last one."""
    if not found:
        return
    newest = (
        select(func.max(tables.Status.row))
        .where(tables.Status.charger.in_({one.charger for one in found}))
        .group_by(tables.Status.charger)
    )
    last = {
        charger: payload
        for charger, payload in session.execute(
            select(tables.Status.charger, tables.Status.payload)
            .where(tables.Status.row.in_(newest))
        )
    }  # fmt: skip
    fresh = []
    for one in found:
        if last.get(one.charger) == one.body:
            outcomes[id(one)] = DUPLICATE
        else:
            last[one.charger] = one.body
            fresh.append({"charger": one.charger, "payload": one.body, "received_at": at})
    insert(session, tables.Status, fresh)
    _add_boots(session, [(one.charger, *one.boot) for one in found if one.boot], at)


def _add_boots(session: Session, found: list[tuple[str, int, str]], at: str) -> None:
    """Boots, once each. An alarm where one with this number or a higher one came before it: the
    charger's flash was put back to an older state.

    A message of an earlier boot that comes late has that boot's nonce, and is no alarm."""
    boots = tables.Boot
    chargers = {charger for charger, _, _ in found}
    known = {
        (charger, boot, nonce)
        for charger, boot, nonce in session.execute(
            select(boots.charger, boots.boot, boots.nonce).where(
                boots.charger.in_(chargers), boots.nonce.in_({nonce for _, _, nonce in found})
            )
        )
    }
    last: dict[str, int] = {
        charger: most
        for charger, most in session.execute(
            select(boots.charger, func.max(boots.boot))
            .where(boots.charger.in_(chargers))
            .group_by(boots.charger)
        )
    }
    fresh, raised = [], []
    for charger, boot, nonce in dict.fromkeys(found):
        if (charger, boot, nonce) in known:
            continue
        before = last.get(charger)
        if before is not None and boot <= before:
            raised.append(
                Raised(charger, "boot_count_back", f"boot {boot} after boot {before}")
            )
        last[charger] = max(boot, before or 0)
        fresh.append({"charger": charger, "boot": boot, "nonce": nonce, "seen_at": at})
    insert_new(session, boots, fresh)
    sound(session, raised, at)
