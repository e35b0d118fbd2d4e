"""Tags are found whatever characters they and their neighbours have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import column as column_of
from sqlalchemy import func, select, values

from flowyard.store.database import Database, open_database
from flowyard.store.types import Json

tags = st.text('",[]\\aä', max_size=4)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    is_file = request.param == "sqlite"
    opened = open_database(f"sqlite:///{tmp_path}/flowyard.db" if is_file else request.getfixturevalue("postgres_url"))
    yield opened
    opened.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=st.lists(tags, max_size=4), wanted=tags)
def test_a_tag_is_found_where_it_is_and_nowhere_else(database: Database, there: list[str], wanted: str) -> None:
    row: Any = values(column_of("tags", Json()), name="row").data([(there,)]).cte("row")
    with database.engine.connect() as connection:
        has = database.dialect.json_array_has(row.c.tags, wanted)
        assert connection.execute(select(func.count()).select_from(row).where(has)).scalar_one() == (wanted in there)
