"""What the contract of task runners has executed. No test library is imported here: workers load this module."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowyard.annotations import allow_failure
from flowyard.context import get_run_context
from flowyard.exceptions import FlowyardError
from flowyard.flows import flow
from flowyard.schemas.states import State
from flowyard.task_runners.base import TaskRunner
from flowyard.tasks import Task, task

PATIENCE_SECONDS = 90.0
"""How long a meeting waits for somebody who does not come."""
_GLANCE_SECONDS = 0.002


class WorkloadError(FlowyardError):
    """Raised by a task that is to fail."""

    def __init__(self, node: int, *, hint: str = "on purpose") -> None:
        super().__init__(f"node {node} failed {hint}")
        self.node = node


# --- meetings: how calls in different threads and processes find out that they overlap ------------------------


def arrive(folder: str, name: str) -> None:
    """Leave word that `name` is here."""
    Path(folder, name).touch()


def _absent(folder: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if not Path(folder, name).exists()]


def await_arrival(folder: str, *names: str) -> None:
    """Wait until all of `names` have arrived.

    Raises:
        TimeoutError: some did not come; names them.
    """
    for _ in _glances(folder, names):
        time.sleep(_GLANCE_SECONDS)


async def await_arrival_async(folder: str, *names: str) -> None:
    """Wait until all of `names` have arrived, while others use the event loop."""
    for _ in _glances(folder, names):
        await asyncio.sleep(_GLANCE_SECONDS)


def _glances(folder: str, names: tuple[str, ...]) -> Generator[None]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while absent := _absent(folder, names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(absent)} did not come to {folder}")
        yield


def meet(folder: str, me: str, other: str) -> str:
    """Arrive, and leave when `other` has arrived as well: two calls that overlap can, two in turn cannot."""
    arrive(folder, me)
    await_arrival(folder, other)
    return me


async def meet_async(folder: str, me: str, other: str) -> str:
    """Meet from an async task."""
    arrive(folder, me)
    await await_arrival_async(folder, other)
    return me


def note(folder: str, text: str) -> str:
    """Append a line that says when something began and ended; the order of lines is the order of events."""
    journal = Path(folder, "notes")
    for moment in ("begin", "end"):
        with journal.open("a") as file:
            file.write(f"{moment} {text}\n")
    return text


async def note_async(folder: str, text: str) -> str:
    """Note from an async task."""
    return note(folder, text)


def notes(folder: str) -> list[str]:
    """Return the lines of `note`."""
    return Path(folder, "notes").read_text().splitlines()


# --- single tasks -----------------------------------------------------------------------------------------


def identity(x: Any) -> Any:
    """Return the argument."""
    return x


def one_more_than(x: int) -> int:
    """Return the next number."""
    return x + 1


def fail(node: int) -> None:
    """Raise with a cause."""
    try:
        raise LookupError(f"nothing for {node}")
    except LookupError as error:
        raise WorkloadError(node) from error


def process_id() -> int:
    """Return the process that executes this."""
    return os.getpid()


# --- random graphs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """One task of a graph. Upstreams are numbers of earlier nodes."""

    number: int
    kind: str
    is_async: bool
    inputs: tuple[int, ...] = ()
    tolerated: tuple[int, ...] = ()
    """Upstreams whose failure is taken as a value (`allow_failure`)."""
    waits_for: tuple[int, ...] = ()
    is_nested: bool = False
    """The inputs come inside of a dictionary of lists."""


@dataclass
class Verdict:
    """How a node ended, without what differs from run to run."""

    number: int
    state_type: str
    state_name: str
    result: object = None
    error: tuple[str, str] | None = None
    run_count: int = field(default=0)


def random_graph(seed: int, *, size: int = 12, with_async: bool = True) -> list[Node]:
    """Return a graph of tasks that succeed, fail, or succeed at the second attempt; the same for the same seed."""
    dice = random.Random(seed)
    nodes: list[Node] = []

    def some(most: int) -> tuple[int, ...]:
        return tuple(sorted(dice.sample(range(len(nodes)), min(len(nodes), dice.randint(0, most)))))

    for number in range(size):
        inputs = some(3)
        nodes.append(
            Node(
                number=number,
                kind=dice.choices(["add", "fail", "flaky", "nothing"], [6, 2, 2, 1])[0],
                is_async=with_async and dice.random() < 0.3,
                inputs=inputs,
                tolerated=tuple(upstream for upstream in some(2) if upstream not in inputs),
                waits_for=some(1),
                is_nested=dice.random() < 0.3,
            )
        )
    return nodes


def _work(kind: str, number: int, given: Any, tolerated: list[Any]) -> Any:
    run_count = get_run_context().task_run.run_count  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    if kind == "fail" or (kind == "flaky" and run_count == 1):
        raise WorkloadError(number)
    if kind == "nothing":
        return None
    values = [value for group in given.values() for value in group] if isinstance(given, dict) else given  # pyright: ignore[reportUnknownVariableType]
    told = [str(value) if isinstance(value, BaseException) else value for value in tolerated]
    return [number, sorted(map(repr, values)), sorted(map(repr, told))]  # pyright: ignore[reportUnknownArgumentType]


@task(retries=1)
def sync_node(kind: str, number: int, given: Any, tolerated: list[Any]) -> Any:
    """Be a node of a graph."""
    return _work(kind, number, given, tolerated)


@task(retries=1)
async def async_node(kind: str, number: int, given: Any, tolerated: list[Any]) -> Any:
    """Be a node of a graph that is async."""
    await asyncio.sleep(0)
    return _work(kind, number, given, tolerated)


def run_graph(nodes: list[Node], runner: TaskRunner) -> list[Verdict]:
    """Run a graph in a flow and return how each node ended."""

    @flow(name="graph", task_runner=runner)
    def graph() -> list[Verdict]:
        futures: list[Any] = []
        for node in nodes:
            inputs: Any = [futures[upstream] for upstream in node.inputs]
            if node.is_nested:
                inputs = {"first": inputs[:1], "rest": inputs[1:]}
            tolerated = [allow_failure(futures[upstream]) for upstream in node.tolerated]
            made: Task[..., Any] = async_node if node.is_async else sync_node
            wait_for = [futures[upstream] for upstream in node.waits_for]
            futures.append(made.submit(node.kind, node.number, inputs, tolerated, wait_for=wait_for))
        return [_verdict(number, future.wait(), future.task_run) for number, future in enumerate(futures)]

    return graph()


def _verdict(number: int, state: State[Any], task_run: Any) -> Verdict:
    verdict = Verdict(number, state.type.value, state.name, run_count=task_run.run_count)
    if state.is_completed():
        verdict.result = state.result()
    elif state.is_final():
        error = state.result(raise_on_failure=False)
        verdict.error = (type(error).__name__, str(error))
    return verdict
