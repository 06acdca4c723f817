"""What the backend keeps, in one SQL database: nothing that is stored is ever changed or deleted.

Usage records are idempotent on (charger, seq). The database itself refuses updates and deletes."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tillback.db.database import Database, StoreError, now
from tillback.db.tables import (
    Alarm,
    Boot,
    Charger,
    CommandKey,
    CommandResult,
    Event,
    KeyRotation,
    Offer,
    Refused,
    Status,
    UsageRecord,
)

STORED, DUPLICATE, CONFLICT = "stored", "duplicate", "conflict"


class Store:
    """The database behind `url` (SQLAlchemy's; `sqlite:///FILE`), made when it is not there.

    Each method is one transaction, on disk when it returns. Safe to call from several threads."""

    def __init__(self, url: str) -> None:
        """Raises StoreError."""
        self.database = Database(url)

    def close(self) -> None:
        """Closes every connection."""
        self.database.close()

    def register(
        self, charger: str, public_key_pem: str, ack_key: bytes, mqtt_user: str | None = None,
        command_key: bytes | None = None, mqtt_password_hash: str | None = None,
    ) -> None:  # fmt: skip
        """Registers a charger; a second time only with the same keys. mqtt_password_hash: for the
        embedded broker (broker.passwords); a new one replaces the old. Raises StoreError."""
        with self.database.write() as session:
            known = session.get(Charger, charger)
            if known is None:
                known = Charger(
                    id=charger, public_key_pem=public_key_pem, ack_key=ack_key,
                    mqtt_user=mqtt_user, registered_at=now(),
                )  # fmt: skip
                session.add(known)
            elif (known.public_key_pem, known.ack_key) != (public_key_pem, ack_key):
                raise StoreError(f"{charger} is registered already, with other keys")
            if mqtt_password_hash is not None:
                known.mqtt_password_hash = mqtt_password_hash
            if command_key is not None:
                session.flush()  # the charger's row comes first
                given = session.get(CommandKey, charger)
                if given is None:
                    session.add(CommandKey(charger=charger, key=command_key))
                elif given.key != command_key:
                    raise StoreError(f"{charger} is registered already, with another command key")

    def charger(self, charger: str) -> Charger | None:
        """The registration of `charger`."""
        with self.database.read() as session:
            return session.get(Charger, charger)

    def command_key(self, charger: str) -> bytes | None:
        """The key under which `charger` takes commands, where it is known."""
        with self.database.read() as session:
            found = session.get(CommandKey, charger)
            return found.key if found else None

    def nonce(self, charger: str) -> str | None:
        """The nonce of the charger's latest boot that is known: commands to it name it."""
        newest = select(Boot.nonce).where(Boot.charger == charger).order_by(Boot.row.desc())
        with self.database.read() as session:
            return session.scalars(newest.limit(1)).first()

    def chargers(self) -> list[Charger]:
        """Every registration, by id."""
        with self.database.read() as session:
            return list(session.scalars(select(Charger).order_by(Charger.id)))

    def add_rotation(self, charger: str, jws: bytes) -> None:
        """Keeps a rotation of the charger's key, once; that it is good has been checked."""
        with self.database.write() as session:
            known = select(func.count()).select_from(KeyRotation).where(KeyRotation.jws == jws)
            if not session.scalar(known):
                session.add(KeyRotation(charger=charger, jws=jws, registered_at=now()))

    def rotations(self, charger: str) -> list[bytes]:
        """The rotations of the charger's key, in the order in which they were registered."""
        return [row.jws for row in self._rows(KeyRotation, charger)]

    def add_record(
        self, charger: str, record: dict[str, Any], jws: bytes, sha256: str, payload: bytes
    ) -> str:
        """STORED; DUPLICATE when these very bytes are there; CONFLICT when this seq has others.

        Raises an alarm for a hole in seq, for a record that does not continue the chain and for a
        conflict."""
        seq = record["seq"]
        try:
            with self.database.write() as session:
                known = session.scalars(
                    select(UsageRecord).where(
                        UsageRecord.charger == charger, UsageRecord.seq == seq
                    )
                ).one_or_none()
                if known is not None:
                    if known.sha256 == sha256:
                        return DUPLICATE
                    _alarm(session, charger, "same_seq_other_content", f"seq {seq}: {sha256}")
                    return CONFLICT
                session.add(
                    UsageRecord(
                        id=record["id"], charger=charger, seq=seq, prev=record["prev"],
                        sha256=sha256, jws=jws, payload=payload, received_at=now(),
                        **looked_up(record),
                    )
                )  # fmt: skip
                session.flush()
                _check_chain(session, charger, seq)
        except IntegrityError:  # another ingester stored this seq meanwhile
            return self.add_record(charger, record, jws, sha256, payload)
        return STORED

    def add_event(self, charger: str, found: dict[str, Any], sha256: str, payload: bytes) -> str:
        """STORED, DUPLICATE or CONFLICT, as add_record, by (charger, id)."""
        try:
            with self.database.write() as session:
                known = session.scalars(
                    select(Event).where(Event.charger == charger, Event.id == found["id"])
                ).one_or_none()
                if known is not None:
                    return DUPLICATE if known.sha256 == sha256 else CONFLICT
                session.add(
                    Event(
                        id=found["id"], charger=charger, at=found["at"], name=found["name"],
                        detail=found["detail"], sha256=sha256, payload=payload, received_at=now(),
                    )
                )  # fmt: skip
        except IntegrityError:
            return self.add_event(charger, found, sha256, payload)
        return STORED

    def add_result(self, charger: str, command: str | None, status: str, detail: str) -> None:
        """Keeps a command's result."""
        with self.database.write() as session:
            session.add(
                CommandResult(
                    charger=charger, command=command, status=status, detail=detail,
                    received_at=now(),
                )
            )  # fmt: skip

    def add_offer(self, nonce: str, charger: str, expires_s: int) -> None:
        """Keeps the nonce of a QR code that goes to a charger's display."""
        with self.database.write() as session:
            session.add(
                Offer(nonce=nonce, charger=charger, expires_s=expires_s, made_at=now())
            )  # fmt: skip

    def offers(self, charger: str) -> list[Offer]:
        """What a charger's display was to offer, the first one first."""
        with self.database.read() as session:
            return list(session.scalars(
                select(Offer).where(Offer.charger == charger).order_by(Offer.expires_s)
            ))  # fmt: skip

    def add_status(self, charger: str, payload: bytes) -> bool:
        """Keeps a status unless it equals the charger's last one."""
        with self.database.write() as session:
            last = session.scalars(
                select(Status).where(Status.charger == charger).order_by(Status.row.desc()).limit(1)
            ).one_or_none()
            if last is not None and last.payload == payload:
                return False
            session.add(Status(charger=charger, payload=payload, received_at=now()))
        return True

    def add_boot(self, charger: str, boot: int, nonce: str) -> None:
        """Keeps a boot, once. An alarm when one with this number or a higher one came before it:
        the charger's flash was put back to an older state.

        A message of an earlier boot that comes late has that boot's nonce, and is no alarm."""
        try:
            with self.database.write() as session:
                mine = select(Boot).where(Boot.charger == charger)
                if session.scalars(mine.where(Boot.boot == boot, Boot.nonce == nonce)).first():
                    return
                last = session.scalar(select(func.max(Boot.boot)).where(Boot.charger == charger))
                if last is not None and boot <= last:
                    _alarm(session, charger, "boot_count_back", f"boot {boot} after boot {last}")
                session.add(Boot(charger=charger, boot=boot, nonce=nonce, seen_at=now()))
        except IntegrityError:
            return

    def refuse(self, charger: str, topic: str, body: bytes, sha256: str, reason: str) -> None:
        """Keeps what was refused, once, and raises an alarm."""
        try:
            with self.database.write() as session:
                if session.scalar(
                    select(func.count()).select_from(Refused).where(
                        Refused.charger == charger, Refused.topic == topic,
                        Refused.sha256 == sha256,
                    )
                ):  # fmt: skip
                    return
                session.add(
                    Refused(
                        charger=charger, topic=topic, sha256=sha256, reason=reason, body=body,
                        received_at=now(),
                    )
                )  # fmt: skip
                _alarm(session, charger, "refused", f"{topic} {sha256}: {reason}")
        except IntegrityError:
            return

    def alarm(self, charger: str, name: str, detail: str) -> None:
        """Raises an alarm unless it has been raised."""
        try:
            with self.database.write() as session:
                _alarm(session, charger, name, detail)
        except IntegrityError:
            return

    def records(self, charger: str | None = None) -> Iterator[UsageRecord]:
        """All records, of one charger or of all, by charger and seq."""
        query = select(UsageRecord).order_by(UsageRecord.charger, UsageRecord.seq)
        if charger is not None:
            query = query.where(UsageRecord.charger == charger)
        with self.database.read() as session:
            yield from session.scalars(query.execution_options(yield_per=200))

    def record(self, record_id: str) -> UsageRecord | None:
        """The record of that id."""
        with self.database.read() as session:
            return session.scalars(
                select(UsageRecord).where(UsageRecord.id == record_id)
            ).one_or_none()

    def events(self, charger: str | None = None) -> list[Event]:
        """Events in the order of their arrival."""
        return self._rows(Event, charger)

    def statuses(self, charger: str | None = None) -> list[Status]:
        """Statuses in the order of their arrival."""
        return self._rows(Status, charger)

    def results(self, charger: str | None = None) -> list[CommandResult]:
        """The results of commands, in the order of arrival."""
        return self._rows(CommandResult, charger)

    def alarms(self, charger: str | None = None) -> list[Alarm]:
        """Alarms in the order in which they were raised."""
        return self._rows(Alarm, charger)

    def refusals(self, charger: str | None = None) -> list[Refused]:
        """What was refused, in the order of its arrival."""
        return self._rows(Refused, charger)

    def _rows(self, table: Any, charger: str | None) -> list[Any]:
        query = select(table).order_by(table.row)
        if charger is not None:
            query = query.where(table.charger == charger)
        with self.database.read() as session:
            return list(session.scalars(query))


def looked_up(record: dict[str, Any]) -> dict[str, Any]:
    """What of a record's payload stands beside it, for queries."""
    auth = record["auth"]
    return {
        "started_at": record["start_date_time"], "ended_at": record["end_date_time"],
        "energy_wh": record["total_energy_wh"], "currency": record["currency"],
        "total_minor": record["total_cost"]["incl_minor"], "method": auth["method"],
        "token": auth["token"], "auth_ref": auth["ref"],
        "tariff_sha256": record["tariff"]["sha256"],
    }  # fmt: skip


def _check_chain(session: Session, charger: str, seq: int) -> None:
    """Alarms for what the new record `seq` shows about its neighbours, whichever came first."""
    near = {
        one.seq: one
        for one in session.scalars(
            select(UsageRecord).where(
                UsageRecord.charger == charger, UsageRecord.seq.between(seq - 1, seq + 1)
            )
        )
    }
    before = near.get(seq - 1)
    if before is None and seq > 1:
        known = session.scalar(
            select(func.max(UsageRecord.seq)).where(
                UsageRecord.charger == charger, UsageRecord.seq < seq
            )
        )
        first = (known or 0) + 1
        missing = f"{first}" if first == seq - 1 else f"{first} to {seq - 1}"
        _alarm(session, charger, "hole_in_seq", f"seq {missing} missing before {seq}")
    zeros = "0" * 64
    if seq == 1 and near[1].prev != zeros:
        _alarm(session, charger, "chain_broken", "seq 1 does not begin the chain")
    for one, other in ((before, near[seq]), (near[seq], near.get(seq + 1))):
        if one is not None and other is not None and other.prev != one.sha256:
            _alarm(session, charger, "chain_broken", f"seq {other.seq} does not follow {one.seq}")


def _alarm(session: Session, charger: str, name: str, detail: str) -> None:
    known = select(func.count()).select_from(Alarm).where(
        Alarm.charger == charger, Alarm.name == name, Alarm.detail == detail
    )  # fmt: skip
    if not session.scalar(known):
        session.add(Alarm(charger=charger, name=name, detail=detail, raised_at=now()))
