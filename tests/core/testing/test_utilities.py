from __future__ import annotations

import asyncio
import warnings
from pathlib import Path

import pytest

from flowyard import flow, task
from flowyard.exceptions import ObjectNotFound
from flowyard.logging import get_run_logger
from flowyard.process.backends import PROCESS
from flowyard.schemas.filters import LogFilter
from flowyard.settings import FLOWYARD_API_URL, FLOWYARD_HOME, get_current_settings, temporary_settings
from flowyard.testing.utilities import (
    assert_does_not_warn,
    exceptions_equal,
    flowyard_test_harness,
    get_most_recent_flow_run,
    prefect_test_harness,
)


@task
def double(x: int) -> int:
    get_run_logger().info("doubling %d", x)
    return 2 * x


@flow(name="the-flow")
def doubled(x: int) -> int:
    return double(x)


def test_flows_run_against_a_database_of_their_own() -> None:
    before = get_current_settings()
    with flowyard_test_harness() as settings:
        assert doubled(21) == 42
        run = asyncio.run(get_most_recent_flow_run())
        assert (run.flow_name, run.state_name) == ("the-flow", "Completed")
        messages = [log.message for log in PROCESS.backend().control.read_logs(LogFilter(flow_run_id=run.id))]
        assert "doubling 21" in messages
        home = settings.FLOWYARD_HOME
        assert list(home.iterdir())
    assert not home.exists()
    assert get_current_settings() is before


def test_a_harness_knows_nothing_of_the_one_before() -> None:
    with prefect_test_harness():
        doubled(1)
    with prefect_test_harness():
        with pytest.raises(ObjectNotFound, match="no flow run 'most recent'"):
            asyncio.run(get_most_recent_flow_run())
        assert doubled(2) == 4


def test_a_harness_uses_no_server(tmp_path: Path) -> None:
    with (
        temporary_settings({FLOWYARD_API_URL: "http://elsewhere/api", FLOWYARD_HOME: tmp_path}),
        flowyard_test_harness() as settings,
    ):
        assert settings.FLOWYARD_API_URL is None
        home = settings.FLOWYARD_HOME
        assert str(settings.FLOWYARD_API_DATABASE_CONNECTION_URL).endswith(f"{home}/flowyard.db")
        assert home in settings.FLOWYARD_LOCAL_STORAGE_PATH.parents
        assert home in settings.FLOWYARD_PROFILES_PATH.parents


def test_an_exception_in_the_block_cleans_up_too() -> None:
    homes: list[Path] = []

    def fail() -> None:
        with flowyard_test_harness() as settings:
            homes.append(settings.FLOWYARD_HOME)
            doubled(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [home.exists() for home in homes] == [False]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (ValueError("a", 1), ValueError("a", 1), True),
        (ValueError("a"), ValueError("b"), False),
        (ValueError("a"), TypeError("a"), False),
        (ValueError("a"), "a", False),
        (None, None, True),
    ],
)
def test_exceptions_are_equal_by_type_and_arguments(a: object, b: object, expected: bool) -> None:
    assert exceptions_equal(a, b) is expected


def test_a_warning_fails_the_block() -> None:
    with pytest.raises(AssertionError, match="the block warned: UserWarning: mind"), assert_does_not_warn():
        warnings.warn("mind", stacklevel=1)


def test_a_warning_can_be_ignored() -> None:
    went_on: list[str] = []
    with assert_does_not_warn([DeprecationWarning]):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        went_on.append("after the warning")
    assert went_on == ["after the warning"]
