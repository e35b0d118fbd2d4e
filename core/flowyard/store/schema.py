"""Tables brought up to date: created at once when there are none, migrated when they are older.

Loaded by name when `versions` says that there is something to do. Alembic is imported only by a migration. A test holds
the tables that `create` makes equal to those that the migrations make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, inspect
from sqlalchemy.engine import Connection

from flowyard.exceptions import BackendUnavailable
from flowyard.store import (
    api_keys,
    artifacts,
    automations,
    block_documents,
    blocks,
    configuration,
    csrf_tokens,
    deployment_tables,
    events,
    flow_run_inputs,
    limits,
    notification_policies,
    reported_task_runs,
    saved_searches,
    variables,
    versions,
)
from flowyard.store.tables import alembic_version, metadata, version_metadata
from flowyard.store.versions import read_version

if TYPE_CHECKING:
    from flowyard.store.database import Database

NOUNS = (
    api_keys,
    artifacts,
    automations,
    block_documents,
    blocks,
    configuration,
    csrf_tokens,
    deployment_tables,
    events,
    flow_run_inputs,
    limits,
    notification_policies,
    reported_task_runs,
    saved_searches,
    variables,
)
"""The modules that add tables to `metadata`; imported before it is used."""


def ensure(database: Database, *, migrate: bool = True) -> None:
    """Create or upgrade the tables if that is needed.

    Raises:
        BackendUnavailable: the schema is newer than this code, or older and must not be migrated.
    """
    with database.plain_reading() as connection:
        version = read_version(connection)
    if version == versions.CURRENT:
        return
    if version is not None:
        _check_known(database, version)
        if not migrate:
            raise BackendUnavailable(
                database.where,
                f"its schema has version {version}, this Flowyard needs {versions.CURRENT}",
                "run `flowyard database upgrade`, or set FLOWYARD_API_DATABASE_MIGRATE_ON_START=true",
            )
    _make_ready(database)
    with database.plain_writing() as connection:
        database.dialect.lock_schema(connection)
        # Another process may have been faster.
        version = read_version(connection)
        if version is None:
            create(connection.core)
        elif version != versions.CURRENT:
            _check_known(database, version)
            _migrations().upgrade(connection.core, versions.CURRENT)


def create(connection: Connection) -> None:
    """Make all tables of the current version in a database that has none."""
    metadata.create_all(connection, checkfirst=False)
    # A downgrade to the base leaves Alembic's table behind, empty.
    version_metadata.create_all(connection)
    connection.execute(insert(alembic_version).values(version_num=versions.CURRENT))


def upgrade(database: Database, revision: str = "head") -> tuple[str | None, str]:
    """Migrate a database upwards; return the versions before and after.

    Raises:
        BackendUnavailable: the schema is newer than this code, or there is no such revision.
    """
    target = versions.CURRENT if revision == "head" else revision
    _check_known(database, target)
    _make_ready(database)
    with database.plain_writing() as connection:
        database.dialect.lock_schema(connection)
        before = read_version(connection)
        if before is not None:
            _check_known(database, before)
        if before != target:
            _migrations().upgrade(connection.core, target)
    return before, target


def downgrade(database: Database, revision: str = "base") -> tuple[str | None, str | None]:
    """Migrate a database downwards; return the versions before and after (None: no tables).

    Raises:
        BackendUnavailable: the schema is newer than this code, or there is no such revision.
    """
    if revision not in ("base", "-1"):
        _check_known(database, revision)
    with database.plain_writing() as connection:
        database.dialect.lock_schema(connection)
        before = read_version(connection)
        if before is None:
            return None, None
        _check_known(database, before)
        _migrations().downgrade(connection.core, revision)
        return before, read_version(connection)


def reset(database: Database) -> None:
    """Delete every table of ours with all that is in it, and make them anew; others in the database are left alone."""
    _make_ready(database)
    with database.plain_writing() as connection:
        database.dialect.lock_schema(connection)
        metadata.drop_all(connection.core)
        version_metadata.drop_all(connection.core)
        create(connection.core)


def clear(connection: Connection) -> None:
    """Delete every row but API keys and facts about the database itself."""
    kept = {api_keys.api_key.name, configuration.configuration.name}
    for table in metadata.sorted_tables:
        if table.name not in kept:
            connection.execute(delete(table))


def drop(connection: Connection) -> None:
    """Delete every table of ours with all that is in it."""
    metadata.drop_all(connection)
    version_metadata.drop_all(connection)


def create_missing(connection: Connection) -> None:
    """Make all tables, unless they are there."""
    if not tables_without_version(connection):
        create(connection)


def tables_without_version(connection: Connection) -> list[str]:
    """Return the names of our tables that exist; for a database that nobody stamped."""
    return sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))


def stamp(connection: Connection, version: str) -> None:
    """Say that the tables have a version; for tests that need a database of another one."""
    connection.execute(delete(alembic_version))
    connection.execute(insert(alembic_version).values(version_num=version))


def _make_ready(database: Database) -> None:
    with database.connect() as connection:
        database.dialect.prepare(connection)


def _check_known(database: Database, version: str) -> None:
    if version not in versions.VERSIONS:
        raise BackendUnavailable(
            database.where,
            f"its schema has version {version!r}, and this Flowyard knows versions up to {versions.CURRENT!r}",
            "upgrade Flowyard to the release that wrote it, or point FLOWYARD_API_DATABASE_CONNECTION_URL at another "
            "database",
        )


def _migrations():
    from flowyard.store import migrations  # noqa: PLC0415  loads Alembic: 150 ms that only a migration is worth

    return migrations
