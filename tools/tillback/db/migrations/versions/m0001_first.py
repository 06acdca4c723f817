"""What version 0.1.0 made, before there were migrations."""

import sqlalchemy as sa
from alembic import op

from tillback.db.database import forbid_changes

revision = "0001"
down_revision = None

_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT, _BYTES, _INT = sa.String(), sa.LargeBinary(), sa.BigInteger()
# {table: ({column: type, "?" behind its name where it may be NULL}, unique, indexed)}; a table
# without `row` has its first column as its primary key.
_TABLES = {
    "chargers": ("id public_key_pem ack_key:b mqtt_user? registered_at", (), ()),
    "usage_records": ("row id charger> seq:i prev sha256 jws:b payload:b received_at",
                      (("charger", "seq"), ("id",)), ()),
    "key_rotations": ("row charger> jws:b registered_at", (("jws",),), ("charger",)),
    "events": ("row id charger> at? name detail sha256 payload:b received_at",
               (("charger", "id"),), ()),
    "statuses": ("row charger> payload:b received_at", (), ("charger",)),
    "boots": ("row charger> boot:i nonce seen_at", (("charger", "boot", "nonce"),), ()),
    "refused": ("row charger topic sha256 reason body:b received_at",
                (("charger", "topic", "sha256"),), ()),
    "command_keys": ("charger> key:b", (), ()),
    "command_results": ("row charger> command? status detail received_at", (), ()),
    "alarms": ("row charger name detail raised_at", (("charger", "name", "detail"),), ()),
    "offers": ("nonce charger> expires_s:i made_at", (), ()),
}  # fmt: skip


def upgrade() -> None:
    for name, (columns, unique, indexed) in _TABLES.items():
        op.create_table(
            name, *(_column(text, at == 0) for at, text in enumerate(columns.split())),
            *(sa.UniqueConstraint(*names) for names in unique),
        )  # fmt: skip
        for column in indexed:
            op.create_index(f"ix_{name}_{column}", name, [column])
        if name != "chargers":
            forbid_changes(op.get_bind(), name)


def _column(text: str, is_key: bool) -> sa.Column:
    """`name`, then `?` where it may be NULL, `>` for a reference to a charger, `:b` or `:i`."""
    name, _, kind = text.partition(":")
    bare = name.rstrip("?>")
    types = {"": _COUNT if bare == "row" else _TEXT, "b": _BYTES, "i": _INT}
    references = [sa.ForeignKey("chargers.id")] if ">" in name else []
    return sa.Column(bare, types[kind], *references, primary_key=is_key, nullable="?" in name)
