"""What a client is told when the database fails: to come again only where that can help."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg
import pytest
import sqlalchemy.exc

from flowyard.local.backend import LocalBackend
from flowyard.server.gateway import Gateway
from flowyard.settings import Settings
from flowyard.store.dialects import dialect_of
from flowyard.testing.servers import RunningServer


def test_a_table_that_is_missing_is_no_reason_to_come_again(api: httpx.Client, behind: LocalBackend) -> None:
    assert api.post("/saved_searches/filter", json={}).status_code == 200
    behind.journal.perform(lambda connection: connection.execute("DROP TABLE saved_search"))
    answer = api.post("/saved_searches/filter", json={})
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_of_the_database_that_is_away_is_one_to_come_again(
    settings: Settings, serve: Callable[[Settings], RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(settings)
    gateway: Gateway = server.app.state.gateway

    def lose_connection(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("flowyard.store.saved_searches.read_many", lose_connection)
    answer = httpx.post(f"{server.address}/api/saved_searches/filter", json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert gateway.is_unavailable(psycopg.OperationalError("no connection"))


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.CannotConnectNow(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.SerializationFailure(), True),
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.LockNotAvailable(), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (sqlalchemy.exc.TimeoutError("QueuePool limit reached"), True),
        (psycopg.errors.NumericValueOutOfRange(), False),
        (psycopg.errors.UntranslatableCharacter(), False),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg.errors.SyntaxError(), False),
        (psycopg.errors.UniqueViolation(), False),
        (psycopg.errors.InsufficientPrivilege(), False),
        (psycopg.ProgrammingError("the query has 1 placeholder but 0 parameters were passed"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_postgresql_pass_or_stay(error: Exception, is_transient: bool) -> None:
    dialect = dialect_of("postgresql+psycopg://nobody@localhost:9/none")
    assert dialect.is_transient(error) is is_transient
