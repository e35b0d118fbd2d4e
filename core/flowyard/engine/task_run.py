"""The steps of a task run where it executes: Running, the user's function, retries, the final state.

The same steps run in the flow's process and in a worker on the other side of the world (`engine.worker`). One run that
succeeds at once costs about 40 microseconds here; `benchmarks sequential` guards it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import Any, cast

from flowyard.aio import running_loop
from flowyard.annotations import quote
from flowyard.containers import ATOMS, rebuild
from flowyard.context import FlowRunContext, RunContext, Slot, TaskRunContext
from flowyard.engine.caching import Claim, cached_state, claim_of, expiration_of, keep_value, releasing
from flowyard.engine.effects import Call, Effect, Raised, Record, SleepUntil, WaitFor
from flowyard.engine.final_state import returned_state, stands_for_runs, unfinished_in
from flowyard.engine.invoke import Invoke
from flowyard.engine.naming import render_name
from flowyard.engine.staging import staging_of
from flowyard.exceptions import TaskTimedOut
from flowyard.logging.prints import patch_print
from flowyard.logging.run_log import RunLog, run_log_for_task
from flowyard.ports import Recorder
from flowyard.results.factory import ResultOrigin
from flowyard.results.fingerprints import fingerprint_of
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.bookkeeping import apply_decision, enter_state, stamp
from flowyard.rules.crashes import crash_message
from flowyard.rules.task_runs import TaskRunFacts, decide_task_run
from flowyard.schemas.events import TaskRunEntered, TaskRunMeasured, TaskRunRenamed
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.runs import TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.task_runners.base import Held, Outcome, TaskCall, Upstream
from flowyard.task_runners.metering import WORTH_MEASURING_SECONDS, meter_in_process
from flowyard.telemetry import TELEMETRY, Recording


def run_task(
    call: TaskCall, flow_context: FlowRunContext | None, scope: Any, slot: Slot | None
) -> Coroutine[Effect[Any], Any, Outcome]:
    """Execute a call to an outcome: a final state, or AwaitingRetry when the delay is too long to wait here."""
    if call.context.trace is not None:
        call.recorder = recording = Recording(call.recorder)
        steps = _steps(call, flow_context, scope, slot)
        return TELEMETRY.task_steps(call.task_run, call.context.trace, recording, steps)
    return _steps(call, flow_context, scope, slot)


def _steps(
    call: TaskCall, flow_context: FlowRunContext | None, scope: Any, slot: Slot | None
) -> Coroutine[Effect[Any], Any, Outcome]:
    if call.spec.cache is None:
        return _run_task(call, flow_context, scope, slot, None)
    claims: list[Claim] = []
    return releasing(_run_task(call, flow_context, scope, slot, claims), claims)


async def _run_task(
    call: TaskCall, flow_context: FlowRunContext | None, scope: Any, slot: Slot | None, claims: list[Claim] | None
) -> Outcome:
    spec, run, recorder = call.spec, call.task_run, call.recorder
    arguments = call.arguments
    if call.needs:
        # Upstream values that stayed on the cluster: what the flow's process checks otherwise is checked here.
        missing = next((need for need in call.needs if not _is_ready(call.held[need.key], need.allow_failure)), None)
        if missing is not None:
            return Outcome(run, enter_not_ready(run, call.held[missing.key].run_name, recorder))
        arguments = _with_held_values(call)
    log = run_log_for_task(run, recorder)
    context = TaskRunContext(
        task=spec.task,
        task_run=run,
        parameters=arguments,
        log_prints=spec.log_prints,
        is_async=spec.is_async,
        entry_loop=running_loop(),
        recorder=recorder,
        slot=slot,
        scope=scope,
    )
    control = None if scope is None else scope.control
    transaction = call.context.transaction
    staging = None if transaction is None else staging_of(scope, transaction)
    here = RunContext(flow_context, context, call.context.tags, control=control, transaction=staging)
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id, transaction=transaction)
    if spec.log_prints:
        patch_print()
    args, kwargs = spec.signature.to_call(arguments)
    flow_run = call.context.flow_run
    flow_run_count = flow_run.run_count if flow_run is not None else 0
    facts = TaskRunFacts(StateType.RUNNING, flow_run_count, lost_attempts=call.attempt)
    begun = details
    if claims is not None:
        if call.cache is None:
            # Inputs stayed on the cluster: here is where they can be hashed.
            claims.append(claim_of(spec, context, log, scope))
            cached = await cached_state(claims[0], here, scope, slot, flow_run_count)
            if cached is not None:
                return Outcome(run, cached)
            call.cache = claims[0].ticket
        begun = replace(details, cache_key=call.cache.key, cache_trace=dict(call.cache.trace))
    while True:
        decision = decide_task_run(run, State(StateType.RUNNING, state_details=begun), now=utcnow(), facts=facts)
        if decision.verdict is Verdict.WAIT:
            # A retry that another clock called due.
            await SleepUntil(utcnow() + timedelta(seconds=decision.delay_seconds))
            continue
        running = decision.state
        assert running is not None, "nothing stops a task run whose flow run this process owns"
        apply_decision(run, decision)
        recorder.append(TaskRunEntered(run.id, running))
        context.counters = None
        value: Any = None
        if spec.task_run_name is not None and run.run_count == 1:
            value = await Call(here, _rename, (call, log))
        if not isinstance(value, Raised):
            timeout, limit, whose = _time_of(call)
            # In the flow's process no processor time: to ask for it is a system call, 1 to 10 % of a short task.
            if call.meter is not None:
                call.meter.begin()
            began = perf_counter()
            value = await Call(here, spec.fn, args, kwargs, timeout=timeout, limit=limit, kind=whose, stop=call.stop)
            seconds = perf_counter() - began
            if call.meter is not None or seconds >= WORTH_MEASURING_SECONDS:
                _measure(call, seconds, is_timed=timeout is not None)
        state: State[Any] | None = None
        if value.__class__ not in ATOMS and value.__class__ is not Raised:
            if stands_for_runs(value):
                state = await _settle_returned(call, value, facts, here, log)
            elif isinstance(value, quote):
                value = cast("quote[Any]", value).unwrap()
        if state is None:
            if value.__class__ is not Raised:
                # The value as the state keeps it, or `Raised` if it must be persisted and cannot be.
                value = (
                    UnpersistedResult(value)
                    if spec.results is None
                    else await _persist(call, value, StateType.COMPLETED, scope)
                )
            if scope is not None and run in scope.dropped:
                assert run.state is not None
                return Outcome(run, run.state)
            if value.__class__ is Raised:
                state = await _settle_failure(call, value, facts, here, log)
            else:
                kept = details if call.cache is None else await _keep_for_others(call, value, details, log)
                state = State(StateType.COMPLETED, data=value, state_details=kept)
                enter_state(run, state)
                recorder.append(TaskRunEntered(run.id, state))
        if state.is_final():
            _log_end(log, state)
            return Outcome(run, state)
        due = state.state_details.scheduled_time
        assert due is not None
        if (due - utcnow()).total_seconds() > call.context.longest_wait_in_place:
            return Outcome(run, state)
        await SleepUntil(due)


def enter_not_ready(run: TaskRun, upstream_name: str, recorder: Recorder) -> State[Any]:
    """Enter and return the state of a run that never starts, because an upstream run did not complete."""
    state = State(
        StateType.PENDING,
        name="NotReady",
        message=f"Upstream task run '{upstream_name}' did not reach a 'COMPLETED' state.",
        state_details=StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id),
    )
    enter_state(run, state)
    recorder.append(TaskRunEntered(run.id, state))
    return state


def _measure(call: TaskCall, seconds: float, *, is_timed: bool) -> None:
    """Note how long the user's function took; in the flow's process, record it as well."""
    run, meter = call.task_run, call.meter
    if meter is not None:
        # A function with a timeout runs in a thread of its own, whose time only the clock of the process knows.
        meter.ran(seconds, elsewhere=is_timed)
        return
    meter = meter_in_process()
    meter.ran(seconds)
    measured = meter.read()._replace(began=None)
    run.metrics = measured if run.metrics is None else run.metrics.plus(measured)
    call.recorder.append(TaskRunMeasured(run.id, run.metrics))


def _is_ready(held: Held, allow_failure: bool) -> bool:
    return held.state_type is StateType.COMPLETED or (allow_failure and held.state_type is StateType.FAILED)


def _with_held_values(call: TaskCall) -> dict[str, Any]:
    def value(upstream: Any, _allow_failure: bool) -> Any:
        return call.held[upstream.key].value

    return {name: rebuild(argument, Upstream, value) for name, argument in call.arguments.items()}


async def _settle_failure(
    call: TaskCall, raised: Raised, facts: TaskRunFacts, here: RunContext, log: RunLog
) -> State[Any]:
    """Enter and return what follows a function that raised: a retry, Failed, or Crashed."""
    run = call.task_run
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    error = raised.error
    deadline = call.context.deadline
    if isinstance(error, TaskTimedOut) and error.kind == "Flow" and deadline is not None and utcnow() >= deadline:
        # What the function calls ends with the flow's time too, and may be the first to say so.
        raised = Raised(error, is_timeout=True, is_stuck=raised.is_stuck)
    if not isinstance(error, Exception):
        if call.stop is not None and call.stop.is_stopped:
            message = "The task was cancelled while it ran."
            return _enter(call, State(StateType.CANCELLED, message=message, state_details=details))
        scope = _scope_of(here)
        if scope is not None and scope.is_cancelling:
            data = UnpersistedResult(error)
            message = "The flow run was cancelled."
            return _enter(call, State(StateType.CANCELLED, message=message, data=data, state_details=details))
        state = State(
            StateType.CRASHED,
            message=crash_message(error),
            data=UnpersistedResult(error),
            state_details=details,
        )
        log.error("Crash detected! %s", state.message)
        log.log(logging.DEBUG, "Crash details:", exc_info=error)
        return _enter(call, state)
    proposed = _failed(raised, details, await _keep_error(call, error, log, _scope_of(here)))
    if not raised.is_timeout:
        log.error("Encountered exception during execution:", exc_info=error)
    elif raised.is_stuck:
        log.error("%s", proposed.message)
    return await _settle_failed_state(call, proposed, facts, here, log)


async def _settle_failed_state(
    call: TaskCall, proposed: State[Any], facts: TaskRunFacts, here: RunContext, log: RunLog
) -> State[Any]:
    """Enter and return what follows a failure: a retry, or the proposed Failed state."""
    spec, run = call.spec, call.task_run
    if spec.retry_condition_fn is not None and run.run_count - call.attempt <= run.policy.retries:
        retriable = await Invoke(here, spec.retry_condition_fn, (spec.task, run, proposed))
        if isinstance(retriable, Raised):
            log.error(
                "An error was encountered while running `retry_condition_fn` of task %r; the run is not retried.",
                spec.name,
                exc_info=retriable.error,
            )
        if isinstance(retriable, Raised) or not retriable:
            proposed = proposed.copy(update={"state_details": replace(proposed.state_details, retriable=False)})
    decision = decide_task_run(run, proposed, now=utcnow(), facts=facts, spread=random.random())
    assert decision.state is not None
    state = decision.state
    if decision.verdict is Verdict.REJECT and not state.is_final():
        log.info(
            "Received non-final state %r when proposing final state %r and will attempt to run again...",
            state.name,
            proposed.name,
        )
    return _enter(call, state)


async def _settle_returned(
    call: TaskCall, value: Any, facts: TaskRunFacts, here: RunContext, log: RunLog
) -> State[Any]:
    """Enter and return what follows a function that returned a state, or futures and states of runs (behaviour F12)."""
    run = call.task_run
    if unfinished := unfinished_in(value):
        assert here.task_run is not None
        await WaitFor(unfinished, here.task_run.slot)
    data = cast("State[Any]", value).data if isinstance(value, State) else None
    kept: Any = UnpersistedResult(data)
    if call.spec.results is not None and isinstance(value, State) and value.is_completed():
        kept = await _persist(call, data, StateType.COMPLETED, _scope_of(here))
        if isinstance(kept, Raised):
            return await _settle_failure(call, kept, facts, here, log)
    state = returned_state(value, lambda _data: kept)
    stamp(state, StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id))
    if call.context.transaction is not None:
        state.state_details = replace(state.state_details, transaction=call.context.transaction)
    if not state.is_final():
        error = ValueError(
            f"task {call.spec.name!r} returned the state {state}, which is not final; return a final one, or a value"
        )
        return await _settle_failure(call, Raised(error), facts, here, log)
    return await _settle_failed_state(call, state, facts, here, log) if state.is_failed() else _enter(call, state)


def _enter(call: TaskCall, state: State[Any]) -> State[Any]:
    enter_state(call.task_run, state)
    call.recorder.append(TaskRunEntered(call.task_run.id, state))
    return state


def _log_end(log: RunLog, state: State[Any]) -> None:
    level = logging.INFO if state.is_completed() else logging.ERROR
    if log.is_enabled_for(level):
        # As text: a handler that collects records must not keep the value of the state.
        log.log(level, "Finished in state %s", str(state))


def _failed(raised: Raised, details: StateDetails, data: Any) -> State[Any]:
    error = raised.error
    if raised.is_timeout and isinstance(error, TaskTimedOut):
        message = f"{error}"
        if raised.is_stuck:
            message += (
                "; its thread is blocked outside of Python code and could not be interrupted: it goes on in the "
                "background, and its result will be dropped"
            )
        return State(StateType.FAILED, name="TimedOut", message=message, data=data, state_details=details)
    message = f"Task run encountered an exception. {type(error).__name__}: {error}"
    return State(StateType.FAILED, message=message, data=data, state_details=details)


async def _persist(call: TaskCall, value: Any, state_type: StateType, scope: Any) -> Any:
    """Return the handle of a value that the task's options keep in storage; `Raised` when it cannot be written."""
    flow_run = call.context.flow_run
    # A value of the cache has a file of its own: it stays when all else of its flow run is deleted.
    packs = None if scope is None or call.spec.cache is not None else scope.packs

    def write() -> Any:
        arguments = _with_held_values(call) if call.needs else call.arguments
        fingerprint = fingerprint_of(arguments) if state_type is StateType.COMPLETED else None
        origin = ResultOrigin(
            flow_run=flow_run,
            task_run=call.task_run,
            parameters=arguments,
            fingerprint=fingerprint,
            state_type=state_type,
            transaction=call.context.transaction,
        )
        try:
            return call.spec.results.create_result(value, origin, packs)
        except Exception as error:
            return Raised(error)

    return await Record(write)


async def _keep_for_others(call: TaskCall, handle: Any, details: StateDetails, log: RunLog) -> StateDetails:
    """Write the record of the cache, and return the details of the state that goes with it."""
    assert call.cache is not None
    expires = expiration_of(call)
    await Record(lambda: keep_value(call, handle, expires, log))
    return replace(details, cache_key=call.cache.key, cache_expiration=expires)


def _scope_of(here: RunContext) -> Any:
    return None if here.task_run is None else here.task_run.scope


async def _keep_error(call: TaskCall, error: BaseException, log: RunLog, scope: Any) -> Any:
    """Return the handle of an exception; one that cannot be persisted is kept in memory, and the log says so."""
    if call.spec.results is None:
        return _in_memory(error)
    kept = await _persist(call, error, StateType.FAILED, scope)
    if isinstance(kept, Raised):
        log.warning("The exception of task run '%s' could not be persisted: %s", call.task_run.name, kept.error)
        return _in_memory(error)
    return kept


def _in_memory(value: Any) -> Any:
    return UnpersistedResult(value)


def _rename(call: TaskCall, log: RunLog) -> None:
    template = call.spec.task_run_name
    assert template is not None
    run = call.task_run
    name = render_name(template, call.arguments, "task_run_name")
    log.debug("Renamed task run %r to %r", run.name, name)
    run.name = name
    call.recorder.append(TaskRunRenamed(run.id, name))


def _time_of(call: TaskCall) -> tuple[float | None, float | None, str]:
    """Return how many seconds the function may take, the timeout that says so, and whose that is.

    That is the task's own or, where less is left of that, its flow's.
    """
    deadline = call.context.deadline
    timeout = call.spec.timeout_seconds
    if deadline is not None:
        left = max((deadline - utcnow()) / timedelta(seconds=1), 0.001)
        if timeout is None or left < timeout:
            return left, call.context.flow_timeout_seconds, "Flow"
    return timeout, timeout, "Task"
