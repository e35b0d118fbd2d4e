# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Only type-checked, never run: decorators keep the signatures of the functions."""

from __future__ import annotations

from typing import assert_type

from flowyard import Flow, State, Task, flow, task


@task
def plain(x: int, y: str = "a") -> float:
    return float(x)


@task(retries=3, tags=["a"])
def with_options(x: int) -> list[int]:
    return [x]


@task
async def asynchronous(x: int) -> str:
    return str(x)


@flow
def a_flow(name: str) -> int:
    assert_type(plain(1), float)
    assert_type(plain(1, y="b"), float)
    assert_type(with_options(1), list[int])
    assert_type(plain.fn(1), float)
    assert_type(plain(1, return_state=True), State[float])
    plain("not a number")  # pyright: ignore[reportArgumentType]
    return 1


@flow(name="x", log_prints=True)
async def an_async_flow(n: int) -> bytes:
    assert_type(await asynchronous(n), str)
    return b""


assert_type(a_flow("x"), int)
assert_type(a_flow("x", return_state=True), State[int])
assert_type(a_flow.with_options(name="y")("x"), int)


async def call() -> None:
    assert_type(await an_async_flow(1), bytes)
    a_flow(1)  # pyright: ignore[reportArgumentType]


assert_type(Flow(a_flow.fn)("x"), int)
assert_type(Task(with_options.fn)(1), list[int])
