"""What a resume takes from the result files of its run, beside what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from flowyard.engine.continuation import Continuation
from flowyard.engine.replay import Earlier, Fingerprint
from flowyard.filesystems import RemoteFileSystem
from flowyard.filesystems.folder import Folder
from flowyard.logging.loggers import LogEavesdropper
from flowyard.ports import ControlPlane
from flowyard.process.backends import close_backends
from flowyard.results import ResultFactory, ResultOrigin, fingerprint_of
from flowyard.results.blocks import saved_id
from flowyard.results.packs import Packs
from flowyard.schemas.ids import new_id
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.serializers import PickleSerializer
from flowyard.settings import FLOWYARD_HOME, FLOWYARD_LOCAL_STORAGE_PATH, temporary_settings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Recorded:
    """A control plane that knows some task runs."""

    def __init__(self, *runs: TaskRun) -> None:
        self.runs = runs

    def read_task_runs(self, *_: Any, **__: Any) -> list[TaskRun]:
        return list(self.runs)


class Left:
    """What a process left in a storage."""

    def __init__(self, storage: Folder | RemoteFileSystem, *, is_default: bool) -> None:
        self.flow_run = FlowRun(flow_id=new_id(), name="run", flow_name="flow")
        self.results = ResultFactory(
            persist_result=True,
            storage=storage,
            serializer=PickleSerializer(),
            is_default_storage=is_default,
        )
        self.packs: Packs | None = Packs()

    def run(self, number: int, task: str = "load-1") -> TaskRun:
        return TaskRun(task, str(number), f"{task}-{number}", task, flow_run_id=self.flow_run.id)

    def keep(self, run: TaskRun, value: Any, **inputs: Any) -> Any:
        origin = ResultOrigin(flow_run=self.flow_run, task_run=run, fingerprint=fingerprint_of(inputs))
        return self.results.create_result(value, origin, self.packs)

    def completed(self, run: TaskRun, value: Any, **inputs: Any) -> TaskRun:
        """Record a run whose value is kept, as the database has it."""
        handle = self.keep(run, value, **inputs)
        run.state = State(StateType.COMPLETED, data=RecordedResult(handle.to_record()))
        return run

    def earlier(self, *runs: TaskRun, from_task: str | None = None) -> Earlier:
        continuation = Continuation(self.flow_run, self.flow_run, from_task=from_task)
        return continuation.earlier(cast("ControlPlane", Recorded(*runs)), self.results)


@pytest.fixture(params=["settings, packs", "settings, files", "given, packs", "given, files", "bucket, files"])
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Left]:
    where, _, kind = request.param.partition(", ")
    changed = {FLOWYARD_HOME: tmp_path, FLOWYARD_LOCAL_STORAGE_PATH: tmp_path / "settings"}
    with temporary_settings(changed):
        bucket = RemoteFileSystem(basepath=f"memory://{uuid4()}") if where == "bucket" else None
        left = Left(bucket or Folder(str(tmp_path / where)), is_default=where == "settings")
        if bucket is not None:
            left.results = replace(left.results, storage_block_id=saved_id(bucket))
        packs = left.packs
        if kind == "files":
            left.packs = None
        yield left
        assert packs is not None
        packs.close()
        close_backends()


def claimed(earlier: Earlier, run: TaskRun, **inputs: Any) -> Any:
    kept, _ = earlier.claim(run, Fingerprint(inputs))
    return None if kept is None else kept.state.result()


def test_what_was_kept_and_not_recorded_is_used(left: Left) -> None:
    left.keep(left.run(0), [5], x=1)
    assert claimed(left.earlier(), left.run(0), x=1) == [5]
    assert claimed(left.earlier(), left.run(0), x=2) is None


def test_what_is_recorded_is_read_however_often_it_is_asked_for(left: Left) -> None:
    run = left.completed(left.run(0), {"a": 1}, x=1)
    kept, _ = left.earlier(run).claim(left.run(0), Fingerprint({"x": 1}))
    assert kept is not None
    assert [kept.state.result(), kept.state.result()] == [{"a": 1}, {"a": 1}]
    assert kept.state.data.to_record()["type"] == "reference"


def test_what_a_further_attempt_made_of_other_inputs_takes_the_place_of_what_is_recorded(left: Left) -> None:
    run = left.completed(left.run(0), ["old"], x=1)
    again = left.run(0)
    again.flow_run_run_count = 2
    left.keep(again, ["new"], x=2)
    assert claimed(left.earlier(run), left.run(0), x=2) == ["new"]
    # The flow calls in another order now: the call of these inputs has another number.
    assert claimed(left.earlier(run), left.run(7), x=1) == ["old"]


def test_of_two_values_that_are_not_recorded_both_are_found_by_their_inputs(left: Left) -> None:
    left.keep(left.run(0), ["old"], x=1)
    again = left.run(0)
    again.flow_run_run_count = 2
    left.keep(again, ["new"], x=2)
    earlier = left.earlier()
    assert claimed(earlier, left.run(0), x=2) == ["new"]
    assert claimed(earlier, left.run(1), x=1) == ["old"]


def test_a_file_that_is_older_than_what_is_recorded_does_not_count(left: Left) -> None:
    left.keep(left.run(0), ["old"], x=1)
    again = left.run(0)
    again.flow_run_run_count = 2
    run = left.completed(again, ["new"], x=1)
    assert claimed(left.earlier(run), left.run(0), x=1) == ["new"]


def test_what_is_to_be_made_again_is_not_taken_from_files_either(left: Left) -> None:
    recorded = left.run(0, "store-1")
    recorded.task_inputs = {}
    left.keep(recorded, ["stored"], x=1)
    left.keep(left.run(0), [5], x=1)
    earlier = left.earlier(recorded, from_task="load-1")
    assert claimed(earlier, left.run(0), x=1) is None
    assert claimed(earlier, left.run(0, "store-1"), x=1) == ["stored"]


def test_failures_that_were_kept_are_executed_again(left: Left) -> None:
    origin = ResultOrigin(
        flow_run=left.flow_run,
        task_run=left.run(0),
        fingerprint=fingerprint_of({"x": 1}),
        state_type=StateType.FAILED,
    )
    left.results.create_result(ValueError("no"), origin, left.packs)
    assert claimed(left.earlier(), left.run(0), x=1) is None


def test_a_resume_reads_ahead_only_so_much(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowyard.engine.continuation.MOST_BYTES", 1000)
    runs = [left.completed(left.run(number), [number], x=number) for number in range(10)]
    earlier = left.earlier(*runs)
    assert [claimed(earlier, left.run(number), x=number) for number in range(10)] == [[number] for number in range(10)]
    kinds = {type(run.state.data).__name__ for run in runs if run.state is not None}
    assert kinds == ({"RecordedResult"} if left.packs is None else {"RecordedResult", "ReadAheadResult"})


def test_times_of_recorded_states_are_compared_with_those_of_files(left: Left) -> None:
    run = left.completed(left.run(0), ["recorded"], x=1)
    assert run.state is not None
    run.state.timestamp = LONG_AGO + timedelta(days=1)
    again = left.run(0)
    again.flow_run_run_count = 2
    left.keep(again, ["later"], x=1)
    assert claimed(left.earlier(run), left.run(0), x=1) == ["later"]


def test_without_an_answer_of_the_storage_what_is_recorded_is_used(tmp_path: Path) -> None:
    class Away(Folder):
        def iter_paths(self, folder: str) -> Iterator[str]:
            raise PermissionError("not allowed to list")

    left = Left(Away(str(tmp_path)), is_default=False)
    left.packs = None
    run = left.completed(left.run(0), [5], x=1)
    with LogEavesdropper("flowyard") as heard:
        earlier = left.earlier(run)
    assert claimed(earlier, left.run(0), x=1) == [5]
    assert "Only what was recorded is used again" in heard.text()
    assert "could not be listed: PermissionError: not allowed to list" in heard.text()
