"""The outcomes of calls for which Ray has none."""

from __future__ import annotations

from flowyard.exceptions import ValueLost, WorkerLost
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.outcomes import cancelled, crashed
from flowyard_ray.failures import Cause, Failure
from flowyard_ray.jobs import Item, RayHandle


def lost_input(item: Item, failure: Failure) -> ValueLost:
    """Return what to say of a call whose inputs Ray had, and has not any more."""
    suspects: list[tuple[int, RayHandle, str]] = [
        (key, handle, handle.outcome.task_run.name)
        for key, handle in item.upstream.items()
        if isinstance(handle, RayHandle) and handle.outcome is not None and handle.stand_in is None
    ]
    found = [suspect for suspect in suspects if suspect[1].is_at(failure.lost)] or suspects
    names = " or ".join(name for _, _, name in found)
    return ValueLost(f"of Ray ({failure.text})", names, tuple(key for key, _, _ in found))


def lost_call(item: Item, cause: Cause, text: str) -> Outcome:
    """Return the outcome of a call that Ray did not execute to its end, for a reason other than its inputs."""
    if cause is Cause.CANCELLED:
        return cancelled(item.call, f"The task was cancelled in Ray. {text}")
    if cause is Cause.WORKER:
        error = WorkerLost("of Ray", text)
        return crashed(item.call, error, lost_worker=error.worker)
    return crashed(item.call, RuntimeError(f"Ray could not execute the task: {text}"))
