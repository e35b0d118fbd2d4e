"""The profile of a flow run."""

from __future__ import annotations

import json

import pytest

from flowyard.profiling.profile import profile_of
from flowyard.profiling.summary import percentile
from flowyard.profiling.workers import lanes_of
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.states import StateType
from flowyard.testing.timings import make_timeline, make_timing

S = StateType


def test_overhead_is_what_workers_did_besides_user_code():
    metrics = TaskMetrics(worker="a", worker_seconds=2.0, load_seconds=0.25, run_seconds=1.5)
    timeline = make_timeline(
        make_timing(1, start=0.25, end=1.75, metrics=metrics),
        make_timing(2, start=2, end=3, metrics=TaskMetrics(worker="MainThread", run_seconds=0.5)),
        seconds=4,
    )
    overhead = profile_of(timeline, lanes_of(timeline)).overhead
    assert overhead.user_seconds == 2.0
    assert overhead.measured_calls == 1
    assert (overhead.load_seconds, overhead.rest_seconds, overhead.seconds_per_call) == (0.25, 0.25, 0.5)
    assert overhead.seconds_without_tasks == 1.5


def test_where_no_worker_measured_nothing_is_said_of_loading():
    timeline = make_timeline(make_timing(1, start=0, end=1), seconds=1)
    overhead = profile_of(timeline, lanes_of(timeline)).overhead
    assert (overhead.load_seconds, overhead.rest_seconds, overhead.seconds_per_call) == (None, None, None)


def test_predictions_include_the_number_of_workers_that_there_was():
    timeline = make_timeline(
        *(make_timing(number, start=number // 3, end=number // 3 + 1) for number in range(6)), seconds=2
    )
    profile = profile_of(timeline, lanes_of(timeline), workers=(2, 1, None))
    assert [(one.workers, one.seconds, one.is_actual) for one in profile.predictions] == [
        (1, 6, False),
        (2, 3, False),
        (3, 2, True),
        (None, 1, False),
    ]


def test_tasks_are_summed_up_by_name():
    retried = [(S.RUNNING, 0.0), (S.SCHEDULED, 1.0), (S.RUNNING, 2.0), (S.FAILED, 3.0)]
    timeline = make_timeline(
        make_timing(1, start=0, end=1, task_name="quick"),
        make_timing(2, start=0, end=3, task_name="slow", state_type=S.FAILED, states=retried),
        make_timing(3, start=1, end=5, task_name="slow"),
        make_timing(4, start=None, end=None, task_name="slow", state_type=S.PENDING),
        seconds=5,
    )
    slow, quick = profile_of(timeline, lanes_of(timeline)).tasks
    assert (slow.task_name, slow.runs, slow.failures, slow.retries, slow.total_seconds) == ("slow", 3, 1, 1, 6)
    assert (slow.run_p50, slow.run_p95, slow.queue_p50, slow.queue_p95) == (2, 4, 0, 1)
    assert (quick.task_name, quick.runs, quick.failures) == ("quick", 1, 0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3], 0.95, 3), ([1, 2], 0.5, 1), ([1, 2, 3], 0.5, 2), (list(range(1, 101)), 0.95, 95)],
    ids=["none", "one", "two", "three", "a hundred"],
)
def test_percentiles_are_values_that_there_are(values: list[float], share: float, expected: float | None):
    assert percentile(values, share) == expected


def test_a_run_without_tasks_has_a_profile():
    timeline = make_timeline(seconds=1)
    profile = profile_of(timeline, lanes_of(timeline))
    assert (profile.slots, profile.predictions, profile.tasks) == (0, [], [])


def test_the_record_is_json_and_its_seconds_are_rounded():
    timeline = make_timeline(make_timing(1, start=0, end=1 / 3), seconds=1 / 3)
    record = json.loads(json.dumps(profile_of(timeline, lanes_of(timeline)).to_record(), allow_nan=False))
    assert record["seconds"] == 0.333333
    assert record["critical_path"]["steps"][0]["name"] == "work-1"
    assert record["workers"][0]["calls"] == 1
    assert record["predictions"][-1] == {"workers": None, "seconds": 0.333333, "is_actual": False}
