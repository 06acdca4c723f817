"""Bills, authorisations, the ledger and the payment API."""

import json

import sqlalchemy as sa
from alembic import op

from tillback.db.database import allow_changes, forbid_changes

revision = "0002"
down_revision = "0001"

_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = ("tariffs", "bills", "authorization_changes", "ledger_entries", "ledger_postings",
                "news")  # fmt: skip


def upgrade() -> None:
    op.add_column("chargers", sa.Column("mqtt_password_hash", sa.String()))
    op.add_column("command_results", sa.Column("proven", sa.BigInteger()))
    _widen_records()
    _create_chargers()
    _create_money()
    _create_api()
    for name in _APPEND_ONLY:
        forbid_changes(op.get_bind(), name)


def _text(name: str, null: bool = False, to: str | None = None, key: bool = False) -> sa.Column:
    references = [sa.ForeignKey(to)] if to else []
    return sa.Column(name, sa.String(), *references, nullable=null, primary_key=key)


def _int(name: str, null: bool = False, key: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), nullable=null, primary_key=key, autoincrement=False)


def _bytes(name: str, null: bool = False) -> sa.Column:
    return sa.Column(name, sa.LargeBinary(), nullable=null)


def _widen_records() -> None:
    """usage_records gets what queries ask for, out of each payload."""
    connection, name = op.get_bind(), "usage_records"
    allow_changes(connection, name)
    texts = ("started_at", "ended_at", "currency", "method", "tariff_sha256")
    numbers = ("energy_wh", "total_minor")
    for one in (*texts, "token", "auth_ref"):
        op.add_column(name, _text(one, null=True))
    for one in numbers:
        op.add_column(name, _int(one, null=True))
    fill = sa.text(
        "UPDATE usage_records SET started_at = :started_at, ended_at = :ended_at, "
        "currency = :currency, method = :method, tariff_sha256 = :tariff_sha256, token = :token, "
        "auth_ref = :auth_ref, energy_wh = :energy_wh, total_minor = :total_minor "
        'WHERE "row" = :row'
    )
    for row, payload in connection.execute(sa.text('SELECT "row", payload FROM usage_records')):
        found = json.loads(bytes(payload))
        connection.execute(fill, {
            "row": row, "started_at": found["start_date_time"], "ended_at": found["end_date_time"],
            "currency": found["currency"], "method": found["auth"]["method"],
            "tariff_sha256": found["tariff"]["sha256"], "token": found["auth"]["token"],
            "auth_ref": found["auth"]["ref"], "energy_wh": found["total_energy_wh"],
            "total_minor": found["total_cost"]["incl_minor"],
        })  # fmt: skip
    with op.batch_alter_table(name) as batch:
        for one in texts:
            batch.alter_column(one, existing_type=sa.String(), nullable=False)
        for one in numbers:
            batch.alter_column(one, existing_type=sa.BigInteger(), nullable=False)
    op.create_index("ix_usage_records_auth_ref", name, ["auth_ref"])
    forbid_changes(connection, name)


def _create_chargers() -> None:
    op.create_table("locations", _text("charger", to="chargers.id", key=True), _text("ocpi"))
    op.create_table(
        "tariffs", _text("sha256", key=True), _text("id"), _text("currency"), _bytes("table"),
        _text("source", null=True), _text("added_at"),
    )  # fmt: skip
    op.create_table(
        "tokens", _text("token", key=True), _text("uid", null=True), _text("account", null=True),
        _text("group", null=True), _text("flags"), _text("expires_at", null=True),
        _int("ceiling_minor", null=True), _text("ocpi", null=True), _text("added_at"),
    )  # fmt: skip
    op.create_table(
        "chain_gaps", _text("charger", to="chargers.id", key=True), _int("seq", key=True),
        _text("since_at"), _text("alarmed_at", null=True),
    )  # fmt: skip
    op.create_index("ix_chain_gaps_since_at", "chain_gaps", ["since_at"])
    op.create_table(
        "orders", _text("id", key=True), _text("charger", to="chargers.id"), _text("name"),
        _text("args"), _text("auth_ref", null=True), _text("state"), _text("detail"),
        _text("due_at", null=True), _text("made_at"),
    )  # fmt: skip
    op.create_index("ix_orders_auth_ref", "orders", ["auth_ref"])
    op.create_index("ix_orders_due_at", "orders", ["due_at"])
    op.create_table(
        "live_meters", _text("charger", to="chargers.id", key=True), _bytes("payload"),
        _text("received_at"),
    )  # fmt: skip


def _create_money() -> None:
    op.create_table(
        "bills", _text("record", to="usage_records.id", key=True), _text("currency"),
        _int("total_minor"), _int("recomputed_minor", null=True), _int("billed_minor"),
        _text("finding"), _text("billed_at"),
    )  # fmt: skip
    op.create_table(
        "authorizations", _text("ref", key=True), _text("charger", null=True, to="chargers.id"),
        _text("method"), _text("token", null=True), _text("account", null=True), _text("currency"),
        _int("ceiling_minor", null=True), _text("state"), _text("provider"),
        _text("provider_ref", null=True), _text("source", null=True), _int("hold_minor"),
        _text("hold_until_at", null=True), _int("capturing_minor", null=True),
        _int("captured_minor"), _int("fee_minor"), _int("refunded_minor"),
        _text("record", null=True, to="usage_records.id"), _int("attempt"), _int("tries"),
        _text("due_at", null=True), _text("reason"), _text("created_at"), _text("expires_at"),
    )  # fmt: skip
    op.create_index("ix_authorizations_due", "authorizations", ["due_at"])
    op.create_index("ix_authorizations_provider_ref", "authorizations", ["provider_ref"])
    op.create_table(
        "pay_attempts", _text("id", key=True), _text("charger", to="chargers.id"),
        _text("nonce", null=True, to="offers.nonce"), _text("auth_ref", to="authorizations.ref"),
        _text("tariff_sha256"), _text("made_at"), sa.UniqueConstraint("nonce"),
        sa.UniqueConstraint("auth_ref"),
    )  # fmt: skip
    op.create_index("ix_pay_attempts_charger", "pay_attempts", ["charger"])
    op.create_table(
        "authorization_changes", sa.Column("row", _COUNT, primary_key=True),
        _text("ref", to="authorizations.ref"), _text("old", null=True), _text("new"),
        _text("reason"), _text("at"),
    )  # fmt: skip
    op.create_index("ix_authorization_changes_ref", "authorization_changes", ["ref"])
    op.create_table(
        "refunds", _text("id", key=True), _text("ref", to="authorizations.ref"), _text("currency"),
        _int("amount_minor"), _text("reason"), _text("state"), _text("provider_ref", null=True),
        _int("attempt"), _int("tries"), _text("due_at", null=True), _text("created_at"),
    )  # fmt: skip
    op.create_index("ix_refunds_ref", "refunds", ["ref"])
    op.create_index("ix_refunds_due_at", "refunds", ["due_at"])
    op.create_table(
        "ledger_entries", _text("id", key=True), _text("kind"), _text("currency"),
        _text("record", null=True, to="usage_records.id"), _text("auth_ref", null=True),
        _text("booked_at"),
    )  # fmt: skip
    op.create_index("ix_ledger_entries_record", "ledger_entries", ["record"])
    op.create_index("ix_ledger_entries_auth_ref", "ledger_entries", ["auth_ref"])
    op.create_table(
        "ledger_postings", _text("entry", to="ledger_entries.id", key=True),
        _text("account", key=True), _int("amount_minor"),
    )  # fmt: skip
    op.create_index("ix_ledger_postings_account", "ledger_postings", ["account"])


def _create_api() -> None:
    op.create_table(
        "api_keys", _text("id", key=True), _text("name"), _text("secret_sha256"), _text("scopes"),
        _text("charger", null=True, to="chargers.id"), _text("created_at"),
        _text("revoked_at", null=True),
    )  # fmt: skip
    op.create_table(
        "idempotent_answers", _text("api_key", key=True), _text("key", key=True),
        _text("request_sha256"), _int("status", null=True), _bytes("body", null=True),
        _text("created_at"),
    )  # fmt: skip
    op.create_index("ix_idempotent_answers_created_at", "idempotent_answers", ["created_at"])
    op.create_table(
        "webhook_endpoints", _text("id", key=True), _text("url"), _text("secret"), _text("kinds"),
        _text("created_at"), _text("removed_at", null=True),
    )  # fmt: skip
    op.create_table(
        "news", sa.Column("row", _COUNT, primary_key=True), _text("id"), _text("kind"),
        _text("body"), _text("at"), sa.UniqueConstraint("id"),
    )  # fmt: skip
    op.create_table(
        "webhook_deliveries", _text("news", to="news.id", key=True),
        _text("endpoint", to="webhook_endpoints.id", key=True), _int("attempt"),
        _text("due_at", null=True), _text("tried_at", null=True),
        _text("delivered_at", null=True), _text("error"),
    )  # fmt: skip
    op.create_index("ix_webhook_deliveries_endpoint", "webhook_deliveries", ["endpoint"])
    op.create_index("ix_webhook_deliveries_due_at", "webhook_deliveries", ["due_at"])
