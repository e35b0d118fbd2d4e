"""One task at a time, in the order of submission."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.process.loops import BackgroundLoop
from flowyard.task_runners.base import Handle, Outcome, TaskCall, TaskConcurrencyType, TaskRunner
from flowyard.task_runners.outcomes import cancelled, crashed


class SequentialTaskRunner(TaskRunner):
    """Executes a call where and when it is submitted.

    An async task of an async flow runs on the flow's loop, after the async tasks that were submitted before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._background = BackgroundLoop()
        self._last: asyncio.Task[None] | None = None

    @property
    @override
    def concurrency_type(self) -> TaskConcurrencyType:
        return TaskConcurrencyType.SEQUENTIAL

    @override
    def options(self) -> dict[str, Any]:
        return {}

    @override
    def capacity(self) -> int | None:
        return 1

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        self._require_started()
        handle = Handle(call.task_run.id)
        if not call.spec.is_async:
            handle.complete(call.shim.execute(call))
        elif call.loop is None:
            handle.complete(self._background.run(call.shim.execute_async(call)))
        else:
            call.loop.call_soon_threadsafe(self._enqueue, call, handle)
        return handle

    def _enqueue(self, call: TaskCall, handle: Handle) -> None:
        # Always on the flow's loop, so `_last` needs no lock.
        self._last = asyncio.get_running_loop().create_task(self._run_after(self._last, call, handle))

    async def _run_after(self, before: asyncio.Task[None] | None, call: TaskCall, handle: Handle) -> None:
        if before is not None:
            await asyncio.wait([before])
        if handle.outcome is not None:
            return
        outcome: Outcome | None = None
        try:
            outcome = await call.shim.execute_async(call)
        except BaseException as error:  # a shim does not raise; if it does, nobody may wait for ever
            outcome = crashed(call, error)
            raise
        finally:
            handle.complete(outcome or cancelled(call))

    @override
    def cancel(self, handle: Handle) -> bool:
        return False

    @override
    def _start(self, stack: ExitStack) -> None:
        stack.callback(self._background.close)
