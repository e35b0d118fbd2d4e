"""Alembic's entry: every migration runs in the caller's transaction and commits with it."""

from alembic import context

from flowyard.store.tables import alembic_version, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=alembic_version.name,
    # SQLite can roll DDL back; Alembic is told so, or it would commit after each statement.
    transactional_ddl=True,
)
context.run_migrations()
