"""Every table of the backend.

Times are text: UTC with milliseconds, `2026-03-02T08:31:47.000Z`, which sorts as it reads. Amounts
are whole minor units of `currency`. What stands in APPEND_ONLY the database itself never changes
and never deletes; the rest says how things stand now."""

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BigInteger, Integer

# A primary key that counts by itself, in SQLite too, and does not end at 2^31 elsewhere.
Count = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger()}


# ---- chargers ----


class Charger(Base):
    """A registered charger and the keys that speak for it."""

    __tablename__ = "chargers"
    id: Mapped[str] = mapped_column(primary_key=True)
    public_key_pem: Mapped[str]
    ack_key: Mapped[bytes] = mapped_column(LargeBinary)
    mqtt_user: Mapped[str | None]
    registered_at: Mapped[str]
    mqtt_password_hash: Mapped[str | None]  # for the embedded broker


class CommandKey(Base):
    """The key under which a charger takes commands."""

    __tablename__ = "command_keys"
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)


class KeyRotation(Base):
    """A charger's record key that named its successor (core.key_rotation), as it was signed."""

    __tablename__ = "key_rotations"
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), index=True)
    jws: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    registered_at: Mapped[str]


class Location(Base):
    """Where a charger stands: an OCPI 2.2.1 Location as JSON, with one EVSE and connector."""

    __tablename__ = "locations"
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), primary_key=True)
    ocpi: Mapped[str]


class Tariff(Base):
    """A compact tariff table, found by its hash; `source` is the OCPI tariff that it came from."""

    __tablename__ = "tariffs"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str]
    currency: Mapped[str]
    table: Mapped[bytes] = mapped_column(LargeBinary)
    source: Mapped[str | None]
    added_at: Mapped[str]


class Token(Base):
    """A card or an app's account, by the keyed hash (16 hex) that stands in records."""

    __tablename__ = "tokens"
    token: Mapped[str] = mapped_column(primary_key=True)
    uid: Mapped[str | None]
    account: Mapped[str | None]  # who pays its bills
    group: Mapped[str | None]
    flags: Mapped[str]  # as in tillctl.token_list, divided by spaces
    expires_at: Mapped[str | None]
    ceiling_minor: Mapped[int | None]
    ocpi: Mapped[str | None]
    added_at: Mapped[str]


# ---- what chargers say ----


class UsageRecord(Base):
    """A usage record as it was published: `jws` are the charger's own bytes. What follows them is
    taken from the payload, for queries."""

    __tablename__ = "usage_records"
    __table_args__ = (UniqueConstraint("charger", "seq"),)
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"))
    seq: Mapped[int]
    prev: Mapped[str]
    sha256: Mapped[str]
    jws: Mapped[bytes] = mapped_column(LargeBinary)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[str]
    started_at: Mapped[str]
    ended_at: Mapped[str]
    energy_wh: Mapped[int]
    currency: Mapped[str]
    total_minor: Mapped[int]  # as the charger says, VAT included
    method: Mapped[str]
    token: Mapped[str | None]
    auth_ref: Mapped[str | None] = mapped_column(index=True)
    tariff_sha256: Mapped[str]


class Bill(Base):
    """What a stored record costs: `billed_minor` is the lower of what the charger has signed and
    what the tariff says (`recomputed_minor`). `finding`: why it differs, in words, or "". A record
    whose tariff is not known has none until it is."""

    __tablename__ = "bills"
    record: Mapped[str] = mapped_column(ForeignKey("usage_records.id"), primary_key=True)
    currency: Mapped[str]
    total_minor: Mapped[int]
    recomputed_minor: Mapped[int | None]
    billed_minor: Mapped[int]
    finding: Mapped[str]
    billed_at: Mapped[str]


class ChainGap(Base):
    """A record that came while the one before it was missing; gone when that comes."""

    __tablename__ = "chain_gaps"
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    since_at: Mapped[str] = mapped_column(index=True)
    alarmed_at: Mapped[str | None]


class Event(Base):
    """An event as it was published."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("charger", "id"),)
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    id: Mapped[str]
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"))
    at: Mapped[str | None]
    name: Mapped[str]
    detail: Mapped[str]
    sha256: Mapped[str]
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[str]


class Status(Base):
    """A status that differs from the one before it."""

    __tablename__ = "statuses"
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), index=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[str]


class Boot(Base):
    """A boot of a charger; `nonce` is the one that it drew at random."""

    __tablename__ = "boots"
    __table_args__ = (UniqueConstraint("charger", "boot", "nonce"),)
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"))
    boot: Mapped[int]
    nonce: Mapped[str]
    seen_at: Mapped[str]


class LiveMeter(Base):
    """What a charger's `meter` topic said last."""

    __tablename__ = "live_meters"
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), primary_key=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[str]


class Refused(Base):
    """The quarantine: what was not stored as a record or event, as it came, with the reason."""

    __tablename__ = "refused"
    __table_args__ = (UniqueConstraint("charger", "topic", "sha256"),)
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    charger: Mapped[str]
    topic: Mapped[str]
    sha256: Mapped[str]
    reason: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[str]


class Alarm(Base):
    """Something that a person has to look at; each is raised once."""

    __tablename__ = "alarms"
    __table_args__ = (UniqueConstraint("charger", "name", "detail"),)
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    charger: Mapped[str]
    name: Mapped[str]
    detail: Mapped[str]
    raised_at: Mapped[str]


class CommandResult(Base):
    """What a charger answered to a command; `command` is None where it could not read its id."""

    __tablename__ = "command_results"
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"))
    command: Mapped[str | None]
    status: Mapped[str]
    detail: Mapped[str]
    received_at: Mapped[str]
    proven: Mapped[int | None]  # 1: by its `mac` it is the charger's own word


class Order(Base):
    """A command on its way to a charger (states: tillback.orders); `id` is the command's own."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"))
    name: Mapped[str]
    args: Mapped[str]  # JSON
    auth_ref: Mapped[str | None] = mapped_column(index=True)
    state: Mapped[str]
    detail: Mapped[str]
    due_at: Mapped[str | None] = mapped_column(index=True)  # when nobody waits for it any more
    made_at: Mapped[str]


class Offer(Base):
    """A payment attempt that a charger's display offers: the nonce in its QR code."""

    __tablename__ = "offers"
    nonce: Mapped[str] = mapped_column(primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"))
    expires_s: Mapped[int]
    made_at: Mapped[str]


# ---- money ----


class Authorization(Base):
    """What opens a session, and how its money stands (states: payments.states).

    `hold_minor` is what `provider` keeps reserved under `provider_ref`, on what it knows as
    `source`, until `hold_until_at`. `capturing_minor` is what is to be taken of it, fixed before
    the provider is asked. A state that has something to be done has `due_at`, when to try; `tries`
    counts how often that was; `attempt` is part of the key under which the provider does it once,
    and grows when it has definitely failed."""

    __tablename__ = "authorizations"
    __table_args__ = (Index("ix_authorizations_due", "due_at"),)
    ref: Mapped[str] = mapped_column(primary_key=True)
    charger: Mapped[str | None] = mapped_column(ForeignKey("chargers.id"))
    method: Mapped[str]
    token: Mapped[str | None]
    account: Mapped[str | None]
    currency: Mapped[str]
    ceiling_minor: Mapped[int | None]
    state: Mapped[str]
    provider: Mapped[str]
    provider_ref: Mapped[str | None] = mapped_column(index=True)
    source: Mapped[str | None]
    hold_minor: Mapped[int]
    hold_until_at: Mapped[str | None]
    capturing_minor: Mapped[int | None]
    captured_minor: Mapped[int]
    fee_minor: Mapped[int]
    refunded_minor: Mapped[int]
    record: Mapped[str | None] = mapped_column(ForeignKey("usage_records.id"))
    attempt: Mapped[int]
    tries: Mapped[int]
    due_at: Mapped[str | None]
    reason: Mapped[str]
    created_at: Mapped[str]
    expires_at: Mapped[str]


class PayAttempt(Base):
    """A driver's page, under an `id` that nobody guesses: who knows it may look and stop. `nonce`:
    of the QR code that led there, which opens one only; `tariff_sha256`: whose prices it showed."""

    __tablename__ = "pay_attempts"
    id: Mapped[str] = mapped_column(primary_key=True)
    charger: Mapped[str] = mapped_column(ForeignKey("chargers.id"), index=True)
    nonce: Mapped[str | None] = mapped_column(ForeignKey("offers.nonce"), unique=True)
    auth_ref: Mapped[str] = mapped_column(ForeignKey("authorizations.ref"), unique=True)
    tariff_sha256: Mapped[str]
    made_at: Mapped[str]


class AuthorizationChange(Base):
    """One step of an authorisation from state to state, and why."""

    __tablename__ = "authorization_changes"
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    ref: Mapped[str] = mapped_column(ForeignKey("authorizations.ref"), index=True)
    old: Mapped[str | None]
    new: Mapped[str]
    reason: Mapped[str]
    at: Mapped[str]


class Refund(Base):
    """Money that goes back to whoever paid; `id` names it at the provider too. `attempt`, `tries`
    and `due_at` are as an authorisation's."""

    __tablename__ = "refunds"
    id: Mapped[str] = mapped_column(primary_key=True)
    ref: Mapped[str] = mapped_column(ForeignKey("authorizations.ref"), index=True)
    currency: Mapped[str]
    amount_minor: Mapped[int]
    reason: Mapped[str]
    state: Mapped[str]  # pending, done, failed
    provider_ref: Mapped[str | None]
    attempt: Mapped[int]
    tries: Mapped[int]
    due_at: Mapped[str | None] = mapped_column(index=True)
    created_at: Mapped[str]


class Entry(Base):
    """One booking. `id` says what it is of and makes it idempotent: `bill:<record>`."""

    __tablename__ = "ledger_entries"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    currency: Mapped[str]
    record: Mapped[str | None] = mapped_column(ForeignKey("usage_records.id"), index=True)
    auth_ref: Mapped[str | None] = mapped_column(index=True)
    booked_at: Mapped[str]


class Posting(Base):
    """An entry's amount on an account: debits are positive, and an entry's postings sum to 0."""

    __tablename__ = "ledger_postings"
    entry: Mapped[str] = mapped_column(ForeignKey("ledger_entries.id"), primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True, index=True)
    amount_minor: Mapped[int]


# ---- the payment API ----


class ApiKey(Base):
    """Who may use the API, and for what; of the secret only its hash is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret_sha256: Mapped[str]
    scopes: Mapped[str]  # divided by spaces
    charger: Mapped[str | None] = mapped_column(ForeignKey("chargers.id"))  # whose alone it is
    created_at: Mapped[str]
    revoked_at: Mapped[str | None]


class IdempotentAnswer(Base):
    """What was answered to a request with an Idempotency-Key; `status` is None while it is under
    way."""

    __tablename__ = "idempotent_answers"
    api_key: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[str] = mapped_column(index=True)


class WebhookEndpoint(Base):
    """Where news go; `kinds` are divided by spaces, "*" is all of them."""

    __tablename__ = "webhook_endpoints"
    id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    secret: Mapped[str]
    kinds: Mapped[str]
    created_at: Mapped[str]
    removed_at: Mapped[str | None]


class News(Base):
    """Something that happened, for webhooks to tell: written in the transaction that made it so."""

    __tablename__ = "news"
    row: Mapped[int] = mapped_column(Count, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    body: Mapped[str]
    at: Mapped[str]


class Delivery(Base):
    """One piece of news on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"
    news: Mapped[str] = mapped_column(ForeignKey("news.id"), primary_key=True)
    endpoint: Mapped[str] = mapped_column(
        ForeignKey("webhook_endpoints.id"), primary_key=True, index=True
    )
    attempt: Mapped[int]
    due_at: Mapped[str | None] = mapped_column(index=True)  # None: delivered or given up
    tried_at: Mapped[str | None]
    delivered_at: Mapped[str | None]
    error: Mapped[str]


APPEND_ONLY = (
    CommandKey, KeyRotation, Tariff, UsageRecord, Bill, Event, Status, Boot, Refused, Alarm,
    CommandResult, Offer, AuthorizationChange, Entry, Posting, News,
)  # fmt: skip
