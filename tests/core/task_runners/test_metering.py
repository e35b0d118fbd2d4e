"""Measuring calls where they execute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.process.backends import PROCESS
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import TaskRun
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.metering import WORTH_MEASURING_SECONDS, Gauge
from flowyard.task_runners.process import ProcessPoolTaskRunner
from flowyard.testing.utilities import flowyard_test_harness

_LONG = 10 * WORTH_MEASURING_SECONDS
_MEGABYTE = 2**20


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


def compute(seconds: float, weight: bytes = b"") -> bytes:
    """Use the processor for a while, and return the weight."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return weight


def fail_once(seconds: float, folder: str) -> None:
    """Use the processor for a while; fail when this is called for the first time."""
    compute(seconds)
    trace = Path(folder, "trace")
    if not trace.exists():
        trace.touch()
        raise ValueError("the first time")


def grow(megabytes: int) -> int:
    """Hold memory for longer than what is not worth measuring."""
    held = os.urandom(megabytes * _MEGABYTE)
    compute(_LONG)
    return len(held)


def stored(run: TaskRun) -> TaskRun:
    return PROCESS.backend().control.read_task_run(run.id)


def measured_on(runner: TaskRunner, fn: Callable[..., Any], *args: Any, **options: Any) -> TaskMetrics:
    """Return what is stored about a call on a runner."""
    measured = task(fn, **options)

    @flow(task_runner=runner)
    def calls() -> TaskRun:
        future = measured.submit(*args)
        future.wait()
        return future.task_run

    metrics = stored(calls()).metrics
    assert metrics is not None
    return metrics


def test_a_worker_process_measures_every_call():
    found = measured_on(ProcessPoolTaskRunner(max_workers=1), compute, _LONG, bytes(_MEGABYTE))
    assert found.worker is not None
    assert found.worker.startswith("worker-1 (pid ")
    assert found.run_seconds is not None
    assert found.cpu_seconds is not None
    assert found.cpu_seconds >= _LONG
    assert found.run_seconds >= _LONG
    assert found.load_seconds is not None
    assert found.worker_seconds is not None
    assert found.worker_seconds >= found.run_seconds + found.load_seconds
    assert found.queue_seconds is not None
    assert found.bytes_in is not None
    assert found.bytes_out is not None
    assert _MEGABYTE < found.bytes_in < _MEGABYTE + 2000
    assert _MEGABYTE < found.bytes_out < _MEGABYTE + 100


def test_a_run_that_is_over_does_not_hold_what_was_measured():
    measured = task(compute)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def calls() -> TaskRun:
        future = measured.submit(0.0)
        future.wait()
        return future.task_run

    run = calls()
    assert run.metrics is None
    assert stored(run).metrics is not None


def test_a_short_call_in_a_worker_process_is_measured_too():
    found = measured_on(ProcessPoolTaskRunner(max_workers=1), compute, 0.0)
    assert found.run_seconds is not None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read where Linux keeps it")
def test_the_call_that_makes_its_worker_grow_is_told_from_others():
    growing = task(grow)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def calls() -> list[TaskRun]:
        futures = [growing.submit(megabytes) for megabytes in (1, 64, 2)]
        return [future.wait() and future.task_run for future in futures]

    growths = [run.metrics and run.metrics.memory_growth for run in map(stored, calls())]
    assert growths[1] is not None
    assert growths[1] > 50 * _MEGABYTE
    assert growths[2] is not None
    assert growths[2] < 10 * _MEGABYTE


@pytest.mark.parametrize("runner", [SequentialTaskRunner(), ConcurrentTaskRunner()], ids=["sequential", "concurrent"])
def test_in_the_flows_process_what_takes_long_is_measured(runner: TaskRunner):
    found = measured_on(runner, compute, _LONG)
    assert found.worker is not None
    assert found.run_seconds is not None
    assert found.run_seconds >= _LONG
    assert found == TaskMetrics(worker=found.worker, run_seconds=found.run_seconds), "nothing else"


def test_in_the_flows_process_what_is_short_is_not_measured():
    @task
    def quick() -> None: ...

    @flow
    def calls() -> list[TaskRun]:
        futures = [quick.submit() for _ in range(20)]
        return [future.wait() and future.task_run for future in futures]

    # On a busy machine some take long all the same.
    assert None in [stored(run).metrics for run in calls()]


@pytest.mark.parametrize(
    "runner", [ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=1)], ids=["in process", "in a worker"]
)
@pytest.mark.parametrize("delay", [0.0, 1.1], ids=["in place", "submitted again"])
def test_attempts_are_measured_together(runner: TaskRunner, delay: float, tmp_path: Path):
    found = measured_on(runner, fail_once, _LONG, str(tmp_path), retries=1, retry_delay_seconds=delay)
    assert found.run_seconds is not None
    assert found.run_seconds >= 2 * _LONG


def test_a_function_with_a_timeout_is_measured_by_the_clock_of_its_process():
    found = measured_on(ProcessPoolTaskRunner(max_workers=1), compute, _LONG, timeout_seconds=60)
    assert found.cpu_seconds is not None
    assert found.cpu_seconds >= _LONG


def test_nothing_is_known_of_memory_where_calls_share_a_process():
    assert Gauge("worker", is_alone=False).memory_growth() is None


@pytest.mark.parametrize(
    ("began", "expected"),
    [(100.5, 0.5), (102.5, 2.5), (99.0, 3.0), (104.0, 3.0), (None, 3.0)],
    ids=["half a second", "longer", "a clock behind", "a clock ahead", "no clock"],
)
def test_the_time_in_the_queue_lies_within_what_one_clock_saw(began: float | None, expected: float):
    metrics = TaskMetrics(began=began, worker_seconds=1.0)
    assert metrics.queued(handed_over=100.0, elapsed=4.0).queue_seconds == expected


def test_a_record_leaves_out_what_is_not_known_and_ignores_what_it_does_not_know():
    metrics = TaskMetrics(worker="a", run_seconds=0.12345678, bytes_in=0)
    assert metrics.to_record() == {"worker": "a", "run_seconds": 0.123457, "bytes_in": 0}
    assert TaskMetrics.from_record({**metrics.to_record(), "of_a_later_release": 1}) == metrics._replace(
        run_seconds=0.123457
    )


def test_attempts_add_up_and_what_only_one_knows_is_kept():
    one = TaskMetrics("a", 10.0, run_seconds=1.0, bytes_in=5)
    other = TaskMetrics("b", 20.0, run_seconds=2.0, cpu_seconds=0.5)
    assert one.plus(other) == TaskMetrics("b", 20.0, run_seconds=3.0, cpu_seconds=0.5, bytes_in=5)
