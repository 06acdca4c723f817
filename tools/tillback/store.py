"""What the backend keeps, in one SQL database: nothing that is stored is ever changed or deleted.

Usage records are idempotent on (charger, seq). The database itself refuses updates and deletes."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

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
