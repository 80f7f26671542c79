"""Alembic's entry: runs the migrations on the connection that `database` hands over."""

from alembic import context

from orchestrator.store.database import VERSION_TABLE
from orchestrator.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
