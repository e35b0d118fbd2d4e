"""A database that is closed leaves no connection open, whoever still reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from flowyard.store.database import Database, open_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "postgresql":
        return open_database(request.getfixturevalue("postgres_url"))
    return open_database(f"sqlite:///{tmp_path}/a.db")


def test_a_connection_that_is_lent_meanwhile_is_closed_when_it_comes_back(database: Database) -> None:
    with database.plain_reading() as plain, database.reading() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        drivers = [plain.driver, driver]
        database.close()
        assert plain.value("SELECT 1") == connection.execute(text("SELECT 1")).scalar_one() == 1
    for each in drivers:
        with pytest.raises(database.dialect.driver_error, match="closed"):
            each.execute("SELECT 1")


def test_whoever_comes_late_leaves_nothing_open_either(database: Database) -> None:
    database.close()
    with database.plain_reading() as plain, database.reading() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
    for each in (plain.driver, driver):
        with pytest.raises(database.dialect.driver_error, match="closed"):
            each.execute("SELECT 1")
