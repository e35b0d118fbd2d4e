"""Outcomes of calls whose worker could not report one, because it died or had to be killed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from flowyard.exceptions import TaskTimedOut, WorkerLost
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.task_runs import TaskRunFacts, decide_task_run
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.outcomes import crashed, synthesised
from flowyard.task_runners.process.roster import Job

_PARENT_IS_RUNNING = TaskRunFacts(flow_run_state_type=StateType.RUNNING)


def lost(job: Job, error: WorkerLost) -> Outcome:
    """Return the outcome of a call that was lost with its worker."""
    _catch_up(job)
    return crashed(job.call, error, lost_worker=error.worker)


def timed_out(job: Job) -> Outcome:
    """Return the outcome of a call that had to be killed because nothing else would have stopped it.

    It is tried again as after any timeout, unless a condition has to be asked: that is code for the worker.
    """
    _catch_up(job)
    call, run = job.call, job.call.task_run
    seconds = call.spec.timeout_seconds
    assert seconds is not None, "only tasks with a timeout are timed"
    error = TaskTimedOut("Task", seconds)
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    if call.spec.retry_condition_fn is not None:
        details = replace(details, retriable=False)
    message = f"{error}; it could not be interrupted, so its worker process was killed"
    failed: State[Any] = State(StateType.FAILED, name="TimedOut", message=message, data=error, state_details=details)
    decision = decide_task_run(run, failed, now=utcnow(), facts=_PARENT_IS_RUNNING, spread=random.random())
    return synthesised(call, decision.state if decision.state is not None else failed)


def _catch_up(job: Job) -> None:
    """Record that the run was running: it had begun, and its worker had no time to say so."""
    run = job.call.task_run
    if run.state_type is StateType.RUNNING:
        return
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    running: State[Any] = State(StateType.RUNNING, state_details=details, timestamp=job.began_at)
    enter_state(run, running)
    job.held.append(TaskRunEntered(run.id, running))
