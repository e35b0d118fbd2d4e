"""The shim of a worker: executes a task call that came from another process. Runners load it by name."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from flowyard.context import FlowRunContext, Slot
from flowyard.engine.drivers import run_async, run_blocking
from flowyard.engine.local_shim import LocalShim
from flowyard.engine.scope import Scope
from flowyard.engine.task_run import run_task
from flowyard.ports import ControlPlane
from flowyard.process.backends import PROCESS
from flowyard.process.loops import BackgroundLoop
from flowyard.results.packs import Packs
from flowyard.settings import Settings, get_current_settings
from flowyard.task_runners.base import Outcome, TaskCall
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.upcalls.channel import UpcallChannel
from flowyard.upcalls.worker import upcall_control_plane


class WorkerScope(Scope):
    """The bookkeeping for what a task calls: nested tasks run here, and ride in its outcome.

    Hardly a task calls another one. So what every call needs is made at once, and the rest, a dozen objects that take
    30 microseconds, when the first attribute is asked for that is not there yet.
    """

    def __init__(  # pyright: ignore[reportMissingSuperCall]  see `__getattr__`
        self,
        call: TaskCall,
        *,
        runner: SequentialTaskRunner,
        control: ControlPlane,
        background: BackgroundLoop,
        packs: Packs,
    ) -> None:
        self._call = call
        self.sent_task_run_id = call.task_run.id
        self._worker_loop = background
        self._making = threading.RLock()
        self._used: ExitStack | None = None
        self.control = control
        self.packs = packs
        self.dropped = set()
        flow_run = self.flow_run = call.context.flow_run
        self.context = None
        if flow_run is not None:
            self.context = FlowRunContext(
                flow=None,
                flow_run=flow_run,
                parameters=flow_run.parameters,
                task_runner=runner,
                log_prints=call.spec.log_prints,
                recorder=call.recorder,
                scope=self,
            )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with self._making:
            if self._used is None:
                used = ExitStack()
                self._make_whole(used)
                self._used = used
        return object.__getattribute__(self, name)

    def _make_whole(self, used: ExitStack) -> None:
        call, context = self._call, self.context
        inner = LocalShim()
        super().__init__(
            flow_run=call.context.flow_run,
            flow_name=call.context.flow_name,
            recorder=call.recorder,
            runner=used.enter_context(SequentialTaskRunner().start()),
            settings=get_current_settings(),
            shim=inner,
            background=self._worker_loop,
            deadline=call.context.deadline,
            is_remote=True,
            packs=self.packs,
            control=self.control,
        )
        self.timeout_seconds = call.context.flow_timeout_seconds
        inner.scope = self
        self.context = context

    def leave(self) -> None:
        """Let go of what was made: the task has ended."""
        if self._used is not None:
            self._used.close()


class WorkerShim:
    """Executes calls that came from another process; `call.recorder` brings their events home."""

    def __init__(self) -> None:
        self._background = BackgroundLoop()
        self._packs = Packs()
        self._runner = SequentialTaskRunner()
        """What tasks are told that the tasks they call run on; each that calls one has a runner of its own."""
        self._control: tuple[UpcallChannel | None, Settings, ControlPlane] | None = None

    def execute(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call in this thread."""
        scope = self._scope(call)
        try:
            with _known_to_threads(scope):
                return run_blocking(run_task(call, scope.context, scope, slot))
        finally:
            scope.leave()

    async def execute_async(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call of an async task on the running event loop."""
        scope = self._scope(call)
        try:
            with _known_to_threads(scope):
                return await run_async(run_task(call, scope.context, scope, slot))
        finally:
            scope.leave()

    def _scope(self, call: TaskCall) -> WorkerScope:
        control = self._control_of(call)
        return WorkerScope(call, runner=self._runner, control=control, background=self._background, packs=self._packs)

    def _control_of(self, call: TaskCall) -> ControlPlane:
        """Return what stands for the control plane of the flow's process; the calls of a flow run mostly share it."""
        settings, made = get_current_settings(), self._control
        if made is None or made[0] is not call.upcalls or made[1] is not settings:
            timeout = settings.FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS
            made = self._control = call.upcalls, settings, upcall_control_plane(call.upcalls, timeout=timeout)
        return made[2]


def _known_to_threads(scope: Scope) -> AbstractContextManager[None]:
    assert scope.control is not None
    flow_run = scope.flow_run
    return PROCESS.remote_calls.executing(None if flow_run is None else flow_run.id, scope.control)


def shim() -> Any:
    """Return the shim of a worker process; runners load it by the name of this function."""
    return WorkerShim()
