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
from uuid import UUID, uuid4

import pytest

from flowyard import flow, task
from flowyard.artifacts import create_markdown_artifact
from flowyard.cache_policies import INPUTS
from flowyard.filesystems import LocalFileSystem, RemoteFileSystem
from flowyard.logging.loggers import LogEavesdropper
from flowyard.process.backends import close_backends
from flowyard.process.control import control_plane
from flowyard.recovery import fork_flow_run
from flowyard.retention import collect_garbage
from flowyard.schemas.filters import ArtifactFilter, LogFilter, TaskRunFilter
from flowyard.settings import FLOWYARD_HOME, FLOWYARD_LOGGING_LEVEL, temporary_settings
from flowyard.transactions import transaction

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


# --- other places -----------------------------------------------------------------------------------------------


@pytest.fixture
def bucket() -> RemoteFileSystem:
    return RemoteFileSystem(basepath=f"memory://{uuid4()}")


@task(persist_result=True)
def far(number: int) -> list[int]:
    return [number]


@task(persist_result=True, result_storage_key="mine")
def named() -> list[int]:
    return [1]


@task(cache_policy=INPUTS, cache_expiration=timedelta(days=30))
def cached(number: int) -> list[int]:
    return [number]


@flow
def distant(extra: object = None) -> list[int]:
    return far(1) + cached(2) + named()


def test_recorded_results_in_a_bucket_are_deleted_and_no_others(bucket: RemoteFileSystem) -> None:
    stored = distant.with_options(result_storage=bucket, persist_result=True)
    run(stored, extra={1, 2})
    other = run(stored)
    bucket.write_path(f"runs/{other}/not-ours", b"")
    said = collect_garbage(DAY, dry_run=True, now=later())
    assert len([path for path in bucket.iter_paths("runs") if path.endswith("/flow")]) == 2
    assert collect_garbage(DAY, now=later()) == said
    assert said.file_count == 4, "two results of flows, two of `far`; `cached` is made once"
    assert said.byte_count > 0
    left = [path for path in bucket.iter_paths(".") if not path.startswith("cache/")]
    assert [path.rpartition("/")[2] for path in left] == ["mine", "0", "not-ours"]
    # What the cache has is still used.
    assert run(stored)
    states = [task_run.state for task_run in control_plane().read_task_runs()]
    assert [state.name for state in states if state is not None].count("Cached") == 1


def test_a_run_whose_bucket_does_not_answer_stays(bucket: RemoteFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    flow_run_id = run(distant.with_options(result_storage=bucket))

    def refuse(*_: Any) -> None:
        raise PermissionError("not allowed")

    with monkeypatch.context() as patch, LogEavesdropper("flowyard") as heard:
        patch.setattr(RemoteFileSystem, "delete_file", refuse)
        assert collect_garbage(DAY, now=later()).flow_runs == []
    assert "could not be deleted: PermissionError: not allowed" in heard.text()
    assert collect_garbage(DAY, now=later()).flow_runs == [flow_run_id]


def test_a_run_whose_block_is_gone_is_deleted_and_its_files_stay(bucket: RemoteFileSystem) -> None:
    flow_run_id = run(distant.with_options(result_storage=bucket))
    task_runs = control_plane().read_task_runs(TaskRunFilter(flow_run_ids=(flow_run_id,)))
    states = [task_run.state for task_run in task_runs if task_run.state is not None]
    (record,) = {state.data.to_record()["storage_block_id"] for state in states}
    control_plane().blocks.delete_document(UUID(record))
    with LogEavesdropper("flowyard") as heard:
        assert collect_garbage(DAY, now=later()).flow_runs == [flow_run_id]
    assert "The files of results stay where they are" in heard.text()
    assert list(bucket.iter_paths("runs"))


@pytest.mark.parametrize("is_saved", [True, False])
def test_results_in_another_folder_are_deleted_too(home: Path, is_saved: bool) -> None:
    elsewhere: Any = LocalFileSystem(basepath=str(home / "elsewhere"))
    if is_saved:
        elsewhere.save("elsewhere")
    run(distant.with_options(result_storage=elsewhere))
    garbage = collect_garbage(DAY, now=later())
    assert garbage.file_count == 1, "the pack; the value of the cache stays"
    left = [path.name for path in (home / "elsewhere" / "runs").rglob("*") if path.is_file()]
    assert left == ["0"]
    assert (home / "elsewhere" / "mine").is_file()


# --- transactions -----------------------------------------------------------------------------------------------


@flow
def grouped(key: str | None = None, fails: bool = False, caches: bool = False) -> None:
    with transaction(key=key) as group:
        group.set("a", 1)
        step(1)
        if caches:
            cached(3)
        if fails:
            raise ValueError("no")


def commits(home: Path) -> list[str]:
    return [name for name in files(home) if name.startswith("transactions/")]


def test_the_commit_of_a_transaction_goes_with_its_run(home: Path) -> None:
    run(grouped)
    assert len(commits(home)) == 1
    said = collect_garbage(DAY, dry_run=True, now=later())
    assert said.file_count == 2
    assert len(commits(home)) == 1
    assert collect_garbage(DAY, now=later()) == said
    assert commits(home) == []
    assert not (home / "storage" / "transactions").exists()


def test_the_commits_of_runs_that_stay_stay(home: Path) -> None:
    run(grouped)
    assert collect_garbage(DAY).file_count == 0
    control_plane().delete_flow_run(run(grouped))
    assert collect_garbage(DAY).file_count == 0, "it is young: another database may know its run"
    assert len(commits(home)) == 2
    collect_garbage(DAY, now=later())
    assert commits(home) == []


def test_what_was_done_once_stays_done(home: Path) -> None:
    run(grouped, key="load")
    before = commits(home)
    assert len(before) == 2
    collect_garbage(DAY, now=later())
    assert commits(home) == before


def test_values_of_a_transaction_that_did_not_commit_go_when_they_are_old(home: Path) -> None:
    run(grouped, key="load")
    for path in commits(home):
        if not path.startswith("transactions/values/"):
            (home / "storage" / path).unlink()
    collect_garbage(DAY)
    assert len(commits(home)) == 1
    collect_garbage(DAY, now=later())
    assert commits(home) == []


def test_a_commit_by_which_a_value_of_the_cache_counts_stays_as_long_as_that(home: Path) -> None:
    run(grouped, caches=True)
    collect_garbage(DAY, now=later())
    assert len(commits(home)) == 1
    collect_garbage(DAY, now=later(60))
    assert commits(home) == []


def test_a_negative_age_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        collect_garbage(-DAY)
