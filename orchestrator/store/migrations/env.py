"""Alembic's entry: runs the migrations on the connection that `engine.migrate` hands over."""

from alembic import context

from orchestrator.store.tables import metadata

# Its own version table: MLflow has one of the usual name, perhaps in the same database.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="game_schema_version",
)
context.run_migrations()
