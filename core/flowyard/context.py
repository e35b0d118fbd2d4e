"""The run context: which run is executing here, with which tags.

There is one `ContextVar`. Drivers enter and leave contexts (`entered`); steps and user code only read them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, Self

from flowyard.exceptions import MissingContextError
from flowyard.ports import ControlPlane, Recorder
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow


class Slot(Protocol):
    """A place in a runner's limit of running tasks, given back while its task waits for other tasks."""

    def release(self) -> None:
        """Let another task run in this place."""
        ...

    def acquire(self) -> None:
        """Block until there is a place again."""
        ...

    async def acquire_async(self) -> None:
        """Wait until there is a place again, without blocking the event loop."""
        ...


@dataclass(eq=False, slots=True, kw_only=True)
class FlowRunContext:
    """What user code can know about the flow run it is in."""

    flow: Any
    """The `Flow` that runs; None inside a remote worker that was not told."""
    flow_run: FlowRun
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    task_runner: Any = None
    log_prints: bool = False
    is_async: bool = False
    entry_loop: Any = None
    """The event loop that was running in the thread when the flow function was entered; None for none."""
    recorder: Recorder
    scope: Any = None
    """The engine's own bookkeeping of this flow run."""
    counters: dict[str, int] | None = None
    """How often this run has called each task; None until it calls one."""
    start_time: datetime = field(default_factory=utcnow)
    pauses: int = 0
    """How often this attempt of the flow has reached a pause."""

    @classmethod
    def get(cls) -> Self | None:
        """Return the context of the flow run that is executing here, or None."""
        return current().flow_run  # pyright: ignore[reportReturnType]  the class is final in practice


EngineContext = FlowRunContext


@dataclass(eq=False, slots=True, kw_only=True)
class TaskRunContext:
    """What user code can know about the task run it is in."""

    task: Any
    task_run: TaskRun
    parameters: Mapping[str, Any]
    log_prints: bool = False
    is_async: bool = False
    entry_loop: Any = None
    recorder: Recorder
    slot: Slot | None = None
    scope: Any = None
    """The engine's own bookkeeping of the flow run, for nested calls."""
    counters: dict[str, int] | None = None
    """How often this run has called each task; None until it calls one."""
    start_time: datetime = field(default_factory=utcnow)

    @classmethod
    def get(cls) -> Self | None:
        """Return the context of the task run that is executing here, or None."""
        return current().shown_task_run  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True)
class HookContext:
    """What tells a hook from the function of the run around it."""

    is_async: bool
    entry_loop: Any = None
    """The event loop that was running in the thread when the hook was entered, and that stands still until it ends;
    None for none."""
    task_run: TaskRunContext | None = None
    """The task run that the hook is about: its code sees it, and what it logs is the task run's. What it calls is
    called by the flow, as the task run has ended."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The value of the one context variable. Immutable, so that entering is one `set`."""

    flow_run: FlowRunContext | None = None
    task_run: TaskRunContext | None = None
    tags: frozenset[str] = frozenset()
    tracker: Any = None
    """Takes the calls of tasks and flows while `flow.visualize()` draws them; None when they run."""
    is_loading: bool = False
    """A script is being loaded to find its flows: flows that it calls do not run."""
    control: ControlPlane | None = None
    """On a remote worker: what stands for the control plane of the flow's process. None where the settings tell."""
    transaction: Any = None
    """What takes the tasks that are called here together (`engine.staging.Staging`); None for nothing."""
    hook: HookContext | None = None
    """The hook that executes here; None in the function of a run."""

    @property
    def shown_task_run(self) -> TaskRunContext | None:
        """The task run that user code sees here: the one that calls what is called here, or that a hook is about."""
        return self.task_run if self.hook is None or self.task_run is not None else self.hook.task_run

    @property
    def colour(self) -> HookContext | TaskRunContext | FlowRunContext | None:
        """Whose function executes here, which is sync or async; None outside of runs."""
        return self.hook or self.task_run or self.flow_run


_NOWHERE = RunContext()
_current: ContextVar[RunContext] = ContextVar("flowyard_run_context", default=_NOWHERE)
current = _current.get


def enter(context: RunContext) -> Token[RunContext]:
    """Make `context` the current one; for drivers, who hand the token to `leave`."""
    return _current.set(context)


def leave(token: Token[RunContext]) -> None:
    """Restore what was current before `enter`."""
    _current.reset(token)


@contextmanager
def entered(context: RunContext) -> Generator[RunContext]:
    """Make `context` the current one for a block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


class TagsContext:
    """The tags that new runs get."""

    def __init__(self, current_tags: frozenset[str]) -> None:
        self.current_tags = set(current_tags)

    @classmethod
    def get(cls) -> TagsContext:
        """Return the tags that are active here; never None."""
        return cls(current().tags)


@contextmanager
def tags(*new_tags: str) -> Generator[set[str]]:
    """Add tags to every flow run and task run that is created in the block.

    Blocks nest, and their tags add up. Yields all tags that are active inside.
    """
    here = current()
    wanted = here.tags | frozenset(new_tags)
    with entered(replace(here, tags=wanted)):
        yield set(wanted)


def get_run_context() -> FlowRunContext | TaskRunContext:
    """Return the context of the task run, else of the flow run, that is executing here.

    Raises:
        MissingContextError: this is not inside a run.
    """
    here = current()
    found = here.shown_task_run or here.flow_run
    if found is None:
        raise MissingContextError("there is no run here: call this inside a flow or task that is running")
    return found
