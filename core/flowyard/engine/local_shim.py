"""The shim of the flow's own process: executes a task call where it was made."""

from __future__ import annotations

from flowyard.context import FlowRunContext, Slot
from flowyard.engine.drivers import run_async, run_blocking
from flowyard.engine.scope import Scope
from flowyard.engine.task_run import run_task
from flowyard.task_runners.base import Outcome, TaskCall


class LocalShim:
    """Executes calls in the process of their flow run: states and logs go straight to the journal."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        """Set by the engine as soon as there is one; a scope refers to its shim."""

    def execute(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call in this thread."""
        steps = run_task(call, self._context(), self.scope, slot)
        # Libraries keep traces and log fields in context variables, and expect them in the threads of a pool.
        return run_blocking(steps) if call.user_context is None else call.user_context.run(run_blocking, steps)

    async def execute_async(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call of an async task on the running event loop."""
        return await run_async(run_task(call, self._context(), self.scope, slot))

    def _context(self) -> FlowRunContext | None:
        return self.scope.context if self.scope is not None else None
