"""The steps of a flow run: from the call of the flow to its final state.

Each transition of the flow run is a compare-and-set in the state backend, and a barrier: when it returns, everything
that was recorded before it is on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from flowyard.aio import asyncio, running_loop
from flowyard.context import FlowRunContext, RunContext, current
from flowyard.engine.continuation import Continuation
from flowyard.engine.effects import Call, Raised, Record, SleepUntil, WaitFor
from flowyard.engine.ending import abandon, after_tasks
from flowyard.engine.final_state import final_state_of, unfinished_in
from flowyard.engine.flow_template import FlowCall
from flowyard.engine.invoke import Invoke
from flowyard.engine.local_shim import LocalShim
from flowyard.engine.mirrors import mirror_state
from flowyard.engine.naming import render_name
from flowyard.engine.replay import Earlier
from flowyard.engine.retry_wait import wait_for_retry
from flowyard.engine.scope import Scope
from flowyard.engine.subflows import run_subflow
from flowyard.engine.task_call import run_hooks
from flowyard.engine.watching import WatchedRecorder
from flowyard.exceptions import (
    Abort,
    BackendError,
    FlowyardSignal,
    LeaseLost,
    ParameterTypeError,
    Pause,
    RecordsNotDurable,
    TaskTimedOut,
)
from flowyard.logging.prints import patch_print
from flowyard.logging.run_log import RunLog, run_log_for_flow
from flowyard.ports import Backend, Lease, Recorder
from flowyard.process.backends import PROCESS
from flowyard.process.collecting import COLLECTING
from flowyard.progress import ProgressView, for_flow
from flowyard.results.factory import ResultOrigin
from flowyard.results.handles import UnpersistedResult
from flowyard.results.parameters import is_json, keep_parameters
from flowyard.rules.bookkeeping import enter_state, stamp
from flowyard.rules.crashes import crash_message, crashed_state
from flowyard.schemas.names import random_name
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.runs import FORKED_FROM, FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.settings import get_current_settings
from flowyard.task_runners.base import TaskRunner
from flowyard.telemetry import TELEMETRY


async def run_flow(call: FlowCall) -> State[Any]:
    """Run a flow and return its final state.

    Raises:
        BaseException: what stopped the run from outside (Ctrl-C, SIGTERM, cancellation), after it was recorded as
        Crashed. BackendError: the run could not be recorded.
    """
    parent = current().flow_run
    if parent is None:
        if call.wait_for is not None:
            raise ValueError(
                "`wait_for` is only for flows that are called inside a flow: this one has nothing to wait for"
            )
        return await _Run(call, call.parameters, None, None, call.continuation).to_end()
    scope = parent.scope
    if scope.flow_run is None and not scope.is_remote:  # in a task that was called outside of a flow
        return await _Run(call, call.parameters, None, None).to_end()

    async def execute(parameters: Mapping[str, Any], mirror: TaskRun, continuation: Continuation | None) -> State[Any]:
        return await _Run(call, parameters, scope, mirror, continuation).to_end()

    return await run_subflow(call, scope, execute)


class _Run:
    """A flow run on its way."""

    def __init__(
        self,
        call: FlowCall,
        parameters: Mapping[str, Any],
        parent: Scope | None,
        mirror: TaskRun | None,
        continuation: Continuation | None = None,
    ) -> None:
        self.call = call
        self.continuation = continuation
        self.template = call.template
        self.parameters = parameters
        self.parent = parent
        self.mirror = mirror
        self.settings = get_current_settings()
        self.backend: Backend
        self.lease: Lease
        self.log: RunLog
        self.scope: Scope
        self.context: FlowRunContext | None = None
        self._ends_with_parent = False
        caller = current().task_run
        self._slot = caller.slot if caller is not None else None
        """The place of the task that called this flow, given back while it waits."""

    async def to_end(self) -> State[Any]:
        """Create the run, execute it, and return its final state."""
        self.backend = await Record(lambda: PROCESS.backend(self.settings))
        invalid = self._validate()
        first = State(StateType.PENDING)
        if invalid is not None:
            message = f"Validation of flow parameters failed with error: {invalid}"
            first = State(StateType.FAILED, message=message, data=UnpersistedResult(invalid))
        continued = self.continuation.flow_run if self.continuation is not None else None
        if continued is not None:
            self.flow_run = continued
        else:
            self.flow_run = self._new_flow_run()
            uncarried = self._parameters_beyond_json()
            if uncarried:
                await Record(lambda: self._keep_parameters(uncarried))
            stamp(first, self._ids())
            enter_state(self.flow_run, first)
        self.lease = await Record(lambda: self.backend.control.begin_flow_run(self.template.name, self.flow_run))
        TELEMETRY.flow_run_began(self.flow_run)
        recorder = self.backend.journal.recorder(self.lease)
        self.log = run_log_for_flow(self.flow_run, self.template.name, recorder)
        what = "subflow run" if self.parent is not None else "flow run"
        verb = "Continuing" if continued is not None else "Created"
        self.log.info("%s %s '%s' for flow '%s'", verb, what, self.flow_run.name, self.template.name)
        if invalid is not None:
            self.log.error("Validation of flow parameters failed with error: %s", invalid)
            if continued is not None:
                await self._propose(first)
            else:
                self._mirror_state(first)
            # Whatever state a run begins in, what `begin_flow_run` owns is let go by a final state.
            await self._run_hooks(first)
            return first
        with ExitStack() as stack:
            if self.template.log_prints or (
                self.template.log_prints is None and self.settings.FLOWYARD_LOGGING_LOG_PRINTS
            ):
                stack.enter_context(patch_print())
            progress = self.parent.progress if self.parent is not None else for_flow(self.settings)
            if progress is not None:
                recorder = WatchedRecorder(recorder, progress)
                if self.parent is None:
                    stack.callback(progress.close)
            runner = self.template.task_runner.duplicate()
            runner_stack = ExitStack()
            try:
                self._open_scope(recorder, runner, progress)
                if self.continuation is not None:
                    before = self.continuation
                    self.scope.continuation = before
                    # What was done before may be ten thousand calls, which the collector would walk through often.
                    stack.enter_context(COLLECTING.seldom())
                    self.scope.earlier = await Record(
                        lambda: before.earlier(self.backend.control, self.template.results)
                    )
                if self.parent is None:
                    control = self.backend.control
                    stack.enter_context(PROCESS.commands.watching(self.flow_run.id, control, self._cancel))
                await Record(lambda: runner_stack.enter_context(runner.start()))
                self.scope.runners = runner_stack
                state = await self._attempts()
            except BackendError as error:
                self.log.error("Crash detected! %s", error)
                raise
            except FlowyardSignal:
                raise
            except BaseException as error:
                cancelled = await self._crash(error)
                if cancelled is None:
                    raise
                state = cancelled
            finally:
                await Record(self.scope.close)
                await Record(runner_stack.close)
        return state

    def _cancel(self) -> None:
        self.call.interrupts.is_cancelling = True
        self.log.info("Somebody wants this flow run to end: stopping it")
        self.call.interrupts.stop()

    def _validate(self) -> ParameterTypeError | None:
        if self.template.validate is None:
            return None
        try:
            self.parameters = self.template.validate(self.parameters)
        except ParameterTypeError as error:
            return error
        return None

    def _parameters_beyond_json(self) -> dict[str, Any]:
        recorded = self.flow_run.parameters
        return {name: value for name, value in self.parameters.items() if not is_json(value, recorded[name])}

    def _keep_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Keep the parameters that JSON cannot carry, so that another process can start this run again."""
        key = keep_parameters(self.template.results, self.flow_run.id, parameters)
        self.flow_run.start = replace(self.flow_run.start, parameters_key=key)

    def _new_flow_run(self) -> FlowRun:
        here = current()
        return FlowRun(
            flow_id=UUID(int=0),
            name=random_name(),
            flow_name=self.template.name,
            flow_version=self.template.version,
            parameters=self.template.serialize(self.parameters),
            tags=sorted(here.tags),
            context={FORKED_FROM: str(self.continuation.source.id)} if self.continuation is not None else {},
            policy=self.template.policy,
            parent_task_run_id=self.mirror.id if self.mirror is not None else None,
            start=self.template.start,
        )

    def _open_scope(self, recorder: Recorder, runner: TaskRunner, progress: ProgressView | None) -> None:
        template = self.template
        shim = LocalShim()
        loop = asyncio.get_running_loop() if template.is_async else None
        scope = Scope(
            flow_run=self.flow_run,
            flow_name=template.name,
            recorder=recorder,
            runner=runner,
            settings=self.settings,
            shim=shim,
            background=PROCESS.background,
            loop=loop,
            log=self.log,
            progress=progress,
        )
        shim.scope = scope
        scope.interrupts = self.call.interrupts
        if template.policy.retries:
            scope.earlier = Earlier()
        log_prints = template.log_prints
        if log_prints is None:
            inherited = self.parent.context.log_prints if self.parent is not None and self.parent.context else None
            log_prints = inherited if inherited is not None else self.settings.FLOWYARD_LOGGING_LOG_PRINTS
        scope.context = self.context = FlowRunContext(
            flow=template.flow,
            flow_run=self.flow_run,
            parameters=self.parameters,
            task_runner=runner,
            log_prints=log_prints,
            is_async=template.is_async,
            entry_loop=running_loop(),
            recorder=recorder,
            scope=scope,
        )
        scope.results = template.results
        self.scope = scope

    async def _attempts(self) -> State[Any]:
        """Call the flow's function until the run has a final state."""
        args, kwargs = self.template.signature.to_call(self.parameters)
        here = RunContext(self.scope.context, None, current().tags)
        while True:
            self._set_deadline()
            if self.context is not None:
                self.context.pauses = 0
            before = self.flow_run.state
            is_retry = before is not None and (before.name == "AwaitingRetry" or before.is_final())
            answer = await self._propose(State(StateType.RUNNING, name="Retrying" if is_retry else None))
            if answer.status is Verdict.ABORT:
                raise Abort(answer.reason)
            running = answer.state
            if running is not None and running.is_cancelling():
                return await self._cancelled()
            if running is None or not running.is_running():
                if running is not None and running.is_cancelled():
                    self.log.info("The flow run was cancelled")
                    await self._run_hooks(running, of=StateType.CANCELLING)
                return running or State(StateType.PENDING)
            if self.flow_run.run_count == 1 and self.template.flow_run_name is not None:
                renamed = await Invoke(here, self._rename, ())  # it waits for the state backend
                value = renamed if isinstance(renamed, Raised) else None
            else:
                value = None
            await self._run_hooks(running)
            if value is None:
                left, limit = self.scope.seconds_left(), self.scope.timeout_seconds
                value = await Call(here, self.template.fn, args, kwargs, timeout=left, limit=limit, kind="Flow")
            if isinstance(value, Raised) and isinstance(value.error, TaskTimedOut) and self.scope.is_overdue():
                # What the flow called ends with the flow's own deadline, and may be the first to say so.
                value = Raised(value.error, is_timeout=True, is_stuck=value.is_stuck)
            if isinstance(value, Raised) and not isinstance(value.error, (Exception, Pause)):
                raise value.error
            value = await after_tasks(self.scope, value, self._slot)
            if isinstance(value, Raised) and isinstance(value.error, Pause):
                if value.error.state is not None and value.error.state.is_cancelling():
                    return await self._cancelled()
                suspended = await self._suspended(value.error)
                if suspended.is_paused():
                    return suspended
                value = Raised(RuntimeError(suspended.message))
            if not isinstance(value, Raised) and self.scope.feed_errors:
                value = Raised(self.scope.feed_errors[0])
            if self.scope.exit_request is not None:
                raise self.scope.exit_request
            proposed = await self._proposed_state(value)
            answer = await self._propose(proposed)
            state = answer.state if answer.state is not None else proposed
            if answer.status is Verdict.ABORT:
                raise Abort(answer.reason)
            if state.is_final() or state.is_paused():
                level = logging.INFO if state.is_completed() else logging.ERROR
                self.log.log(level, "Finished in state %s", str(state))
                await self._run_hooks(state)
                return state
            if state.is_cancelling():  # the flow's function has caught what was to stop it
                return await self._cancelled()
            self.log.info(
                "Received non-final state %r when proposing final state %r and will attempt to run again...",
                state.name,
                proposed.name,
            )
            if state.state_details.scheduled_time is not None:
                await wait_for_retry(self.backend.control, self.flow_run.id, state.state_details.scheduled_time)
            self.scope.begin_attempt()

    async def _suspended(self, pause: Pause) -> State[Any]:
        """Leave the process as the flow asked: Paused, or a Failed state that says why not.

        What was under way has ended: a suspended run has no owner who could record it.
        """
        answer = await self._propose(pause.state)
        if answer.status is Verdict.ACCEPT:
            self.log.info("Suspended the flow run: it goes on in a new process when it is resumed")
            return pause.state
        return State(StateType.FAILED, message=f"the flow run cannot be suspended: {answer.reason}")

    async def _proposed_state(self, value: Any) -> State[Any]:
        if isinstance(value, Raised):
            return self._failed(value)
        unfinished = unfinished_in(value)
        if unfinished:
            await WaitFor(unfinished, self._slot)
        origin = ResultOrigin(flow_run=self.flow_run, parameters=self.parameters)
        keep = self.template.results.create_result
        try:
            return await Record(lambda: final_state_of(value, self.scope, lambda kept: keep(kept, origin)))
        except Exception as error:
            return self._failed(Raised(error))

    def _failed(self, raised: Raised) -> State[Any]:
        error = raised.error
        if raised.is_timeout:
            message = f"Flow run exceeded timeout of {self.template.timeout_seconds} seconds"
            if self._ends_with_parent:
                message = "Flow run exceeded timeout of the flow that called it"
            if raised.is_stuck:
                message += "; its thread is blocked outside of Python code and could not be interrupted"
            return State(StateType.FAILED, name="TimedOut", message=message, data=self._keep(error))
        # What the state backend refuses, it refuses again in a moment: the run ends with that error and its traceback.
        is_repeated = isinstance(error, (RecordsNotDurable, LeaseLost))
        self.log.error("Encountered exception during execution:", exc_info=None if is_repeated else error)
        message = f"Flow run encountered an exception. {type(error).__name__}: {error}"
        return State(StateType.FAILED, message=message, data=self._keep(error))

    def _keep(self, error: BaseException) -> Any:
        origin = ResultOrigin(flow_run=self.flow_run, parameters=self.parameters, state_type=StateType.FAILED)
        try:
            return self.template.results.create_result(error, origin)
        except Exception as unkept:
            self.log.warning("The exception of the flow run could not be persisted: %s", unkept)
            kept: Any = UnpersistedResult(error)
            return kept

    async def _crash(self, error: BaseException) -> State[Any] | None:
        """Record that something from outside ended the run; return the state of one that was cancelled."""
        cause = error if isinstance(error, Exception) else self.call.interrupts.signal or error
        if self.scope.is_cancelling and self.parent is not None:
            await abandon(self.scope, cause)
            await self._cancelled()
            return None  # what stopped this one stops its parent, too
        if isinstance(error, TaskTimedOut):
            # The timeout of the flow that called this one arrived between the steps.
            state = self._failed(Raised(error, is_timeout=True))
        else:
            state = crashed_state(cause, now=utcnow())
            state.data = UnpersistedResult(error)
            if not self.scope.is_cancelling:
                self.log.error("Crash detected! %s", crash_message(cause))
        await abandon(self.scope, cause)
        answer = await self._propose(state)
        if answer.status is Verdict.ACCEPT:
            await self._run_hooks(state)
            return None
        return await self._cancelled() if answer.state is not None and answer.state.is_cancelling() else None

    async def _cancelled(self) -> State[Any]:
        """Record that somebody wanted the run to end, and it has."""
        state = State(StateType.CANCELLED, message="The flow run was cancelled.")
        await self._propose(state)
        self.log.info("The flow run was cancelled")
        # The hooks belong to the wish; when they run, what it wished for has happened.
        await self._run_hooks(state, of=StateType.CANCELLING)
        return state

    def _set_deadline(self) -> None:
        """Give each attempt the flow's whole timeout, but no more than the flow that called it has left."""
        timeout = self.template.timeout_seconds
        own = None if timeout is None else utcnow() + timedelta(seconds=timeout)
        parents = self.parent.deadline if self.parent is not None else None
        self._ends_with_parent = parents is not None and (own is None or parents < own)
        self.scope.deadline = parents if self._ends_with_parent else own
        around = self.parent.timeout_seconds if self.parent is not None else None
        self.scope.timeout_seconds = around if self._ends_with_parent else timeout

    def _rename(self) -> None:
        template = self.template.flow_run_name
        assert template is not None
        name = render_name(template, self.parameters, "flow_run_name")
        self.log.debug("Renamed flow run %r to %r", self.flow_run.name, name)
        self.flow_run.name = name
        self.backend.control.update_flow_run(self.flow_run.id, name=name)

    # --- states -----------------------------------------------------------------------------------------------

    def _ids(self) -> StateDetails:
        return StateDetails(
            flow_run_id=self.flow_run.id, task_run_id=self.mirror.id if self.mirror is not None else None
        )

    async def _propose(self, state: State[Any]) -> OrchestrationResult:
        """Propose a state of the flow run; the backend decides, and this process follows."""
        stamp(state, self._ids())
        while True:
            answer = await Record(
                lambda: self.backend.control.propose_flow_run_state(self.flow_run.id, state, lease=self.lease)
            )
            if answer.status is not Verdict.WAIT:
                break
            await SleepUntil(utcnow() + timedelta(seconds=answer.delay_seconds))
        entered = answer.state
        if entered is not None and (self.flow_run.state is None or entered.id != self.flow_run.state.id):
            if entered.data is None:
                entered.data = state.data
            enter_state(self.flow_run, entered)
            TELEMETRY.entered(entered)
            self._mirror_state(entered)
        return answer

    def _mirror_state(self, state: State[Any]) -> None:
        if self.parent is not None and self.mirror is not None:
            mirror_state(self.parent, self.mirror, state, self.flow_run.id)

    async def _run_hooks(self, state: State[Any], *, of: StateType | None = None) -> None:
        hooks = self.template.hooks.get(of or state.type, ())
        if hooks:
            here = RunContext(self.context, None, current().tags)
            arguments = {"flow": self.template.flow, "flow_run": self.flow_run, "state": state}
            await run_hooks(hooks, arguments, self.log, here)
