"""Between sync and async code."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from typing import Any, cast

import anyio
import pytest

from flowyard.context import FlowRunContext, RunContext, entered
from flowyard.ports import Recorder
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun
from flowyard.utilities.asyncutils import (
    GatherIncomplete,
    LazySemaphore,
    asyncnullcontext,
    create_gather_task_group,
    gather,
    get_thread_limiter,
    in_async_main_thread,
    in_async_worker_thread,
    is_async_fn,
    is_async_gen_fn,
    raise_async_exception_in_thread,
    run_async_from_worker_thread,
    run_async_in_new_loop,
    run_sync,
    run_sync_in_interruptible_worker_thread,
    run_sync_in_worker_thread,
    sync,
    sync_compatible,
)

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
DEADLINE = 90


async def double(value: int, *, plus: int = 0) -> int:
    await asyncio.sleep(0)
    return 2 * value + plus


def plain() -> int:
    return 1


async def generate() -> Any:
    yield 1


@functools.wraps(double)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return double(*args, **kwargs)


class AsyncCallable:
    async def __call__(self) -> int:
        return 1


class SyncCallable:
    def __call__(self) -> int:
        return 1


# --- questions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "is_async"),
    [
        (double, True),
        (wrapped, True),
        (functools.partial(double, 1), True),
        (AsyncCallable(), True),
        (plain, False),
        (generate, False),
        (SyncCallable(), False),
        (int, False),
        (5, False),
    ],
    ids=["function", "wrapper", "partial", "callable", "sync", "generator", "sync callable", "class", "no function"],
)
def test_an_async_function_is_known_as_one(fn: Any, is_async: bool) -> None:
    assert is_async_fn(fn) is is_async


@pytest.mark.parametrize(("fn", "is_generator"), [(generate, True), (double, False), (plain, False)])
def test_an_async_generator_is_known_as_one(fn: Any, is_generator: bool) -> None:
    assert is_async_gen_fn(fn) is is_generator


def test_the_threads_of_async_code_are_told_apart() -> None:
    def where() -> tuple[bool, bool]:
        return in_async_main_thread(), in_async_worker_thread()

    async def main() -> list[tuple[bool, bool]]:
        other: list[tuple[bool, bool]] = []
        thread = threading.Thread(target=lambda: other.append(where()))
        thread.start()
        thread.join()
        return [where(), await run_sync_in_worker_thread(where), *other]

    assert where() == (False, False)
    assert asyncio.run(main()) == [(True, False), (False, True), (False, False)]


# --- threads -----------------------------------------------------------------------------------------


RUN_IN_THREAD = pytest.mark.parametrize("run", [run_sync_in_worker_thread, run_sync_in_interruptible_worker_thread])


@RUN_IN_THREAD
def test_a_function_runs_in_another_thread_with_arguments_and_context(run: Any) -> None:
    def work(one: int, *, two: int) -> tuple[int, str, bool]:
        return one + two, VARIABLE.get(), threading.current_thread() is threading.main_thread()

    async def main() -> Any:
        VARIABLE.set("outside")
        return await run(work, 1, two=2)

    assert asyncio.run(main()) == (3, "outside", False)


@RUN_IN_THREAD
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_a_function_raises_in_its_thread_reaches_the_caller(run: Any, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("boom")

    async def main() -> str:
        try:
            await run(fail)
        except error as caught:
            return str(caught)
        return "nothing raised"

    assert asyncio.run(main()) == "boom"


def test_a_stop_iteration_does_not_hang_the_caller() -> None:
    async def main() -> None:
        await run_sync_in_interruptible_worker_thread(next, iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(main())


def test_a_function_in_an_interruptible_thread_is_interrupted_with_its_caller() -> None:
    started, stopped = threading.Event(), threading.Event()

    def spin() -> None:
        started.set()
        try:
            while True:
                pass
        finally:
            stopped.set()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_sync_in_interruptible_worker_thread, spin)
            await anyio.to_thread.run_sync(started.wait)
            group.cancel_scope.cancel()

    asyncio.run(main())
    assert stopped.wait(DEADLINE)


def test_a_caller_that_is_cancelled_leaves_a_plain_worker_thread_alone() -> None:
    started, release, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(DEADLINE)
        finished.set()

    async def main() -> bool:
        async with anyio.create_task_group() as group:
            group.start_soon(run_sync_in_worker_thread, work)
            await anyio.to_thread.run_sync(started.wait)
            group.cancel_scope.cancel()
        was_left = not finished.is_set()
        release.set()
        return was_left

    assert asyncio.run(main())
    assert finished.wait(DEADLINE)


def test_every_loop_has_one_limit_of_its_own() -> None:
    async def limiter() -> tuple[Any, Any]:
        return get_thread_limiter(), get_thread_limiter()

    first, second = asyncio.run(limiter()), asyncio.run(limiter())
    assert first[0] is first[1]
    assert first[0] is not second[0]
    assert first[0].total_tokens == 250


def test_an_exception_can_be_raised_in_another_thread() -> None:
    started, caught = threading.Event(), threading.Event()

    def spin() -> None:
        try:
            started.set()
            while True:
                pass
        except KeyError:
            caught.set()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    assert started.wait(DEADLINE)
    raise_async_exception_in_thread(thread, KeyError)
    assert caught.wait(DEADLINE)
    thread.join(DEADLINE)


def test_nothing_can_be_raised_in_a_thread_that_has_ended() -> None:
    thread = threading.Thread(target=plain, name="ended")
    thread.start()
    thread.join()
    with pytest.raises(ValueError, match="'ended' is not running"):
        raise_async_exception_in_thread(thread, KeyError)


# --- from sync to async ------------------------------------------------------------------------------


def test_a_worker_thread_calls_back_to_its_loop() -> None:
    async def loop_id(_: int) -> int:
        return id(asyncio.get_running_loop())

    async def main() -> tuple[int, int]:
        return await loop_id(0), await run_sync_in_worker_thread(run_async_from_worker_thread, loop_id, 0)

    own, seen = asyncio.run(main())
    assert own == seen


def test_only_a_worker_thread_can_call_back() -> None:
    with pytest.raises(RuntimeError):
        run_async_from_worker_thread(double, 1)


def test_an_async_function_runs_on_a_new_loop() -> None:
    assert run_async_in_new_loop(double, 2, plus=1) == 5


def test_sync_calls_an_async_function_from_wherever_it_can() -> None:
    async def in_a_worker() -> int:
        return await run_sync_in_worker_thread(lambda: sync(double, 3))

    async def on_the_loop() -> int:
        return sync(double, 3)

    assert sync(double, 2, plus=1) == 5
    assert asyncio.run(in_a_worker()) == 6
    with pytest.raises(RuntimeError, match="'double'.*await it"):
        asyncio.run(on_the_loop())


def test_run_sync_blocks_with_and_without_a_running_loop() -> None:
    async def inside() -> int:
        return run_sync(double(4))

    assert run_sync(double(4)) == 8
    assert asyncio.run(inside()) == 8


@pytest.mark.parametrize("inside_a_loop", [False, True])
def test_run_sync_hands_over_context_and_errors(inside_a_loop: bool) -> None:
    async def fail() -> None:
        raise ValueError(VARIABLE.get())

    def call() -> None:
        VARIABLE.set("mine")
        run_sync(fail())

    async def main() -> None:
        call()

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(main()) if inside_a_loop else contextvars.copy_context().run(call)


# --- functions of both colours -----------------------------------------------------------------------


@sync_compatible
async def load(name: str) -> str:
    """Load something."""
    await asyncio.sleep(0)
    return f"loaded {name}"


def a_run(is_async: bool) -> RunContext:
    flow_run = FlowRunContext(
        flow=None, flow_run=FlowRun(new_id(), "calm-crab"), is_async=is_async, recorder=cast("Recorder", None)
    )
    return RunContext(flow_run)


def test_outside_of_runs_a_running_loop_decides() -> None:
    async def main() -> Any:
        coroutine = load("a")
        assert inspect.isawaitable(coroutine)
        return await coroutine

    assert load("a") == "loaded a"
    assert asyncio.run(main()) == "loaded a"


def test_in_an_async_run_the_call_is_awaited() -> None:
    async def main() -> Any:
        with entered(a_run(is_async=True)):
            return await load("a")

    assert asyncio.run(main()) == "loaded a"


def test_a_sync_run_in_a_notebook_blocks() -> None:
    async def notebook_cell() -> Any:
        context = a_run(is_async=False)
        assert context.flow_run is not None
        context.flow_run.entry_loop = asyncio.get_running_loop()
        with entered(context):
            return load("a")

    assert asyncio.run(notebook_cell()) == "loaded a"


def test_a_helper_thread_of_an_async_run_blocks() -> None:
    with entered(a_run(is_async=True)):
        assert load("a") == "loaded a"


def test_the_caller_can_decide() -> None:
    async def main() -> tuple[Any, Any]:
        return load("a", _sync=True), await load.aio("b")  # pyright: ignore[reportFunctionMemberAccess, reportCallIssue]

    assert asyncio.run(main()) == ("loaded a", "loaded b")
    coroutine = load("c", _sync=False)  # pyright: ignore[reportCallIssue]  not in the original's signature
    assert inspect.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == "loaded c"


def test_a_method_can_have_both_colours() -> None:
    class Block:
        name = "b"

        @sync_compatible
        async def load(self) -> str:
            return self.name

    assert Block().load() == "b"


def test_a_function_of_both_colours_keeps_its_name_and_is_not_taken_for_async() -> None:
    assert (load.__name__, load.__doc__) == ("load", "Load something.")
    assert not is_async_fn(load)


def test_a_sync_function_has_one_colour_only() -> None:
    with pytest.raises(TypeError, match="plain"):
        sync_compatible(plain)  # pyright: ignore[reportArgumentType]


# --- several at once ---------------------------------------------------------------------------------


def test_gather_returns_the_results_in_order() -> None:
    async def main() -> list[int]:
        first = anyio.Event()

        async def late() -> int:
            await first.wait()
            return 1

        async def early() -> int:
            first.set()
            return 2

        return await gather(late, early)

    assert asyncio.run(main()) == [1, 2]


def test_gather_of_nothing_is_empty() -> None:
    assert asyncio.run(gather()) == []


def test_a_failure_cancels_the_others() -> None:
    cancelled: list[bool] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("boom")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(gather(wait, fail))
    assert caught.group_contains(ValueError, match="boom")
    assert cancelled == [True]


def test_a_result_is_there_when_its_group_has_ended() -> None:
    async def main() -> int:
        async with create_gather_task_group() as group:
            key = group.start_soon(double, 4)
            with pytest.raises(GatherIncomplete, match="not returned yet"):
                group.get_result(key)
        return group.get_result(key)

    assert asyncio.run(main()) == 8


def test_a_gather_group_has_no_start() -> None:
    async def main() -> None:
        async with create_gather_task_group() as group:
            with pytest.raises(RuntimeError, match="start_soon"):
                await group.start(double, 4)

    asyncio.run(main())


def test_a_lazy_semaphore_asks_for_its_value_once_and_limits() -> None:
    asked: list[int] = []

    def value() -> int:
        asked.append(1)
        return 2

    async def main() -> int:
        semaphore = LazySemaphore(value)
        assert asked == []
        inside = most = 0

        async def work() -> None:
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await anyio.lowlevel.checkpoint()
                inside -= 1

        await gather(*[work] * 6)
        return most

    assert asyncio.run(main()) == 2
    assert asked == [1]


def test_a_null_context_yields_what_it_is_given() -> None:
    async def main() -> tuple[Any, Any]:
        async with asyncnullcontext(5) as five, asyncnullcontext() as nothing:
            return five, nothing

    assert asyncio.run(main()) == (5, None)
