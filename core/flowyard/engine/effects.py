"""What steps may ask for, and the three ways to do it.

Steps are `async def` functions that await effects and nothing else. A driver (`engine.drivers`) performs each effect by
blocking its thread, by really awaiting on an event loop, or detached: by going on when a callback comes.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextvars import copy_context
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.context import RunContext, Slot, enter, leave
from flowyard.engine.completion import Completion, when_all_done
from flowyard.engine.submission import Submission
from flowyard.exceptions import TaskTimedOut
from flowyard.process.interrupts import StopSwitch, raise_in_thread
from flowyard.schemas.runs import utcnow

T = TypeVar("T")
Resume = Callable[[Any], None]

_GRACE_SECONDS = 0.5
"""How long a timed-out function in Python code has to leave before it is called stuck."""


class Raised:
    """What a `Call` gives when the function raised: a coroutine could not be thrown a StopIteration."""

    __slots__ = ("error", "is_stuck", "is_timeout")

    def __init__(self, error: BaseException, *, is_timeout: bool = False, is_stuck: bool = False) -> None:
        self.error = error
        self.is_timeout = is_timeout
        self.is_stuck = is_stuck
        """The function did not react to its timeout and still runs in an abandoned thread."""


class Thrown(Raised):
    """An error of an effect itself: a driver throws it into the steps."""


class Effect(Generic[T]):
    """Something a step waits for."""

    __slots__ = ()

    def __await__(self) -> Generator[Effect[T], T, T]:
        return (yield self)

    def block(self) -> T:
        """Do it in this thread."""
        raise NotImplementedError

    async def perform(self) -> T:
        """Do it on the running event loop, without blocking it."""
        raise NotImplementedError

    def detach(self, resume: Resume) -> None:
        """Start it, and call `resume` with its value from any thread, once, maybe before this returns.

        What blocks and has no callback of its own gets a thread; hooks and barriers of submitted tasks are rare.
        """

        def work() -> None:
            resume(_guarded(self.block))

        threading.Thread(target=work, name="flowyard-detached", daemon=True).start()


def _guarded(function: Callable[[], T]) -> T | Thrown:
    try:
        return function()
    except BaseException as error:
        return Thrown(error)


class Call(Effect[Any]):
    """Call a user's function in a run context; gives its value or `Raised`. About 1 microsecond around the function.

    An `async def` function needs the async driver, which calls a plain one on the loop; generators become lists.
    """

    __slots__ = ("args", "context", "fn", "kind", "kwargs", "limit", "stop", "timeout")

    def __init__(
        self,
        context: RunContext,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        limit: float | None = None,
        kind: str = "Task",
        stop: StopSwitch | None = None,
    ) -> None:
        self.context = context
        self.fn = fn
        self.args = args
        self.kwargs = kwargs or {}
        self.timeout = timeout
        self.limit = timeout if limit is None else limit
        """What the user set, where `timeout` is what is left of it: the error names this."""
        self.kind = kind
        self.stop = stop
        """Stops the function from outside; None where nobody will."""

    @override
    def block(self) -> Any:
        if self.timeout is not None:
            return self._block_with_timeout(self.timeout)
        token = enter(self.context)
        try:
            try:
                if self.stop is not None:
                    self.stop.entered()
                value = self.fn(*self.args, **self.kwargs)
                if inspect.isgenerator(value):
                    value = list(cast("Generator[Any]", value))
            finally:
                if self.stop is not None:
                    self.stop.left()
        except BaseException as error:  # the steps decide what it means
            return Raised(_without_this_frame(error))
        else:
            return value
        finally:
            leave(token)

    def _block_with_timeout(self, timeout: float) -> Any:
        """Call the function in a thread of its own, so that the caller gets away on time whatever it does.

        On time-out the function is interrupted where it executes Python code. One that is blocked in a C call cannot
        be; it is abandoned (its thread is a daemon) and the state says so.
        """
        untimed = Call(self.context, self.fn, self.args, self.kwargs, stop=self.stop)
        done = Completion()
        outcome: list[Any] = []
        user_context = copy_context()
        limit = timeout if self.limit is None else self.limit
        interruption = _interruption(self.kind, limit)

        def work() -> None:
            try:
                outcome.append(user_context.run(untimed.block))
            except interruption:  # it came when the function had just ended: too late to matter
                pass
            finally:
                done.finish()

        thread = threading.Thread(target=work, name=f"flowyard-timed-{self.kind.lower()}", daemon=True)
        thread.start()
        if done.block(timeout):
            return outcome[0]
        error = TaskTimedOut(self.kind, limit)
        raise_in_thread(thread, interruption)
        # The exception arrives between two bytecodes; user code may catch it, or be in a C call that never returns.
        is_stuck = not done.block(_GRACE_SECONDS)
        return Raised(error, is_timeout=True, is_stuck=is_stuck)

    @override
    async def perform(self) -> Any:
        token = enter(self.context)
        scope = asyncio.timeout(self.timeout)
        try:
            if self.stop is not None:
                self.stop.entered(asyncio.current_task())
            async with scope:
                made = self.fn(*self.args, **self.kwargs)
                if inspect.isasyncgen(made):
                    return [item async for item in cast("AsyncGenerator[Any]", made)]
                value = await made if inspect.isawaitable(made) else made
                return list(cast("Generator[Any]", value)) if inspect.isgenerator(value) else value
        except TimeoutError as error:
            if scope.expired() and self.limit is not None:
                return Raised(TaskTimedOut(self.kind, self.limit), is_timeout=True)
            return Raised(_without_this_frame(error))
        except BaseException as error:
            return Raised(_without_this_frame(error))
        finally:
            if self.stop is not None:
                self.stop.left()
            # A generator-based runner may finish this coroutine in another context; the variable dies with it then.
            with contextlib.suppress(ValueError):
                leave(token)


def _interruption(kind: str, seconds: float) -> type[TaskTimedOut]:
    """Return a class to raise in another thread: CPython makes the instance there, and hands it no arguments."""

    class Interruption(TaskTimedOut):
        def __init__(self) -> None:
            super().__init__(kind, seconds)

        @override
        def __reduce__(self) -> tuple[Any, ...]:
            return TaskTimedOut, (kind, seconds)

    Interruption.__name__ = Interruption.__qualname__ = TaskTimedOut.__name__
    Interruption.__module__ = TaskTimedOut.__module__
    return Interruption


def _without_this_frame(error: BaseException) -> BaseException:
    """Drop the driver's own frame from a traceback: users look for theirs."""
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        error.__traceback__ = error.__traceback__.tb_next
    return error


class SleepUntil(Effect[None]):
    """Go on at a time, give or take a hair (clocks of sleeps and of the wall differ); at once if it has passed."""

    __slots__ = ("when",)

    def __init__(self, when: datetime) -> None:
        self.when = when

    def _seconds(self) -> float:
        return max((self.when - utcnow()).total_seconds(), 0.0)

    @override
    def block(self) -> None:
        time.sleep(self._seconds())

    @override
    async def perform(self) -> None:
        await asyncio.sleep(self._seconds())

    @override
    def detach(self, resume: Resume) -> None:
        timer = threading.Timer(self._seconds(), resume, (None,))
        timer.daemon = True
        timer.start()


class WaitFor(Effect[None]):
    """Go on when all of some completions are done; `slot` is given back meanwhile, for another task to run in it."""

    __slots__ = ("completions", "slot")

    def __init__(self, completions: Sequence[Completion], slot: Slot | None = None) -> None:
        self.completions = completions
        self.slot = slot

    @override
    def block(self) -> None:
        waiting = [completion for completion in self.completions if not completion.is_done]
        if not waiting:
            return
        for completion in waiting:
            if isinstance(completion, Submission):
                completion.refuse_to_deadlock()
        if self.slot is not None:
            self.slot.release()
        try:
            for completion in waiting:
                completion.block()
        finally:
            if self.slot is not None:
                self.slot.acquire()

    @override
    async def perform(self) -> None:
        waiting = [completion for completion in self.completions if not completion.is_done]
        if not waiting:
            return
        if self.slot is not None:
            self.slot.release()
        try:
            for completion in waiting:
                await completion.wait_async()
        finally:
            if self.slot is not None:
                await self.slot.acquire_async()

    @override
    def detach(self, resume: Resume) -> None:
        when_all_done(self.completions, lambda: resume(None))


class Record(Effect[T]):
    """A blocking operation of the state backend: a barrier, or a flow-run transition."""

    __slots__ = ("operation",)

    def __init__(self, operation: Callable[[], T]) -> None:
        self.operation = operation

    @override
    def block(self) -> T:
        return self.operation()

    @override
    async def perform(self) -> T:
        # Shielded: what was asked of the backend happens, and its answer is known, even if the run is being cancelled.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.operation))
