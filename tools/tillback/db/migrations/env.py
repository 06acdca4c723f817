"""Runs migrations in the connection that db.database hands over; Alembic calls it."""

from alembic import context

from tillback.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata,
    render_as_batch=True, transactional_ddl=True,
)  # fmt: skip
with context.begin_transaction():
    context.run_migrations()
