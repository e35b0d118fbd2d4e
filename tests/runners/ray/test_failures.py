"""What errors of Ray are taken for, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from flowyard_ray.failures import Cause, understand


def in_a_task(cause: Exception) -> Any:
    return RayTaskError("work", "Traceback ...", cause)


LOST = ObjectLostError("ab" * 28, None, "")


@pytest.mark.parametrize(
    ("error", "has_inputs", "cause"),
    [
        pytest.param(WorkerCrashedError(), False, Cause.WORKER, id="a-worker-that-died"),
        pytest.param(OutOfMemoryError("node is low on memory"), True, Cause.WORKER, id="out-of-memory"),
        pytest.param(NodeDiedError("gone"), True, Cause.WORKER, id="a-node-that-died"),
        pytest.param(LocalRayletDiedError(), False, Cause.WORKER, id="the-node-of-the-flow"),
        pytest.param(TaskCancelledError(), False, Cause.CANCELLED, id="cancelled-in-ray"),
        pytest.param(LOST, True, Cause.INPUT, id="an-input-is-lost"),
        pytest.param(in_a_task(LOST), True, Cause.INPUT, id="an-input-is-lost-on-the-way"),
        pytest.param(in_a_task(WorkerCrashedError()), True, Cause.INPUT, id="an-input-was-never-made"),
        pytest.param(LOST, False, Cause.WORKER, id="the-outcome-is-lost"),
        pytest.param(in_a_task(ImportError("no numpy")), True, Cause.OTHER, id="a-worker-that-lacks-something"),
        pytest.param(ConnectionError("shutting down"), True, Cause.OTHER, id="the-cluster-is-gone"),
    ],
)
def test_an_error_of_ray_says_why_there_is_no_outcome(error: Any, has_inputs: bool, cause: Cause) -> None:
    assert understand(error, has_inputs=has_inputs).cause is cause


def test_a_worker_that_was_killed_for_its_memory_says_so() -> None:
    text = understand(OutOfMemoryError("node is low on memory"), has_inputs=False).text
    assert text == "Ray killed it because memory ran out. OutOfMemoryError: node is low on memory"


def test_a_connection_that_is_lost_says_so() -> None:
    text = understand(ConnectionError("Client is shutting down."), has_inputs=False).text
    assert text.startswith("the connection to the Ray cluster is lost (ConnectionError: Client is shutting down.)")
    assert text.endswith("start the flow again when it is back")


def test_a_lost_input_is_named_by_its_reference() -> None:
    assert understand(in_a_task(LOST), has_inputs=True).lost == "ab" * 28
    assert understand(in_a_task(WorkerCrashedError()), has_inputs=True).lost == ""


@pytest.mark.parametrize(
    ("last_line", "hint"),
    [
        ("ModuleNotFoundError: No module named 'flowyard_ray'", "install it there"),
        ("TypeError: code() argument 13 must be str, not int", "the same versions of Python, Flowyard and cloudpickle"),
    ],
    ids=["without-flowyard", "another-python"],
)
def test_a_function_that_cannot_be_loaded_says_why_and_what_to_do(last_line: str, hint: str) -> None:
    said = (
        f"The remote function failed to import on the worker. This may be because ...\n\nTraceback ...\n{last_line}\n"
    )
    failure = understand(in_a_task(RuntimeError(said)), has_inputs=False)
    assert failure.cause is Cause.OTHER
    assert f"the worker cannot load its function: {last_line}" in failure.text
    assert hint in failure.text
