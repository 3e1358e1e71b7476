"""Alembic's environment: `db.migrate` hands it the connection, in a transaction of its own."""

from alembic import context

from db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    transaction_per_migration=False,
)
context.run_migrations()
