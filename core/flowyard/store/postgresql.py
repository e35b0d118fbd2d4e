"""PostgreSQL's side of what `dialects` asks. Loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from typing import cast as as_type
from uuid import UUID

from sqlalchemy import Table, Text, cast, literal_column
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ColumnElement
from typing_extensions import override

from flowyard.exceptions import BackendUnavailable
from flowyard.store.bells import CHANNEL, Bell, ServerBell, messages
from flowyard.store.dialects import Dialect
from flowyard.store.plain import Driver, PlainConnection
from flowyard.store.tables import metadata

# Two signed 32-bit keys for advisory locks; any constant that nobody else uses.
_MIGRATION_LOCK = (0x466C6F77, 0x79617264)
_SLOT_LOCK = (0x466C6F77, 0x736C6F74)


class PostgreSQL(Dialect):
    """A server, through psycopg 3. Every commit is durable there.

    Args:
        url: of the database.
        connect_timeout: seconds that a connection may take.
        echo: let SQLAlchemy log its statements.
    """

    name = "postgresql"
    max_parameters = 60_000  # the wire protocol counts them in 16 bits
    has_native_types = True
    has_tag_index = True
    row_lock = " FOR UPDATE"

    def __init__(self, url: URL, *, connect_timeout: float | None, echo: bool) -> None:
        self.where = url.render_as_string(hide_password=True)
        # TCP keepalives: a writer whose server vanished learns it within a minute, not within two hours.
        self._arguments: dict[str, Any] = {
            "connect_timeout": max(2, round(connect_timeout or 10)),
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        try:
            self._engine = create_engine(
                url, connect_args=self._arguments, echo=echo, paramstyle="format", hide_parameters=True
            )
        except ModuleNotFoundError as error:
            raise BackendUnavailable(
                self.where,
                "the PostgreSQL driver psycopg is not installed",
                "install it: pip install 'flowyard[postgres]'",
            ) from error
        self._has_connected = False
        self.driver_error = self._engine.dialect.loaded_dbapi.Error

    @override
    def connect(self) -> Driver:
        dialect = self._engine.dialect
        arguments, options = dialect.create_connect_args(self._engine.url)
        return as_type("Driver", dialect.connect(*arguments, **{**options, **self._arguments}))

    @override
    def prepare(self, connection: PlainConnection) -> None:
        pass

    @override
    def begin_read(self, connection: PlainConnection) -> None:
        pass  # psycopg does it with the first statement

    @override
    def begin_write(self, connection: PlainConnection, *, is_durable: bool) -> None:
        pass

    @override
    def touch(self, connection: PlainConnection) -> None:
        pass  # every commit is durable

    @override
    def lock_schema(self, connection: PlainConnection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(?, ?)", *_MIGRATION_LOCK)

    @override
    def lock_slots(self, connection: PlainConnection) -> None:
        # One transaction has the requests of many runs in the order in which they came: row locks alone, taken in that
        # order, let two servers wait for each other.
        connection.execute("SELECT pg_advisory_xact_lock(?, ?)", *_SLOT_LOCK)

    @override
    def table_exists(self, connection: PlainConnection, name: str) -> bool:
        # Not to_regclass: it answers from a cache that can miss a table which another session has just made.
        query = (
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = ? AND c.relkind = 'r' AND n.nspname = ANY (current_schemas(false))"
        )
        return connection.value(query, name) is not None

    @override
    def driver_text(self, statement: str) -> str:
        return statement.replace("?", "%s")

    @override
    def array_source(self, table: str, columns: Sequence[str]) -> str | None:
        types = [metadata.tables[table].c[name].type.compile(dialect=self._engine.dialect) for name in columns]
        # In binary: a text of an array has a backslash before each quote of the JSON in it, 16 microseconds a row of
        # five columns against 2.
        return f"SELECT * FROM unnest({', '.join(f'%b::{kind}[]' for kind in types)})"

    @override
    def among(self, ids: Sequence[UUID]) -> tuple[str, list[Any]]:
        # An array: the same text for any number of them, so that the server has it prepared.
        return "= ANY (%b::uuid[])", [list(ids)]

    @override
    def gather(self, driver: Driver) -> AbstractContextManager[object] | None:
        # Not known to the types, which are those that both drivers have.
        pipeline: Callable[[], AbstractContextManager[object]] = as_type("Any", driver).pipeline
        return pipeline()

    @override
    def bell(self) -> Bell:
        return ServerBell(self.connect)

    @override
    def announce(self, connection: PlainConnection, lease_ids: Sequence[UUID]) -> None:
        for message in messages(lease_ids):
            connection.execute("SELECT pg_notify(?, ?)", CHANNEL, message)

    @override
    def close(self) -> None:
        self._engine.dispose()

    @override
    def forget_connections(self) -> None:
        self._engine.dispose(close=False)

    @override
    def engine(self) -> Engine:
        if not self._has_connected:
            self._engine.connect().close()
            self._has_connected = True
        return self._engine

    @override
    def native_id(self, identifier: UUID) -> Any:
        return identifier

    @override
    def native_id_of(self, number: int) -> Any:
        return UUID(int=number)

    @override
    def insert(self, table: Table) -> postgresql.Insert:
        return postgresql.insert(table)

    @override
    def json_array_has(self, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
        return cast(column, postgresql.JSONB).contains([text])

    @override
    @contextmanager
    def preferring_indexes(self, connection: Connection) -> Generator[None]:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        yield
        # After an error the end of the transaction does it.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = on")

    @override
    def json_text(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        # Its path is a literal: a parameter would come as text, and the operator takes an array.
        return cast(column, postgresql.JSONB).op("#>>", return_type=Text())(literal_column("'{}'"))

    @override
    def json_member(self, column: ColumnElement[Any], key: str) -> ColumnElement[str]:
        return cast(column, postgresql.JSONB).op("->>", return_type=Text())(cast(key, Text))

    @override
    def is_transient(self, error: BaseException) -> bool:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        state = getattr(getattr(error, "orig", error), "sqlstate", None)
        if state is None:  # no answer from the server: the connection is gone or was never made
            return type(getattr(error, "orig", error)).__name__ in ("OperationalError", "TimeoutError")
        # Lost connections, serialization failures and deadlocks, no resources, locks not had in time, shutdown;
        # a session that was ended because it was idle; read-only after a failover.
        return state[:2] in ("08", "40", "53", "55", "57") or state in ("25006", "25P03")

    @override
    def unavailable(self, error: BaseException) -> BackendUnavailable:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        return BackendUnavailable(
            self.where, cause, "start the server, and check host, port, user, password and database in the URL"
        )
