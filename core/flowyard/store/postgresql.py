"""PostgreSQL's side of what `dialects` asks. Loaded by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Table, cast
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ColumnElement
from typing_extensions import override

from flowyard.exceptions import BackendUnavailable
from flowyard.store.dialects import Dialect

# Two signed 32-bit keys for advisory locks; any constant that nobody else uses.
_MIGRATION_LOCK = (0x466C6F77, 0x79617264)


class PostgreSQL(Dialect):
    """A server, through psycopg 3. Every commit is durable there."""

    name = "postgresql"
    max_parameters = 60_000  # the wire protocol counts them in 16 bits
    has_arrays = True

    @override
    def create_engine(self, url: URL, *, connect_timeout: float | None, echo: bool) -> Engine:
        # TCP keepalives: a writer whose server vanished learns it within a minute, not within two hours.
        arguments: dict[str, Any] = {
            "connect_timeout": max(2, round(connect_timeout or 10)),
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        try:
            return create_engine(url, connect_args=arguments, echo=echo, paramstyle="format", hide_parameters=True)
        except ModuleNotFoundError as error:
            raise BackendUnavailable(
                url.render_as_string(hide_password=True),
                "the PostgreSQL driver psycopg is not installed",
                "install it: pip install 'flowyard[postgres]'",
            ) from error

    @override
    def prepare(self, connection: Connection) -> None:
        pass

    @override
    def begin_write(self, connection: Connection, *, is_durable: bool) -> None:
        connection.begin()

    @override
    def touch(self, connection: Connection) -> None:
        pass  # every commit is durable

    @override
    def lock_schema(self, connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, %s)", _MIGRATION_LOCK)

    @override
    def table_exists(self, connection: Connection, name: str) -> bool:
        # Not to_regclass: it answers from a cache that can miss a table which another session has just made.
        query = (
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = %s AND c.relkind = 'r' AND n.nspname = ANY (current_schemas(false))"
        )
        return connection.exec_driver_sql(query, (name,)).first() is not None

    @override
    def insert(self, table: Table) -> postgresql.Insert:
        return postgresql.insert(table)

    @override
    def json_array_has(self, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
        return cast(column, postgresql.JSONB).contains([text])

    @override
    def native_id(self, identifier: UUID) -> Any:
        return identifier

    @override
    def native_id_of(self, number: int) -> Any:
        return UUID(int=number)

    @override
    def is_transient(self, error: BaseException) -> bool:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        state = getattr(getattr(error, "orig", error), "sqlstate", None)
        if state is None:  # no answer from the server: the connection is gone or was never made
            return type(getattr(error, "orig", error)).__name__ == "OperationalError"
        # Lost connections, serialization failures and deadlocks, no resources, shutdown, read-only after a failover.
        return state[:2] in ("08", "40", "53", "57") or state == "25006"

    @override
    def unavailable(self, where: str, error: BaseException) -> BackendUnavailable:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        return BackendUnavailable(
            where, cause, "start the server, and check host, port, user, password and database in the URL"
        )
