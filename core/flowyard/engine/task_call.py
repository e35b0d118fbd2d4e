"""The steps of a task call in the flow's process: create the run, wait for its inputs, have it executed, run its hooks.

Written once: a direct call drives them by blocking or awaiting, `submit` and `map` by callbacks
(`drivers.run_detached`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flowyard.context import RunContext, TaskRunContext
from flowyard.engine.caching import Claim, cached_state, claim_of, releasing
from flowyard.engine.dependencies import UpstreamFailed, resolve
from flowyard.engine.effects import Effect, Raised, SleepUntil, WaitFor
from flowyard.engine.executing import Execute
from flowyard.engine.invoke import Invoke, by_name
from flowyard.engine.lost_values import regain
from flowyard.engine.prepared import Hook, PreparedCall, warn_if_slow
from flowyard.engine.replay import Fingerprint, reusable_state
from flowyard.engine.scope import Scope
from flowyard.engine.slots import TakeSlots
from flowyard.engine.staging import StagedCall
from flowyard.engine.submission import Submission
from flowyard.engine.task_run import enter_not_ready
from flowyard.exceptions import BackendError, CancelledRun, TaskTimedOut
from flowyard.logging.loggers import get_logger
from flowyard.logging.run_log import RunLog, run_log_for_task
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.crashes import crashed_state
from flowyard.schemas.events import TaskRunEntered, TaskRunMeasured
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.task_runners.base import (
    Outcome,
    TaskCall,
    TaskConcurrencyType,
    TaskRunner,
)
from flowyard.telemetry import TELEMETRY


def can_be_made_again(prepared: PreparedCall, runner: TaskRunner | None) -> bool:
    """Say whether the inputs of a call are kept, to make its value again when that is lost with a worker."""
    return prepared.template.policy.crash_retries > 0 and runner is not None and runner.capabilities.locality


def call_task(
    prepared: PreparedCall, runner: TaskRunner | None, submission: Submission | None, *, is_revival: bool = False
) -> Coroutine[Effect[Any], Any, State[Any]]:
    """Bring a prepared call to a state that it will not leave, and return that state.

    `submission` is None for a direct call, whose caller waits in the place where it runs. `is_revival`: the run has
    completed, and its value was lost; this makes it again.
    """
    if prepared.template.spec.cache is None:
        return _call_task(prepared, runner, submission, is_revival=is_revival, claims=None)
    claims: list[Claim] = []
    return releasing(_call_task(prepared, runner, submission, is_revival=is_revival, claims=claims), claims)


async def _call_task(
    prepared: PreparedCall,
    runner: TaskRunner | None,
    submission: Submission | None,
    *,
    is_revival: bool = False,
    claims: list[Claim] | None,
) -> State[Any]:
    scope, template, run = prepared.scope, prepared.template, prepared.run
    spec = template.spec
    # As in Prefect 2, what happens to a call is told by its flow run, what happens in it by the task run.
    log = scope.log if scope.log is not None else run_log_for_task(run, scope.recorder)
    if is_revival:
        lost, most = prepared.attempts_lost, template.policy.crash_retries
        log.warning("The value of task run '%s' was lost; starting attempt %s of %s...", run.name, lost, most)
    else:
        log.info("Created task run '%s' for task '%s'", run.name, spec.name)
    parameters = prepared.parameters
    dependencies = prepared.dependencies
    held: Mapping[int, Submission] = {}
    if dependencies is not None:
        # Where an earlier attempt left a value for this call, its inputs are needed here to tell whether they changed.
        is_known = scope.earlier is not None and scope.earlier.knows(run.task_key)
        # What gathers calls in chunks stands before the runner that has the values.
        home = submission.runner if submission is not None and submission.runner is not None else runner
        cluster = home if home is not None and home.capabilities.locality and not is_known else None
        waiting = dependencies.completions
        # Slots are not taken by a call that still waits for its inputs.
        if cluster is not None and not (run.tags and scope.is_limited(run.tags)):
            waiting = dependencies.waits(cluster, dependencies.hand_over(cluster))
        if waiting:
            await WaitFor(waiting, prepared.slot if submission is None else None)
            if scope.has_let_go(submission) and run.state is not None:
                return run.state
        if cluster is not None:
            held = dependencies.hand_over(cluster)
        try:
            dependencies.require_ready(held)
        except UpstreamFailed as failure:
            state = enter_not_ready(run, failure.name, scope.recorder)
            scope.note(state)
            return state
        if prepared.names:
            started = time.perf_counter()
            parameters = resolve(parameters, prepared.names, held)
            warn_if_slow(scope, task_name=spec.name, seconds=time.perf_counter() - started)
    fingerprint = Fingerprint(parameters)
    reused = None
    if scope.earlier is not None and not is_revival:
        reused = reusable_state(scope.earlier, run, fingerprint, log)
    if reused is not None:
        return settle_with(scope, run, reused)
    if claims is not None and not held and not is_revival:
        claims.append(claim_of(spec, _context_of(prepared, parameters), log, scope))
        cached = await _look_up(prepared, claims[0], submission)
        if cached is not None:
            return cached
    # What is not wanted any more is let go here: the arguments of a finished task belong to the user alone.
    if submission is None or not can_be_made_again(prepared, runner):
        prepared.parameters = {}
    is_patient = submission is None or (
        runner is not None and runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL
    )
    staging = prepared.transaction
    context = scope.call_context(
        prepared.tags,
        runner=runner,
        is_patient=is_patient,
        transaction=None if staging is None else staging.stamp,
    )
    if TELEMETRY.is_on:
        context = replace(context, trace=TELEMETRY.here(prepared.user_context))
    if submission is None:
        log.info("Executing '%s' immediately...", run.name)
    else:
        log.info("Submitted task run '%s' for execution.", run.name)
    attempt = 0
    run.metrics = None
    while True:
        call = TaskCall(
            spec=spec,
            task_run=run,
            arguments=parameters,
            context=context,
            shim=scope.shim,
            recorder=scope.recorder,
            attempt=attempt,
            resubmissions=prepared.resubmissions,
            user_context=prepared.user_context,
            loop=prepared.loop,
            needs=dependencies.needs(held) if dependencies is not None and held else (),
            cache=claims[0].ticket if claims else None,
        )
        ticket = scope.slot_ticket(run, prepared.caller_tags) if run.tags else None
        try:
            if ticket is not None:
                place = prepared.slot if submission is None else None
                await TakeSlots(ticket, place, is_sequential=is_patient and not spec.is_async)
                ticket.require_granted()
                if scope.has_let_go(submission) and run.state is not None:
                    return run.state
            handed_over, began = time.time(), time.perf_counter()
            used = {key: held[key].handle for key in held}
            outcome = await Execute(scope, runner, call, submission, held)
        finally:
            if ticket is not None:
                ticket.give_back()
        if scope.has_let_go(submission) and run.state is not None:
            return run.state
        if outcome.metrics is not None:
            elapsed = time.perf_counter() - began
            _record_metrics(run, outcome.metrics.queued(handed_over=handed_over, elapsed=elapsed), scope)
        if held and dependencies is not None and outcome.state.is_crashed():
            # When the worker with an upstream died, the runner cannot say more than that this call is lost too.
            await WaitFor(list(held.values()), prepared.slot if submission is None else None)
            try:
                dependencies.require_ready()
            except UpstreamFailed as failure:
                state = enter_not_ready(run, failure.name, scope.recorder)
                break
            regained = regain(outcome, held, used)
            if regained is not None:
                await WaitFor(regained.made_again, prepared.slot if submission is None else None)
                parameters = regained.fill_in(parameters)
                held = {key: upstream for key, upstream in held.items() if key not in regained.here}
                prepared.resubmissions += 1
                continue
        run = _absorb(run, outcome, scope)
        state = outcome.state
        if outcome.is_synthesised and state.is_crashed():
            cause = state.data if isinstance(state.data, BaseException) else None
            log.error("Crash detected! Task run '%s': %s", run.name, state.message, exc_info=cause)
        if outcome.lost_worker is not None:
            scope.take_slots_back(run.id)
        if outcome.lost_worker is not None and prepared.attempts_lost < template.policy.crash_retries:
            attempt += 1
            prepared.attempts_lost += 1
            log.warning(
                "Lost worker %s; starting attempt %s of %s that may be lost...",
                outcome.lost_worker,
                prepared.attempts_lost,
                template.policy.crash_retries,
            )
            continue
        if state.is_final() or state.name == "NotReady":
            break
        due = state.state_details.scheduled_time
        await SleepUntil(due if due is not None else utcnow())
        if scope.has_let_go(submission):
            return state
    # It is recorded, and a map of a million tasks keeps a million runs.
    run.metrics = None
    fingerprint.keep_for_retry(scope.earlier, run)
    if state.is_crashed():
        _remember_exit(scope, state)
    if is_revival and state.is_completed():
        return state
    scope.note(state)
    if staging is not None and state.is_completed():
        if state.name != "Cached":
            staging.stage(StagedCall(run, spec.results, template.on_commit, template.on_rollback))
        elif scope.earlier is not None:
            # A hit on a cluster, maybe of what the transaction itself has staged: a retry looks again.
            scope.earlier.forget(run)
    hooks = template.on_completion if state.is_completed() else template.on_failure if state.is_failed() else ()
    if hooks:
        # What stayed on a cluster is no parameter that a hook could look at.
        known = (
            {name: value for name, value in parameters.items() if name not in prepared.names} if held else parameters
        )
        await _run_task_hooks(hooks, prepared, _context_of(prepared, known), state)
    return state


def settle_with(scope: Scope, run: TaskRun, state: State[Any]) -> State[Any]:
    """Return the Completed state of a run that is not executed; a value that another run left is entered first."""
    if run.state is not state:
        details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
        message = "An earlier attempt completed this call; its persisted result is used."
        state = State(StateType.COMPLETED, message=message, data=state.data, state_details=details)
        enter_state(run, state)
        scope.recorder.append(TaskRunEntered(run.id, state))
    scope.note(state)
    return state


def _context_of(prepared: PreparedCall, parameters: Mapping[str, Any]) -> TaskRunContext:
    """Return what the key function of a call sees, which runs before the call does."""
    spec, scope = prepared.template.spec, prepared.scope
    return TaskRunContext(
        task=spec.task,
        task_run=prepared.run,
        parameters=parameters,
        log_prints=spec.log_prints,
        is_async=spec.is_async,
        recorder=scope.recorder,
        scope=scope,
    )


async def _look_up(prepared: PreparedCall, claim: Claim, submission: Submission | None) -> State[Any] | None:
    """Return the state Cached of a call whose value is in the cache, else None."""
    scope, template = prepared.scope, prepared.template
    here = RunContext(scope.context, claim.context, prepared.tags, transaction=prepared.transaction)
    flow_run_count = scope.flow_run.run_count if scope.flow_run is not None else 0
    state = await cached_state(claim, here, scope, prepared.slot if submission is None else None, flow_run_count)
    if state is None:
        return None
    prepared.parameters = {}
    scope.note(state)
    if template.on_completion and template.spec.cache.runs_hooks:
        await _run_task_hooks(template.on_completion, prepared, claim.context, state)
    return state


async def _run_task_hooks(
    hooks: Sequence[Hook], prepared: PreparedCall, context: TaskRunContext, state: State[Any]
) -> None:
    scope, run = prepared.scope, context.task_run
    arguments = {"task": context.task, "task_run": run, "state": state}
    log = run_log_for_task(run, scope.recorder, scope.log)
    await run_hooks(hooks, arguments, log, RunContext(scope.context, None, prepared.tags), context)


async def run_hooks(
    hooks: Sequence[Hook],
    arguments: Mapping[str, Any],
    log: RunLog,
    here: RunContext,
    task_run: TaskRunContext | None = None,
) -> None:
    """Run state hooks in order; what one raises is logged and hurts nobody."""
    for hook in hooks:
        name = getattr(hook, "__name__", None) or getattr(getattr(hook, "func", None), "__name__", repr(hook))
        log.info("Running hook '%s' in response to entering state '%s'", name, arguments["state"].name)
        outcome = await Invoke(here, by_name(hook, arguments), (), task_run)
        if isinstance(outcome, Raised):
            log.error("An error was encountered while running hook '%s'", name, exc_info=outcome.error)
        else:
            log.info("Hook '%s' finished running successfully", name)


def _record_metrics(run: TaskRun, metrics: TaskMetrics, scope: Scope) -> None:
    """Record what was measured elsewhere, before the states that it led to."""
    run.metrics = metrics if run.metrics is None else run.metrics.plus(metrics)
    scope.recorder.append(TaskRunMeasured(run.id, run.metrics))


def _absorb(run: TaskRun, outcome: Outcome, scope: Scope) -> TaskRun:
    """Bring what was recorded elsewhere into the journal, and the run up to date."""
    for event in outcome.events:
        scope.recorder.append(event)
    if outcome.task_run is not run:
        copy_progress(outcome.task_run, run)
    return run


def copy_progress(source: TaskRun, target: TaskRun) -> None:
    """Bring a run up to date with its copy that came back from a worker."""
    for attribute in _PROGRESS:
        setattr(target, attribute, getattr(source, attribute))


_PROGRESS = (
    "name",
    "state",
    "run_count",
    "expected_start_time",
    "next_scheduled_start_time",
    "start_time",
    "end_time",
    "total_run_time",
    "updated",
)


def _remember_exit(scope: Scope, state: State[Any]) -> None:
    data = state.data.get() if hasattr(state.data, "get") else state.data
    if isinstance(data, (KeyboardInterrupt, SystemExit)) and scope.exit_request is None:
        scope.exit_request = data


def crash_run(scope: Scope, run: TaskRun, error: BaseException) -> State[Any]:
    """Enter, record and return Crashed for a run that could not be brought to an end; an ended one stays."""
    if run.state is not None and run.state.is_final():
        return run.state
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    if scope.is_cancelling:
        state: State[Any] = State(StateType.CANCELLED, message="The flow run was cancelled.", state_details=details)
    elif isinstance(error, TaskTimedOut):
        # The timeout of the flow, or of the task around this one, arrived between the steps.
        state = State(StateType.FAILED, "TimedOut", str(error), state_details=details)
    else:
        state = crashed_state(error, now=utcnow(), details=details)
    state.data = UnpersistedResult(CancelledRun(state.message) if scope.is_cancelling else error)
    enter_state(run, state)
    scope.note(state)
    # When the journal itself is what failed, the flow run ends with its error and its traceback.
    cause = None if isinstance(error, BackendError) else error
    if not scope.is_cancelling:
        get_logger("engine").error("Task run %r crashed: %s", run.name, error, exc_info=cause)
    with contextlib.suppress(BackendError):
        scope.recorder.append(TaskRunEntered(run.id, state))
    return state
