"""The cache, wherever tasks execute."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from typing import Any

from flowyard.cache_policies import INPUTS
from flowyard.filesystems.folder import Folder
from flowyard.flows import flow
from flowyard.process.backends import PROCESS
from flowyard.task_runners.base import TaskRunner
from flowyard.tasks import task
from flowyard.testing.runners.fixtures import FlowsUnderTest
from flowyard.testing.workloads import note, notes


class FlowCacheContract(FlowsUnderTest):
    """Equal calls execute once, also when their inputs stay where they were made."""

    def test_equal_calls_of_later_runs_are_not_executed(self, runner: TaskRunner, folder: str, tmp_path: Any) -> None:
        cached = task(cache_policy=INPUTS, result_storage=Folder(str(tmp_path / "results")))(note)

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            futures = cached.map(folder, ["a", "b", "c"])
            return [(future.result(), future.wait().name) for future in futures]

        assert calls() == [("a", "Completed"), ("b", "Completed"), ("c", "Completed")]
        seen = notes(folder)
        assert calls() == [("a", "Cached"), ("b", "Cached"), ("c", "Cached")]
        assert notes(folder) == seen

    def test_inputs_that_are_made_by_tasks_are_looked_up_too(
        self, runner: TaskRunner, folder: str, tmp_path: Any
    ) -> None:
        storage = Folder(str(tmp_path / "results"))
        cached = task(cache_policy=INPUTS, result_storage=storage)(note)
        make, measure = task(_worded), task(_length)

        @flow(task_runner=runner)
        def calls() -> Any:
            words = make.map([1, 2])
            noted = cached.map(folder, words)
            lengths = measure.map(noted)
            return [future.wait().name for future in noted], [future.result() for future in lengths]

        assert calls() == (["Completed", "Completed"], [6, 6])
        seen = notes(folder)
        assert calls() == (["Cached", "Cached"], [6, 6])
        assert notes(folder) == seen

    def test_a_hit_is_recorded_with_its_key(self, runner: TaskRunner, folder: str, tmp_path: Any) -> None:
        cached = task(cache_policy=INPUTS, result_storage=Folder(str(tmp_path / "results")))(note)

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            runs: list[Any] = []
            for _ in range(2):
                future = cached.submit(folder, "a")
                future.wait()
                runs.append(future.task_run.id)
            return runs

        control = PROCESS.backend().control
        first, second = calls()
        assert [state.name for state in control.read_task_run_states(first)] == ["Pending", "Running", "Completed"]
        assert [state.name for state in control.read_task_run_states(second)] == ["Pending", "Cached"]
        keys = {control.read_task_run(run_id).cache_key for run_id in (first, second)}
        assert len(keys) == 1
        assert None not in keys

    def test_equal_calls_at_once_execute_once_with_a_lock(self, runner: TaskRunner, folder: str, tmp_path: Any) -> None:
        storage = Folder(str(tmp_path / "results"))
        cached = task(cache_policy=INPUTS, cache_lock=True, result_storage=storage)(note)
        make = task(_worded)

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            futures = [*cached.map(folder, ["word-1"] * 4), *cached.map(folder, make.map([1] * 4))]
            return [future.result() for future in futures]

        assert calls() == ["word-1"] * 8
        assert len([line for line in notes(folder) if line.startswith("begin")]) == 1


def _worded(number: int) -> str:
    return f"word-{number}"


def _length(text: str) -> int:
    return len(text)
