"""The steps of a task call in the flow's process: create the run, wait for its inputs, have it executed, run its hooks.

Written once: a direct call drives them by blocking or awaiting, `submit` and `map` by callbacks
(`drivers.run_detached`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.context import RunContext, Slot, TaskRunContext, current
from flowyard.engine.caching import Claim, cached_state, claim_of, releasing
from flowyard.engine.dependencies import Dependencies, UpstreamFailed, find_dependencies, resolve
from flowyard.engine.effects import Effect, Raised, Resume, SleepUntil, WaitFor
from flowyard.engine.invoke import Invoke
from flowyard.engine.lost_values import regain
from flowyard.engine.replay import Fingerprint, reusable_state
from flowyard.engine.scope import Scope, dynamic_key_of
from flowyard.engine.slots import TakeSlots
from flowyard.engine.staging import StagedCall, Staging
from flowyard.engine.submission import Submission
from flowyard.engine.task_run import enter_not_ready
from flowyard.exceptions import BackendError, MissingContextError, TaskTimedOut
from flowyard.logging.loggers import get_logger
from flowyard.logging.run_log import RunLog, run_log_for_task
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.crashes import crashed_state
from flowyard.schemas.events import TaskRunCreated, TaskRunEntered, TaskRunMeasured
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.runs import TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.task_runners.base import (
    LONGEST_WAIT_IN_PLACE,
    Outcome,
    TaskCall,
    TaskConcurrencyType,
    TaskRunner,
    TaskSpec,
)

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class TaskTemplate:
    """What the engine needs to know of a task to call it: the frozen form of `Task`."""

    spec: TaskSpec
    task_key: str
    version: str | None = None
    tags: frozenset[str] = frozenset()
    policy: RetryPolicy = NO_RETRIES
    runner: TaskRunner | None = None
    """Where calls of this task execute, if not where the flow's do."""
    on_completion: Sequence[Hook] = ()
    on_failure: Sequence[Hook] = ()
    on_commit: Sequence[Hook] = ()
    on_rollback: Sequence[Hook] = ()

    @property
    def hands_on_early(self) -> bool:
        """Whether the first outcome of a call is the last one: no retry that leaves its slot, no second attempt."""
        policy = self.policy
        return policy.crash_retries == 0 and max(policy.delays, default=0.0) <= LONGEST_WAIT_IN_PLACE


class PreparedCall:
    """A task run that exists, is Pending, and knows its inputs."""

    __slots__ = (
        "attempts_lost",
        "caller_tags",
        "dependencies",
        "loop",
        "names",
        "parameters",
        "resubmissions",
        "run",
        "scope",
        "slot",
        "tags",
        "template",
        "transaction",
        "user_context",
    )

    def __init__(
        self,
        scope: Scope,
        template: TaskTemplate,
        parameters: Mapping[str, Any],
        wait_for: Iterable[Any] | None,
        mapped_from: Mapping[str, list[dict[str, str]]] | None = None,
        identity: tuple[str, str] | None = None,
    ) -> None:
        if scope.is_closed:
            raise MissingContextError(
                f"task {template.spec.name!r} was called in flow run {scope.flow_run.name if scope.flow_run else ''!r},"
                " which has ended: a thread that outlives its flow cannot call tasks; wait for it in the flow"
            )
        here = current()
        self.attempts_lost = 0
        """How many attempts, or values that they left, were lost with their workers."""
        self.resubmissions = 0
        self.slot: Slot | None = here.task_run.slot if here.task_run is not None else None
        """The place that the calling task gives back while it waits."""
        self.caller_tags: Sequence[str] = here.task_run.task_run.tags if here.task_run is not None else ()
        """The tags of the calling task, whose slots of their limits serve what it calls too."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of a submitted async task."""
        self.user_context: Context | None = None
        """The context variables of whoever submitted the call; None for a direct call, which runs among them."""
        self.scope = scope
        self.template = template
        self.parameters = parameters
        started = time.perf_counter()
        self.dependencies, self.names = find_dependencies(parameters, wait_for, scope.lineage)
        warn_if_slow(scope, task_name=template.spec.name, seconds=time.perf_counter() - started)
        if mapped_from:
            # `map` took these values out of futures, which the children depend on all the same.
            self.dependencies = self.dependencies or Dependencies()
            for name, inputs in mapped_from.items():
                self.dependencies.task_inputs.setdefault(name, []).extend(inputs)
        tags = template.tags | here.tags if here.tags else template.tags
        self.tags = here.tags
        self.transaction: Staging | None = here.transaction
        """What takes this call together with others; None for nothing."""
        self.run = _task_run(scope, template, self.dependencies, tags, here.task_run, identity)

    @property
    def loops(self) -> frozenset[asyncio.AbstractEventLoop]:
        """The event loops that the upstreams of this call need."""
        return self.dependencies.loops if self.dependencies is not None else frozenset()


def _task_run(
    scope: Scope,
    template: TaskTemplate,
    dependencies: Dependencies | None,
    tags: frozenset[str],
    caller: TaskRunContext | None,
    identity: tuple[str, str] | None,
) -> TaskRun:
    """Create and record the run of a call, or find the one that an earlier attempt of the flow run made.

    `identity` is dynamic key and name where they were given out before; None takes the next number.
    """
    spec = template.spec
    if identity is None:
        number = scope.take_numbers(template.task_key, caller)
        identity = dynamic_key_of(number, caller), f"{spec.name}-{number}"
    dynamic_key, name = identity
    if scope.earlier is not None:
        known = scope.earlier.runs.get((template.task_key, dynamic_key))
        if known is not None:
            return known
    flow_run = scope.flow_run
    run = TaskRun(
        template.task_key,
        dynamic_key,
        name,
        spec.name,
        flow_run.id if flow_run is not None else None,
        caller.task_run.id if caller is not None else None,
        task_version=template.version,
        tags=tuple(sorted(tags)) if tags else (),
        policy=template.policy,
    )
    if flow_run is None:
        # Without a flow run there is no counter: part of the id keeps key and name apart from other calls.
        suffix = run.id.hex[-8:]
        run.dynamic_key = f"{template.task_key}-{suffix}"
        run.name = f"{spec.name}-{suffix}"
    else:
        run.flow_run_run_count = flow_run.run_count
    if dependencies is not None:
        run.task_inputs = dependencies.task_inputs
    scope.recorder.append(TaskRunCreated(run))
    pending = State(StateType.PENDING)
    enter_state(run, pending)
    scope.recorder.append(TaskRunEntered(run.id, pending))
    if scope.earlier is not None:
        scope.earlier.runs[template.task_key, dynamic_key] = run
    return run


def warn_if_slow(scope: Scope, *, task_name: str, seconds: float) -> None:
    """Say that the engine spends long on looking for futures in the arguments of a task."""
    threshold = scope.slow_inputs_seconds
    if threshold is not None and seconds > threshold:
        log = scope.log if scope.log is not None else get_logger("engine")
        log.warning(
            "Looking for futures in the arguments of task %r took %.1f seconds. A large one without any can be passed "
            "as `quote(value)`: nobody looks into it then. (FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD is the limit.)",
            task_name,
            seconds,
        )


class Execute(Effect[Outcome]):
    """Have a call executed: right here when its caller waits and the runner is in this process, else by it."""

    __slots__ = ("call", "runner", "scope", "submission", "upstream")

    def __init__(
        self,
        scope: Scope,
        runner: TaskRunner | None,
        call: TaskCall,
        submission: Submission | None,
        upstream: Mapping[int, Submission],
    ) -> None:
        # Handles are taken when the call is submitted: an upstream that ran again has another one.
        self.upstream = {
            key: handle
            for key, held in upstream.items()
            if held.handle is not None and (handle := held.handle.native) is not None
        }
        self.scope = scope
        self.runner = runner
        self.call = call
        self.submission = submission

    def _is_local(self) -> bool:
        return self.runner is None or not self.runner.capabilities.processes

    @override
    def block(self) -> Outcome:
        call = self.call
        if self._is_local():
            slot = _slot_of_caller()
            if not call.spec.is_async:
                return call.shim.execute(call, slot)
            return self.scope.background.run(call.shim.execute_async(call, slot))
        return self._through_runner(lambda submission: submission.block_politely())

    def _through_runner(self, wait: Callable[[Submission], object]) -> Outcome:
        submission = Submission(self.call.task_run, frozenset())
        got: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            got.append(outcome)
            submission.finish()

        assert self.runner is not None
        handle = self.runner.submit(self.call, self.upstream)
        self.scope.live[submission] = handle
        try:
            handle.add_done_callback(done)
            wait(submission)
        finally:
            self.scope.dismiss(submission)
        return got[0]

    @override
    async def perform(self) -> Outcome:
        call = self.call
        if self._is_local() and call.spec.is_async:
            return await call.shim.execute_async(call, _slot_of_caller())
        if self._is_local():
            return await asyncio.to_thread(call.shim.execute, call, _slot_of_caller())
        assert self.runner is not None
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outcome] = loop.create_future()
        handle = self.runner.submit(call, self.upstream)

        def done(outcome: Outcome) -> None:
            loop.call_soon_threadsafe(_resolve, waiter, outcome)

        handle.add_done_callback(done)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.runner.cancel(handle)
            raise

    @override
    def detach(self, resume: Resume) -> None:
        assert self.runner is not None
        submit, user_context = self.runner.submit, self.call.user_context
        if user_context is not None and self.call.spec.is_async:
            # A loop takes over the context variables of the thread that hands it a callback, and this is any thread
            # that happened to complete an input.
            handle = user_context.run(submit, self.call, self.upstream)
        else:
            handle = submit(self.call, self.upstream)
        if self.submission is not None:
            self.submission.handle = handle
            if self.submission in self.scope.live:
                self.scope.live[self.submission] = handle
        handle.add_done_callback(resume)


def _resolve(waiter: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not waiter.done():
        waiter.set_result(outcome)


def _slot_of_caller() -> Any:
    caller = current().task_run
    return caller.slot if caller is not None else None


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
        prepared.tags, is_patient=is_patient, transaction=None if staging is None else staging.stamp
    )
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
            handed_over, began = time.time(), time.perf_counter()
            used = {key: held[key].handle for key in held}
            outcome = await Execute(scope, runner, call, submission, held)
        finally:
            if ticket is not None:
                ticket.give_back()
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
        if outcome.lost_worker is not None and scope.slots is not None:
            scope.slots.forget(run.id)
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
        await run_hooks(hooks, (spec.task, run, state), log, RunContext(scope.context, None, prepared.tags))
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
    scope, template, run = prepared.scope, prepared.template, prepared.run
    here = RunContext(scope.context, claim.context, prepared.tags, transaction=prepared.transaction)
    flow_run_count = scope.flow_run.run_count if scope.flow_run is not None else 0
    state = await cached_state(claim, here, scope, prepared.slot if submission is None else None, flow_run_count)
    if state is None:
        return None
    prepared.parameters = {}
    scope.note(state)
    if template.on_completion and template.spec.cache.runs_hooks:
        log = scope.log if scope.log is not None else run_log_for_task(run, scope.recorder)
        outside = RunContext(scope.context, None, prepared.tags)
        await run_hooks(template.on_completion, (template.spec.task, run, state), log, outside)
    return state


async def run_hooks(hooks: Sequence[Hook], args: Sequence[Any], log: RunLog, here: RunContext) -> None:
    """Run state hooks in order; what one raises is logged and hurts nobody."""
    for hook in hooks:
        name = getattr(hook, "__name__", None) or getattr(getattr(hook, "func", None), "__name__", repr(hook))
        log.info("Running hook '%s' in response to entering state '%s'", name, args[-1].name)
        outcome = await Invoke(here, hook, args)
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
    if isinstance(error, TaskTimedOut):
        # The timeout of the flow, or of the task around this one, arrived between the steps.
        state: State[Any] = State(StateType.FAILED, "TimedOut", str(error), state_details=details)
    else:
        state = crashed_state(error, now=utcnow(), details=details)
    state.data = UnpersistedResult(error)
    enter_state(run, state)
    scope.note(state)
    # When the journal itself is what failed, the flow run ends with its error and its traceback.
    cause = None if isinstance(error, BackendError) else error
    get_logger("engine").error("Task run %r crashed: %s", run.name, error, exc_info=cause)
    with contextlib.suppress(BackendError):
        scope.recorder.append(TaskRunEntered(run.id, state))
    return state
