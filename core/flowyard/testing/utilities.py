"""Helpers for tests of flows and tasks."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Awaitable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

from flowyard.exceptions import ObjectNotFound
from flowyard.process.backends import PROCESS, close_backends
from flowyard.schemas.runs import FlowRun
from flowyard.settings import (
    FLOWYARD_API_DATABASE_CONNECTION_URL,
    FLOWYARD_API_KEY,
    FLOWYARD_API_URL,
    FLOWYARD_HOME,
    FLOWYARD_LOCAL_STORAGE_PATH,
    FLOWYARD_LOGGING_SETTINGS_PATH,
    FLOWYARD_PROFILES_PATH,
    Settings,
    temporary_settings,
)

_ELSEWHERE = (
    FLOWYARD_API_DATABASE_CONNECTION_URL,
    FLOWYARD_API_KEY,
    FLOWYARD_API_URL,
    FLOWYARD_LOCAL_STORAGE_PATH,
    FLOWYARD_LOGGING_SETTINGS_PATH,
    FLOWYARD_PROFILES_PATH,
)


@contextmanager
def flowyard_test_harness() -> Generator[Settings]:
    """Run flows within the block against an empty home and SQLite database that are deleted afterwards.

    No server is used, whatever the environment says. Opening the database takes about 50 ms: put the block into a
    session-scoped fixture. Flows that are still running in another thread when the block ends lose their backend.
    """
    with TemporaryDirectory(prefix="flowyard-test-") as folder:
        home = Path(folder)
        with temporary_settings({FLOWYARD_HOME: home}, restore_defaults=_ELSEWHERE) as settings:
            try:
                yield settings
            finally:
                # Before the folder goes: a writer that finds its file gone would report lost records.
                close_backends()


prefect_test_harness = flowyard_test_harness


def exceptions_equal(a: object, b: object) -> bool:
    """Say whether two exceptions are of the same type with equal arguments; others compare as they do."""
    if not (isinstance(a, BaseException) and isinstance(b, BaseException)):
        return a == b
    return a is b or (type(a) is type(b) and a.args == b.args)


@contextmanager
def assert_does_not_warn(ignore_warnings: Sequence[type[Warning]] = ()) -> Generator[None]:
    """Fail when the block warns, but for warnings of the types given.

    Raises:
        AssertionError: a warning was given; it is the cause.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for category in ignore_warnings:
            warnings.filterwarnings("ignore", category=category)
        try:
            yield
        except Warning as warning:
            raise AssertionError(f"the block warned: {type(warning).__name__}: {warning}") from warning


class _ReadsFlowRuns(Protocol):
    def read_flow_runs(self, *, limit: int) -> Iterable[FlowRun] | Awaitable[Iterable[FlowRun]]: ...


async def get_most_recent_flow_run(client: _ReadsFlowRuns | None = None) -> FlowRun:
    """Return the flow run that was created last.

    Args:
        client: reads flow runs, newest first; by default the state backend of the present settings.

    Raises:
        ObjectNotFound: there is none.
    """
    found: Any = (client or PROCESS.backend().control).read_flow_runs(limit=1)
    if inspect.isawaitable(found):
        found = await found
    for flow_run in cast("Iterable[FlowRun]", found):
        return flow_run
    raise ObjectNotFound("flow run", "most recent")
