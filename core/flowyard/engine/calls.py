"""Starting flows and tasks: what `Flow.__call__`, `Task.__call__`, `Task.submit` and `Task.map` do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from flowyard.aio import asyncio, running_loop
from flowyard.context import current
from flowyard.duality import returns_awaitable
from flowyard.engine.completion import Completion
from flowyard.engine.continuation import Continuation
from flowyard.engine.drivers import run_async, run_blocking, run_detached
from flowyard.engine.flow_template import FlowCall, FlowTemplate
from flowyard.engine.local_shim import LocalShim
from flowyard.engine.prepared import PreparedCall, TaskTemplate
from flowyard.engine.scope import Scope
from flowyard.engine.signals import listening
from flowyard.engine.submission import Revival, Submission
from flowyard.engine.task_call import call_task, can_be_made_again, crash_run
from flowyard.engine.tracebacks import hide_engine
from flowyard.engine.tracing import run_traced_flow
from flowyard.exceptions import MissingContextError, TerminationSignal
from flowyard.process.backends import PROCESS
from flowyard.schemas.states import State
from flowyard.settings import get_current_settings
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.sequential import SequentialTaskRunner

S = TypeVar("S", bound=Submission)


# --- flows ------------------------------------------------------------------------------------------------------


def call_flow(
    template: FlowTemplate, parameters: Mapping[str, Any], wait_for: Iterable[Any] | None, *, return_state: bool
) -> Any:
    """Run a flow: its value (or, with `return_state`, its final state), or an awaitable of that."""
    if template.is_async:
        running = _flow_async(template, parameters, wait_for, return_state=return_state)
        return running if returns_awaitable(True) else PROCESS.background.run(running)
    parent = _parent()
    if parent is not None:
        state = run_blocking(run_traced_flow(FlowCall(template, parameters, wait_for, parent.interrupts)))
    else:
        with listening() as interrupts:
            state = run_blocking(run_traced_flow(FlowCall(template, parameters, wait_for, interrupts)))
    return _flow_answer(state, parent, return_state)


def continue_flow(template: FlowTemplate, parameters: Mapping[str, Any], continuation: Continuation) -> State[Any]:
    """Run a flow from where an earlier run left it, outside of any run, and return its final state."""
    if current().flow_run is not None:
        raise RuntimeError("a flow run cannot be started again inside of a flow: call this from a script")
    if template.is_async:
        running = _flow_async(template, parameters, None, return_state=True, continuation=continuation)
        is_free = running_loop() is None
        return asyncio.run(running) if is_free else PROCESS.background.run(running)
    with listening() as interrupts:
        return run_blocking(run_traced_flow(FlowCall(template, parameters, None, interrupts, continuation)))


def _parent() -> Scope | None:
    """Return the bookkeeping of the flow run that a flow called here becomes a child of."""
    parent = current().flow_run
    return parent.scope if parent is not None else None


def _flow_answer(state: State[Any], parent: Scope | None, return_state: bool) -> Any:
    if return_state:
        return state
    value = state.result()
    mirror_id = state.state_details.task_run_id
    if parent is not None and mirror_id is not None:
        parent.lineage.add(value, mirror_id)
    return value


async def _flow_async(
    template: FlowTemplate,
    parameters: Mapping[str, Any],
    wait_for: Iterable[Any] | None,
    *,
    return_state: bool,
    continuation: Continuation | None = None,
) -> Any:
    parent = _parent()
    if parent is not None:
        state = await run_async(run_traced_flow(FlowCall(template, parameters, wait_for, parent.interrupts)))
    else:
        with listening(asyncio.current_task()) as interrupts:
            try:
                call = FlowCall(template, parameters, wait_for, interrupts, continuation)
                state = await run_async(run_traced_flow(call))
            except asyncio.CancelledError as error:
                if isinstance(interrupts.signal, TerminationSignal):
                    raise interrupts.signal from error
                raise
    try:
        return _flow_answer(state, parent, return_state)
    except Exception as error:
        hide_engine(error)
        raise


# --- tasks ------------------------------------------------------------------------------------------------------


def call_task_now(
    template: TaskTemplate, parameters: Mapping[str, Any], wait_for: Iterable[Any] | None, *, return_state: bool
) -> Any:
    """Run a task and wait for it: its value (or, with `return_state`, its state), or an awaitable of that."""
    if template.spec.is_async and returns_awaitable(True):
        return _task_async(template, parameters, wait_for, return_state=return_state)
    scope = _scope_here()
    if scope is None:
        with ExitStack() as stack:
            scope = _autonomous_scope(stack, None)
            prepared = PreparedCall(scope, template, parameters, wait_for)
            try:
                state = run_blocking(call_task(prepared, None, None))
            except BaseException as error:
                crash_run(scope, prepared.run, error)
                raise
    else:
        prepared = PreparedCall(scope, template, parameters, wait_for)
        scope.enter_call(prepared.run)
        try:
            state = run_blocking(call_task(prepared, scope.runner_for(template.runner), None))
        except BaseException as error:  # an interrupt between the steps, or a wait that would never end
            crash_run(scope, prepared.run, error)
            raise
        finally:
            scope.leave_call(prepared.run)
    return _answer(prepared, state, return_state)


async def _task_async(
    template: TaskTemplate, parameters: Mapping[str, Any], wait_for: Iterable[Any] | None, *, return_state: bool
) -> Any:
    scope = _scope_here()
    if scope is None:
        with ExitStack() as stack:
            scope = _autonomous_scope(stack, asyncio.current_task())
            prepared = PreparedCall(scope, template, parameters, wait_for)
            try:
                state = await run_async(call_task(prepared, None, None))
            except BaseException as error:
                crash_run(scope, prepared.run, error)
                raise
    else:
        prepared = PreparedCall(scope, template, parameters, wait_for)
        scope.enter_call(prepared.run)
        try:
            runner = await asyncio.to_thread(scope.runner_for, template.runner) if template.runner else scope.runner
            state = await run_async(call_task(prepared, runner, None))
        except BaseException as error:
            crash_run(scope, prepared.run, error)
            raise
        finally:
            scope.leave_call(prepared.run)
    try:
        return _answer(prepared, state, return_state)
    except asyncio.CancelledError as error:
        if scope.flow_run is None and isinstance(scope.interrupts.signal, TerminationSignal):
            raise scope.interrupts.signal from error
        raise
    except Exception as error:
        hide_engine(error)
        raise


def _is_stopped(state: State[Any]) -> bool:
    return state.is_crashed() or state.is_cancelled()


def _answer(prepared: PreparedCall, state: State[Any], return_state: bool) -> Any:
    if not return_state:
        value = state.result()
        prepared.scope.lineage.add(value, prepared.run.id)
        return value
    if _is_stopped(state):
        # A cancellation or Ctrl-C must reach who waits, or the loop could not be left any more.
        error = state.result(raise_on_failure=False)
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            raise error
    return state


class Submitter(Generic[S]):
    """Submits calls of one task from one place: what they share is looked up once."""

    def __init__(
        self, template: TaskTemplate, make_future: Callable[..., S], task_runner: TaskRunner | None = None
    ) -> None:
        """Find the flow run that this is in, and the runner of the task.

        Raises:
            MissingContextError: this is not inside a flow.
        """
        scope = _scope_here()
        if scope is None or scope.runner is None:
            raise MissingContextError(
                f"task {template.spec.name!r} cannot be submitted here: there is no flow run whose task runner could "
                "take it; call the task directly, or submit it inside a flow"
            )
        self.scope = scope
        self.template = template
        self.runner = scope.runner_for(task_runner or template.runner) or scope.runner
        self._make_future = make_future
        self._wait_for: list[Any] | None = None
        self._mapped_from: Mapping[str, list[dict[str, str]]] | None = None
        self._loop = loop = scope.loop_for(template.spec.is_async)
        self._loops: frozenset[asyncio.AbstractEventLoop] = frozenset() if loop is None else frozenset({loop})

    def sharing(
        self, wait_for: list[Any] | None, mapped_from: Mapping[str, list[dict[str, str]]] | None
    ) -> Submitter[S]:
        """Return the same for calls that all wait for some runs, or were mapped from some: what `submit` then adds."""
        self._wait_for = wait_for
        self._mapped_from = mapped_from
        return self

    def submit(
        self,
        parameters: Mapping[str, Any],
        wait_for: Iterable[Any] | None = None,
        mapped_from: Mapping[str, list[dict[str, str]]] | None = None,
        identity: tuple[str, str] | None = None,
        runner: TaskRunner | None = None,
    ) -> S:
        """Hand a call to the runner and return its future at once.

        `identity` is the dynamic key and the name of the run, where a map gave them out; `runner` may stand before
        the runner.
        """
        scope, template = self.scope, self.template
        prepared = PreparedCall(scope, template, parameters, wait_for, mapped_from, identity)
        prepared.loop = self._loop
        prepared.user_context = copy_context()
        future = self._make_future(prepared.run, self._loops | prepared.loops)
        future.runner = self.runner
        future.hands_on_early = template.hands_on_early
        scope.admit(future)
        if prepared.transaction is not None:
            prepared.transaction.submitted(future)
        if scope.progress is not None:
            scope.progress.submitted(template.spec.name)

        def failed(error: BaseException) -> None:
            future.settle(crash_run(scope, prepared.run, error))
            scope.dismiss(future)

        run_detached(_follow(prepared, scope, runner or self.runner, future), failed)
        signal = scope.interrupts.signal
        if signal is not None and future.settled_state is not None and _is_stopped(future.settled_state):
            # Ctrl-C hit the task while a sequential runner executed it right here: the flow is what it was meant for.
            raise signal
        return future


async def _follow(prepared: PreparedCall, scope: Scope, runner: TaskRunner | None, future: Submission) -> None:
    state = await call_task(prepared, runner, future)
    if state.is_completed() and can_be_made_again(prepared, runner):
        left = prepared.template.policy.crash_retries - prepared.attempts_lost
        future.revival = Revival(future, left, lambda made: _make_again(prepared, scope, runner, future, made))
    future.settle(state)
    scope.dismiss(future)


def _make_again(
    prepared: PreparedCall, scope: Scope, runner: TaskRunner | None, future: Submission, made: Completion
) -> None:
    """Run a completed call once more, because its value was lost; `made` becomes done with it."""

    def settle(state: State[Any]) -> None:
        future.settled_state = state
        made.finish()
        scope.dismiss(future)

    async def again() -> None:
        settle(await call_task(prepared, runner, future, is_revival=True))

    stops: list[BaseException] = []

    def failed(error: BaseException) -> None:
        if not isinstance(error, Exception):
            stops.append(error)
        settle(crash_run(scope, prepared.run, error))

    scope.admit(future)
    prepared.attempts_lost += 1
    prepared.resubmissions += 1
    run_detached(again(), failed)
    if stops and scope.interrupts.signal is not None:
        # Ctrl-C or SIGTERM hit right here, in the steps of a call that needs the value: the flow is what it is for.
        raise stops[0]


def _scope_here() -> Scope | None:
    here = current()
    run = here.task_run or here.flow_run
    return run.scope if run is not None else None


def _autonomous_scope(stack: ExitStack, task: asyncio.Task[Any] | None) -> Scope:
    """Return the bookkeeping of a task outside of any flow; its records are on disk when the stack closes.

    `task` executes it, if it is async.
    """
    settings = get_current_settings()
    interrupts = stack.enter_context(listening(task))
    backend = PROCESS.backend(settings)
    shim = LocalShim()
    runner = SequentialTaskRunner()
    stack.callback(backend.journal.flush)
    stack.enter_context(runner.start())
    scope = Scope(
        flow_run=None,
        recorder=backend.journal.recorder(None),
        runner=runner,
        settings=settings,
        shim=shim,
        background=PROCESS.background,
    )
    shim.scope = scope
    scope.interrupts = interrupts
    return scope
