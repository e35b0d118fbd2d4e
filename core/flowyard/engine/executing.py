"""Having a call executed, in each of the three ways in which steps wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio, running_loop
from flowyard.context import current
from flowyard.engine.effects import Effect, Resume
from flowyard.engine.scope import Scope
from flowyard.engine.submission import Submission
from flowyard.exceptions import CancelledRun, WouldDeadlock
from flowyard.task_runners.base import (
    Outcome,
    TaskCall,
    TaskRunner,
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
        runner = self.runner
        assert runner is not None
        loop = running_loop()
        if loop is not None and runner.waits_for_loop(None, loop, _slot_of_caller()):
            raise WouldDeadlock(self.call.task_run.name, lacks_place=True)
        submission = Submission(self.call.task_run, frozenset())
        got: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            got.append(outcome)
            submission.finish()

        submission.runner = runner
        self.scope.admit(submission)  # before a runner takes its time: this may be a thread beside the flow's function
        try:
            handle = runner.submit(self.call, self.upstream)
            if submission in self.scope.live:
                self.scope.live[submission] = handle
            handle.add_done_callback(done)
            try:
                wait(submission)
            except BaseException as error:
                if not isinstance(error, Exception):  # not a timeout: the call knows of it
                    runner.cancel(handle)
                raise
        finally:
            self.scope.dismiss(submission)
        if not got:
            raise CancelledRun("The flow run has ended while the task was under way.")
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
            # Not here: a runner may have to ask its workers, through this very loop even.
            await asyncio.shield(loop.run_in_executor(None, self.runner.cancel, handle))
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
