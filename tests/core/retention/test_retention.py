"""What `flowyard gc` deletes, and what it leaves alone."""

# What a test's flow returns is known by the test.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false, reportArgumentType=false
# pyright: reportCallIssue=false
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard import flow, task
from flowyard.artifacts import create_markdown_artifact
from flowyard.process.backends import close_backends
from flowyard.process.control import control_plane
from flowyard.recovery import fork_flow_run
from flowyard.retention import collect_garbage
from flowyard.schemas.filters import ArtifactFilter, LogFilter
from flowyard.settings import FLOWYARD_HOME, FLOWYARD_LOGGING_LEVEL, temporary_settings

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    with temporary_settings({FLOWYARD_HOME: tmp_path, FLOWYARD_LOGGING_LEVEL: "INFO"}):
        yield tmp_path
        close_backends()


@task(persist_result=True)
def step(number: int) -> int:
    return number * 10


@flow
def child(number: int) -> int:
    return step(number)


@flow
def parent(count: int = 3) -> int:
    create_markdown_artifact("# hello", key="greeting")
    return sum(step(number) for number in range(count)) + child(7)


def run(fn: Any, **parameters: Any) -> UUID:
    return fn(return_state=True, **parameters).state_details.flow_run_id


def later(days: float = 10) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def files(home: Path) -> list[str]:
    folder = home / "storage"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_everything_about_an_old_run_is_deleted(home: Path) -> None:
    flow_run_id = run(parent)
    assert files(home)
    garbage = collect_garbage(DAY, now=later())
    assert len(garbage.flow_runs) == 2
    assert garbage.flow_runs[0] == flow_run_id
    # The small results of each of the two runs are in one file.
    assert (garbage.task_run_count, garbage.file_count) == (5, 2)
    assert garbage.byte_count > 0
    assert files(home) == []
    control = control_plane()
    assert control.count_flow_runs() == 0
    assert control.count_task_runs() == 0
    assert control.read_logs(LogFilter(flow_run_id=flow_run_id)) == []
    assert control.artifacts.read_many(ArtifactFilter()) == []
    assert not (home / "storage" / "runs").exists() or not list((home / "storage" / "runs").iterdir())


def test_a_dry_run_says_the_same_and_deletes_nothing(home: Path) -> None:
    run(parent)
    before = files(home)
    said = collect_garbage(DAY, dry_run=True, now=later())
    assert files(home) == before
    assert control_plane().count_flow_runs() == 2
    assert collect_garbage(DAY, now=later()) == said


def test_young_runs_and_runs_that_have_not_ended_stay(home: Path) -> None:
    run(parent)
    assert collect_garbage(DAY).flow_runs == []

    @flow
    def collects() -> list[UUID]:
        step(1)
        return collect_garbage(timedelta(0), now=later()).flow_runs

    assert len(collects()) == 2
    # The result of the run that was under way.
    (left,) = {Path(name).parent.name for name in files(home)}
    assert control_plane().read_flow_run(UUID(left)).flow_name == "collects"


def test_values_of_the_cache_stay_until_they_expire(home: Path) -> None:
    calls: list[int] = []

    @task(
        persist_result=True,
        cache_key_fn=lambda _context, parameters: f"kept-{parameters['number']}",
        cache_expiration=timedelta(days=30),
    )
    def slow(number: int) -> int:
        calls.append(number)
        return number

    @flow
    def uses() -> int:
        return slow(5)

    run(uses)
    collect_garbage(DAY, now=later(10))
    assert run(uses)
    assert calls == [5]
    assert collect_garbage(DAY, now=later(60)).file_count >= 1


def test_what_a_young_fork_uses_stays() -> None:
    source = run(parent)
    fork = fork_flow_run(source, flow=parent)
    assert fork.is_completed()
    kept = collect_garbage(timedelta(0), now=fork.timestamp)
    assert source not in kept.flow_runs
    control_plane().read_flow_run(source)
    # When the fork is old too, both go.
    assert source in collect_garbage(timedelta(0), now=later()).flow_runs


def test_files_of_a_run_that_somebody_deleted_are_found(home: Path) -> None:
    flow_run_id = run(parent)
    control_plane().delete_flow_run(flow_run_id)
    assert files(home)
    collect_garbage(DAY, now=later())
    assert files(home) == []


def test_a_negative_age_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        collect_garbage(-DAY)
