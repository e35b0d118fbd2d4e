"""What `submit` and `map` return."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any, Generic, Self, cast
from uuid import UUID

from typing_extensions import TypeVar

from flowyard.containers import rebuild
from flowyard.context import current
from flowyard.engine.submission import Submission
from flowyard.engine.tracebacks import hide_engine
from flowyard.schemas.states import State, StateType

R = TypeVar("R", default=Any)


class FlowyardFuture(Submission, Generic[R]):
    """The future of a task run; its methods block.

    An async task that is submitted in an async flow gets an `AsyncFlowyardFuture`, whose methods are awaited.
    """

    __slots__ = ()

    asynchronous = False

    @property
    def name(self) -> str:
        """The name of the task run."""
        return self.task_run.name

    @property
    def key(self) -> UUID:
        """The id of the task run."""
        return self.task_run.id

    def wait(self, timeout: float | None = None) -> State[R] | None:
        """Wait for the final state; None when `timeout` seconds passed first.

        Raises:
            WouldDeadlock: the thread runs an event loop that has to do the work.
        """
        return self.settled_state if self.block_politely(timeout) else None

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the value and return it.

        With ``raise_on_failure=False`` the exception of a failed run is returned.

        Raises:
            TimeoutError: the run did not finish within `timeout` seconds.
            BaseException: what the task raised.
        """
        if not self.block_politely(timeout):
            raise TimeoutError(f"task run {self.name!r} did not finish within {timeout} seconds")
        try:
            return _value(self, raise_on_failure)
        except Exception as error:
            hide_engine(error)
            raise

    def get_state(self) -> State[R]:
        """Return the state the run is in now, without waiting."""
        return _state_now(self)

    def __bool__(self) -> bool:
        warnings.warn("a future is always true; did you mean `future.result()`?", UserWarning, stacklevel=2)
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class AsyncFlowyardFuture(FlowyardFuture[R]):
    """The future of an async task in an async flow: ``await future.result()``.

    ``await task.submit(...)`` gives this future, as it does in Prefect 2; awaiting is not needed to start the task.
    """

    __slots__ = ()

    asynchronous = True

    def __await__(self) -> Generator[Any, Any, Self]:
        return self
        yield  # what makes this a generator

    async def wait(  # pyright: ignore[reportIncompatibleMethodOverride]  the same call, awaited
        self,
        timeout: float | None = None,  # noqa: ASYNC109  the name users know
    ) -> State[R] | None:
        """Wait for the final state; None when `timeout` seconds passed first."""
        return self.settled_state if await wait_async(self, timeout) else None

    async def result(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        timeout: float | None = None,  # noqa: ASYNC109
        raise_on_failure: bool = True,
    ) -> R:
        """Wait for the value and return it; see `FlowyardFuture.result`."""
        if not await wait_async(self, timeout):
            raise TimeoutError(f"task run {self.name!r} did not finish within {timeout} seconds")
        try:
            return _value(self, raise_on_failure)
        except Exception as error:
            hide_engine(error)
            raise

    async def get_state(self) -> State[R]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the state the run is in now, without waiting."""
        return _state_now(self)


PrefectFuture = FlowyardFuture


def _value(future: FlowyardFuture[R], raise_on_failure: bool) -> R:
    """Return the value of a finished run, and remember that whoever gets it depends on that run."""
    assert future.settled_state is not None
    value = future.settled_state.result(raise_on_failure=raise_on_failure)
    here = current()
    run = here.task_run or here.flow_run
    if run is not None and run.scope is not None:
        run.scope.lineage.add(value, future.task_run.id)
    return value


def _state_now(future: FlowyardFuture[R]) -> State[R]:
    return future.settled_state or future.task_run.state or State(StateType.PENDING)


async def wait_async(future: Submission, timeout: float | None) -> bool:  # noqa: ASYNC109
    """Wait without blocking the loop, in nobody's place; False on time-out."""
    if future.settled_state is not None:
        return True
    import asyncio  # noqa: PLC0415  a sync program never comes here

    running = current().task_run
    slot = running.slot if running is not None else None
    if slot is not None:
        slot.release()
    try:
        async with asyncio.timeout(timeout):
            await future.wait_async()
    except TimeoutError:
        return future.settled_state is not None
    finally:
        if slot is not None:
            await slot.acquire_async()
    return True


def resolve_futures_to_data(expr: Any, raise_on_failure: bool = True) -> Any:
    """Return `expr` with every future in it, however nested, replaced by its value."""

    def value(future: Any, _allow_failure: bool) -> Any:
        return FlowyardFuture.result(cast("FlowyardFuture[Any]", future), None, raise_on_failure)

    return rebuild(expr, Submission, value)


def resolve_futures_to_states(expr: Any) -> Any:
    """Return `expr` with every future in it, however nested, replaced by its final state."""

    def state(future: Any, _allow_failure: bool) -> Any:
        return FlowyardFuture.wait(cast("FlowyardFuture[Any]", future))

    return rebuild(expr, Submission, state)
