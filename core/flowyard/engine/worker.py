"""The shim of a worker: executes a task call that came from another process. Runners load it by name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from flowyard.context import FlowRunContext, Slot
from flowyard.engine.drivers import run_async, run_blocking
from flowyard.engine.local_shim import LocalShim
from flowyard.engine.scope import Scope
from flowyard.engine.task_run import run_task
from flowyard.process.backends import PROCESS
from flowyard.process.loops import BackgroundLoop
from flowyard.results.packs import Packs
from flowyard.settings import get_current_settings
from flowyard.task_runners.base import Outcome, TaskCall
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.upcalls.worker import upcall_control_plane


class WorkerShim:
    """Executes calls that came from another process; `call.recorder` brings their events home."""

    def __init__(self) -> None:
        self._background = BackgroundLoop()
        self._packs = Packs()

    def execute(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call in this thread."""
        runner = SequentialTaskRunner()
        with runner.start():
            scope = self._scope(call, runner)
            with _known_to_threads(scope):
                return run_blocking(run_task(call, scope.context, scope, slot))

    async def execute_async(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call of an async task on the running event loop."""
        runner = SequentialTaskRunner()
        with runner.start():
            scope = self._scope(call, runner)
            with _known_to_threads(scope):
                return await run_async(run_task(call, scope.context, scope, slot))

    def _scope(self, call: TaskCall, runner: SequentialTaskRunner) -> Scope:
        """Return the bookkeeping for what the task calls: nested tasks run here, and ride in its outcome."""
        inner = LocalShim()
        flow_run = call.context.flow_run
        settings = get_current_settings()
        scope = Scope(
            flow_run=flow_run,
            flow_name=call.context.flow_name,
            recorder=call.recorder,
            runner=runner,
            settings=settings,
            shim=inner,
            background=self._background,
            deadline=call.context.deadline,
            is_remote=True,
            packs=self._packs,
            control=upcall_control_plane(call.upcalls, timeout=settings.FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS),
        )
        inner.scope = scope
        if flow_run is not None:
            scope.context = FlowRunContext(
                flow=None,
                flow_run=flow_run,
                parameters=flow_run.parameters,
                task_runner=runner,
                log_prints=call.spec.log_prints,
                recorder=call.recorder,
                scope=scope,
            )
        return scope


def _known_to_threads(scope: Scope) -> AbstractContextManager[None]:
    assert scope.control is not None
    flow_run = scope.flow_run
    return PROCESS.remote_calls.executing(None if flow_run is None else flow_run.id, scope.control)


def shim() -> Any:
    """Return the shim of a worker process; runners load it by the name of this function."""
    return WorkerShim()
