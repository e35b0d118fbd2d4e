"""Between sync and async code, under the names that Prefect 2 has for it. Built on anyio and asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar

from flowyard.duality import in_async_main_thread as in_async_main_thread
from flowyard.duality import run_sync as run_sync
from flowyard.duality import sync_compatible as sync_compatible
from flowyard.process.interrupts import raise_in_thread
from flowyard.schemas.ids import new_id

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 250
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("flowyard_thread_limiter")


def get_thread_limiter() -> anyio.CapacityLimiter:
    """Return the limit of worker threads of the running event loop: 250, so that nested calls do not starve."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
        return limiter


def is_async_fn(func: object) -> bool:
    """Say whether calling an object returns a coroutine; wrappers are judged by what they wrap."""
    func = _unwrapped(func)
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004


def is_async_gen_fn(func: object) -> bool:
    """Say whether calling an object returns an async generator; wrappers are judged by what they wrap."""
    func = _unwrapped(func)
    return inspect.isasyncgenfunction(func) or inspect.isasyncgenfunction(getattr(func, "__call__", None))  # noqa: B004


def _unwrapped(func: object) -> object:
    return inspect.unwrap(func) if callable(func) else func


# --- from async code to threads ----------------------------------------------------------------------


async def run_sync_in_worker_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a worker thread, with the context of the caller.

    When the caller is cancelled the thread is left alone: it ends when the function does.
    """
    call = functools.partial(fn, *args, **kwargs)
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=get_thread_limiter())


class _Interrupted(BaseException):
    """Raised in a thread whose caller was cancelled."""


async def run_sync_in_interruptible_worker_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread of its own; when the caller is cancelled, the function is interrupted.

    A function blocked in a C call (a sleep, a socket) sees the interruption only when that returns; nobody waits for
    it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    finished = threading.Lock()  # held by whoever settles the call: no interruption can hit the code after `fn`
    is_over = False

    def settle(result: Any, error: BaseException | None) -> None:
        if not done.done():
            # The error too: a future refuses StopIteration as an exception.
            done.set_result((result, error))

    def work() -> None:
        nonlocal is_over
        result: Any = None
        error: BaseException | None = None
        try:
            try:
                result = context.run(fn, *args, **kwargs)
            except _Interrupted:
                return
            except BaseException as caught:
                error = caught
            with finished:
                is_over = True
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return
        except _Interrupted:
            return

    context = contextvars.copy_context()
    thread = threading.Thread(target=work, name="flowyard-interruptible", daemon=True)
    thread.start()
    try:
        result, error = await done
    except asyncio.CancelledError:
        with finished:
            if not is_over:
                raise_in_thread(thread, _Interrupted)
        raise
    if error is not None:
        raise error
    return result


def raise_async_exception_in_thread(thread: threading.Thread, exc_type: type[BaseException]) -> None:
    """Raise an exception in another thread at its next bytecode.

    Raises:
        ValueError: the thread is not running.
    """
    if not raise_in_thread(thread, exc_type):
        raise ValueError(f"thread {thread.name!r} is not running: nothing can be raised in it")


# --- from threads and sync code to async code --------------------------------------------------------


def run_async_from_worker_thread(fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an async function on the event loop that started this worker thread, and wait for it.

    Raises:
        RuntimeError: this is not a thread of `run_sync_in_worker_thread`.
    """
    call = cast("Callable[[], Coroutine[Any, Any, T]]", functools.partial(fn, *args, **kwargs))
    return anyio.from_thread.run(call)


def run_async_in_new_loop(fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an async function on an event loop of its own.

    Raises:
        RuntimeError: an event loop is running in this thread.
    """
    return anyio.run(functools.partial(fn, *args, **kwargs))


def in_async_worker_thread() -> bool:
    """Say whether this is a thread that async code started through anyio, and can call back from."""
    if in_async_main_thread():
        return False
    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    except asyncio.CancelledError:
        return True
    return True


def sync(async_fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call an async function from sync code: on the loop behind this worker thread, or on a new one.

    Raises:
        RuntimeError: an event loop is running in this thread; `await` the function instead.
    """
    if in_async_main_thread():
        raise RuntimeError(
            f"sync({getattr(async_fn, '__name__', async_fn)!r}) was called where an event loop is running: await it"
        )
    if in_async_worker_thread():
        return run_async_from_worker_thread(async_fn, *args, **kwargs)
    return run_async_in_new_loop(async_fn, *args, **kwargs)


# --- several at once ---------------------------------------------------------------------------------


class GatherIncomplete(RuntimeError):
    """A result was asked for before its function has returned."""


class GatherTaskGroup:
    """A task group that keeps what its functions return; entered like a task group of anyio."""

    def __init__(self, task_group: anyio.abc.TaskGroup) -> None:
        self._task_group = task_group
        self._results: dict[UUID, Any] = {}
        self.cancel_scope = task_group.cancel_scope

    def start_soon(self, fn: Callable[..., Awaitable[Any]], *args: object) -> UUID:
        """Start a function and return the key of its result."""
        key = new_id()
        self._task_group.start_soon(self._run, key, fn, args)
        return key

    async def _run(self, key: UUID, fn: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        self._results[key] = await fn(*args)

    async def start(self, fn: object, *args: object) -> None:
        """Refuse: a function that reports a start value has no result to keep.

        Raises:
            RuntimeError: always.
        """
        del fn, args
        raise RuntimeError("GatherTaskGroup has no `start`: use `start_soon`, or `anyio.create_task_group()`")

    def get_result(self, key: UUID) -> Any:
        """Return what a function returned.

        Raises:
            GatherIncomplete: it has not returned; leave the group's block first.
        """
        try:
            return self._results[key]
        except KeyError:
            raise GatherIncomplete(
                "the function has not returned yet: results are there when the task group's block has ended"
            ) from None

    async def __aenter__(self) -> GatherTaskGroup:
        await self._task_group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._task_group.__aexit__(exc_type, exc, traceback)


def create_gather_task_group() -> GatherTaskGroup:
    """Return a new task group that keeps what its functions return."""
    return GatherTaskGroup(anyio.create_task_group())


async def gather(*calls: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Run async functions at the same time and return their results, in the order of the functions.

    When one fails the others are cancelled, and an exception group is raised.
    """
    async with create_gather_task_group() as group:
        keys = [group.start_soon(call) for call in calls]
    return [group.get_result(key) for key in keys]


class LazySemaphore:
    """A semaphore whose value is looked up when it is first used, on the loop that uses it."""

    def __init__(self, initial_value_func: Callable[[], int]) -> None:
        self._initial_value_func = initial_value_func
        self._semaphore: anyio.Semaphore | None = None

    async def __aenter__(self) -> anyio.Semaphore:
        if self._semaphore is None:
            self._semaphore = anyio.Semaphore(self._initial_value_func())
        await self._semaphore.acquire()
        return self._semaphore

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        assert self._semaphore is not None
        self._semaphore.release()


@asynccontextmanager
async def asyncnullcontext(value: T = None) -> AsyncGenerator[T]:
    """Do nothing, as an async context manager; yields the value it is given."""
    yield value
