"""The contract of task runners: what they are handed, what they give back.

The engine decides everything that a run means (retries, timeouts, hooks, persistence, logs); a runner only finds a
place where a call executes. `flowyard.testing.runners` holds every runner to this contract.
"""

from __future__ import annotations

import enum
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

from flowyard.aio import asyncio
from flowyard.context import Slot
from flowyard.exceptions import LegacyTaskRunner, TaskRunnerAlreadyStarted, TaskRunnerNotStarted
from flowyard.parameters.binding import CallSignature
from flowyard.ports import Recorder
from flowyard.process.interrupts import StopSwitch
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.metering import Meter
from flowyard.upcalls.channel import UpcallChannel

LONGEST_WAIT_IN_PLACE = 1.0
"""Seconds of a retry delay that are slept in the slot."""


class TaskConcurrencyType(enum.StrEnum):
    """How the tasks of a runner relate in time."""

    SEQUENTIAL = "SEQUENTIAL"
    """One at a time, in the order of submission."""
    CONCURRENT = "CONCURRENT"
    """Overlapping in one process."""
    PARALLEL = "PARALLEL"
    """At the same time, in several processes."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runner can do beyond executing calls."""

    processes: bool = False
    """Calls leave this process: they must pickle, and direct calls go through the runner too."""
    kill: bool = False
    """A running call can be stopped whatever it does."""
    locality: bool = False
    """Values can stay where they are made: the runner takes native references as arguments."""
    resources: bool = False
    """Calls can ask for CPUs, GPUs, memory."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskSpec:
    """What all calls of one task in one flow run share; shipped once per worker, by the hash of its pickle."""

    task: Any
    """The user's `Task`, for `get_run_context().task` and `retry_condition_fn`."""
    fn: Callable[..., Any]
    signature: CallSignature
    name: str
    is_async: bool = False
    timeout_seconds: float | None = None
    log_prints: bool = False
    retry_condition_fn: Callable[..., Any] | None = None
    task_run_name: str | Callable[[], str] | None = None
    results: Any = None
    """How results of this task are kept (`results.ResultFactory`); opaque to runners."""
    cache: Any = None
    """How its calls use the cache (`engine.caching.CacheOptions`); None for not at all."""


@dataclass(frozen=True, slots=True, eq=False)
class CallContext:
    """The small explicit context that travels with a call: never a live object."""

    flow_run: FlowRun | None
    flow_name: str | None = None
    tags: frozenset[str] = frozenset()
    deadline: datetime | None = None
    """When the enclosing flow times out; None for never."""
    flow_timeout_seconds: float | None = None
    """What the user set, that the deadline was made from."""
    longest_wait_in_place: float = LONGEST_WAIT_IN_PLACE
    """A retry delay up to this many seconds is slept in the slot; a longer one ends the call as AwaitingRetry."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """`FLOWYARD_*` values that differ from a worker's own."""
    transaction: str | None = None
    """The stamp of the transaction that the call belongs to."""
    trace: str | None = None
    """Where in a trace it was called, as a `traceparent` says it; empty outside of one, None without tracing."""


@dataclass(slots=True, eq=False)
class Outcome:
    """How a call ended.

    `state.data` holds the value or the exception. A state that is not final is AwaitingRetry: the engine submits the
    call again when it is due.
    """

    task_run: TaskRun
    """The run with its bookkeeping as the shim left it (run count, start and end time, name)."""
    state: State[Any]
    events: list[JournalEvent] = field(default_factory=list[JournalEvent])
    """What was recorded elsewhere and must still reach the journal; empty when the shim recorded live."""
    is_synthesised: bool = False
    """The runner made it, because no shim could: nothing has been logged about it yet."""
    lost_worker: str | None = None
    """Set when the worker died before it reported: the attempt counts against `crash_retries`."""
    metrics: TaskMetrics | None = None
    """What was measured where the call executed; None for a call that executed in the flow's process."""


class Shim(Protocol):
    """Executes calls where they have arrived; `engine.worker` has the only one."""

    def execute(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call in this thread. Never raises for what user code does.

        Raises:
            KeyboardInterrupt, SystemExit: only where the user code itself was interrupted in the main thread.
        """
        ...

    async def execute_async(self, call: TaskCall, slot: Slot | None = None) -> Outcome:
        """Run a call of an `async def` task on the running event loop."""
        ...


class CacheTicket(NamedTuple):
    """What a call that was not found in the cache needs, to be found by later ones."""

    key: str | None
    """None when the call has no key."""
    trace: Mapping[str, Any]
    """Why it was not found, for the record of the state Running."""


class Upstream(NamedTuple):
    """Stands in the arguments of a call for a value that the runner has: another call's, still where it was made."""

    key: int
    """Which of the call's upstream handles it is."""
    allow_failure: bool = False
    """A failed upstream hands over its exception instead of stopping the call."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What a runner with `locality` keeps where a call was executed: how it ended, and its value or exception."""

    run_name: str
    state_type: StateType
    value: Any


class TaskCall:
    """One call of a task on its way to where it executes. Its worker sets some of it, nobody else does."""

    __slots__ = (
        "arguments",
        "attempt",
        "cache",
        "context",
        "held",
        "loop",
        "meter",
        "needs",
        "recorder",
        "resubmissions",
        "shim",
        "spec",
        "stop",
        "task_run",
        "upcalls",
        "user_context",
    )

    def __init__(
        self,
        *,
        spec: TaskSpec,
        task_run: TaskRun,
        arguments: Mapping[str, Any],
        context: CallContext,
        shim: Shim,
        recorder: Recorder,
        attempt: int = 0,
        resubmissions: int = 0,
        loop: Any = None,
        needs: Sequence[Upstream] = (),
        user_context: Context | None = None,
        cache: CacheTicket | None = None,
    ) -> None:
        self.spec = spec
        self.task_run = task_run
        self.arguments = arguments
        """Parameter name -> value, every future in it replaced by its value."""
        self.context = context
        self.shim = shim
        self.recorder = recorder
        """Takes events at once when the call executes in this process."""
        self.attempt = attempt
        """0, and 1 more for every attempt that was lost with its worker."""
        self.resubmissions = resubmissions
        """How often it was submitted beyond that, because a value on the cluster was lost: its own, or an input's."""
        self.loop = loop
        """The event loop an async task must run on; None for the runner's own background loop."""
        self.needs = needs
        """The upstreams it must find completed, those that it only waits for included; only with `locality`."""
        self.user_context = user_context
        """The context variables of whoever submitted the call, for the shim; they do not leave the process."""
        self.stop: StopSwitch | None = None
        """Stops the function where the call executes; set there by runners that can."""
        self.meter: Meter | None = None
        """Measures the call where it executes; set there by runners with processes, which report what it read."""
        self.cache = cache
        """Set by who looked into the cache: the flow's process, or the shim for a call whose inputs only it has."""
        self.held: Mapping[int, Held] = {}
        """Upstream key -> what the runner found; set by the runner where the call executes, before the shim sees it."""
        self.upcalls: UpcallChannel | None = None
        """How code in the call asks the flow's process; set by the runner where the call executes remotely."""


class Handle:
    """A call that was submitted; becomes done exactly once, with an `Outcome`."""

    __slots__ = ("_callbacks", "_lock", "_outcome", "task_run_id")

    def __init__(self, task_run_id: UUID) -> None:
        self.task_run_id = task_run_id
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Outcome], None]] = []
        self._outcome: Outcome | None = None

    @property
    def native(self) -> Handle | None:
        """The handle that the runner itself made; None for a call that still waits for its batch to fill."""
        return self

    def when_sent(self) -> Any:
        """Return a `Completion` of when there is a native handle, or never will be; None when there is one now."""
        return None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, or None while the call is under way."""
        return self._outcome

    def add_done_callback(self, callback: Callable[[Outcome], None]) -> None:
        """Call `callback` once with the outcome: at once if there is one, else on the thread that completes the call.

        Callbacks must not raise and must not block.
        """
        with self._lock:
            if self._outcome is None:
                self._callbacks.append(callback)
                return
        callback(self._outcome)

    def complete(self, outcome: Outcome) -> bool:
        """Set the outcome and run the callbacks; False when the call was done already (a late report is dropped)."""
        with self._lock:
            if self._outcome is not None:
                return False
            self._outcome = outcome
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(outcome)
        return True


class TaskRunner(ABC):
    """Finds a place where task calls execute.

    One runner serves one flow run: the engine calls `duplicate()` on the flow's runner and starts the copy.
    Two runners are equal when they have the same type and options.
    """

    capabilities: Capabilities = Capabilities()
    longest_batch_seconds: float = 0.1
    """How long a piece of work for `submit_batch` may take that is one of many: more where each costs much by itself,
    and its calls report while it is executed."""

    def __init__(self) -> None:
        self._started = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "wait" in cls.__dict__ and "submit" in cls.__dict__:
            raise LegacyTaskRunner(cls.__name__)

    @property
    def name(self) -> str:
        """The class name without `TaskRunner`, in lower case: what `FLOWYARD_TASK_RUNNER` names."""
        return type(self).__name__.removesuffix("TaskRunner").lower()

    @property
    @abstractmethod
    def concurrency_type(self) -> TaskConcurrencyType:
        """How the tasks of this runner relate in time."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the constructor's arguments, for `duplicate`, equality and `repr`."""

    @abstractmethod
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        """Take a call whose inputs are ready and return at once (a sequential runner: when it is done).

        `upstream` has, for runners with `locality`, the handles of this runner that the `Upstream` keys in
        `call.needs` stand for; they may not be done yet. The runner delivers their `Held` with the call, and does not
        keep the handles longer than the call needs them.

        Raises:
            TaskRunnerNotStarted: outside of `start`.
        """

    def submit_many(self, calls: Sequence[TaskCall]) -> list[Handle]:
        """Take several calls; the same as `submit` one by one, and faster where a runner can do better."""
        return [self.submit(call) for call in calls]

    def submit_batch(self, calls: Sequence[tuple[TaskCall, Mapping[int, Handle] | None]]) -> list[Handle]:
        """Take several calls, with their upstream handles, as one piece of work that executes them in order.

        Each call has its own outcome, reported as soon as it is known; when the worker dies, only calls without an
        outcome are lost. A runner without a per-call overhead that is worth it takes them one by one.
        """
        return [self.submit(call, upstream) for call, upstream in calls]

    @abstractmethod
    def cancel(self, handle: Handle) -> bool:
        """Try to stop a call; its handle becomes done, as Cancelled if it had not begun.

        Returns False when it is done already or cannot be stopped (then it runs on, and its outcome is dropped).
        """

    def cancel_many(self, handles: Sequence[Handle]) -> list[bool]:
        """Try to stop several calls; the same as `cancel` one by one, and faster where a runner has to ask around."""
        return [self.cancel(handle) for handle in handles]

    def withdraw_many(self, handles: Sequence[Handle]) -> None:
        """Keep calls from beginning; what has begun goes on.

        By default they are cancelled, where that kills nothing: for runners that stop no plain function.
        """
        if not self.capabilities.kill:
            self.cancel_many(handles)

    def capacity(self) -> int | None:
        """Return how many calls can execute at once; None when there is no limit."""
        return None

    def waits_for_loop(
        self, handle: Handle | None, loop: asyncio.AbstractEventLoop, giving_back: Slot | None = None
    ) -> bool:
        """Say whether a call gets no place before `loop` turns: tasks that run there have them all, or come first.

        `handle` is None for a call that is not submitted yet; `giving_back` is a place that whoever asks will free.
        """
        del handle, loop, giving_back
        return False

    def native_ref(self, handle: Handle) -> object | None:
        """Return the runner's own reference to the value of a call (a Dask future, a Ray object reference)."""
        del handle
        return None

    def duplicate(self) -> Self:
        """Return a fresh runner with the same options, not started."""
        return type(self)(**self.options())

    @contextmanager
    def start(self) -> Generator[Self]:
        """Make the runner ready for calls; on exit every resource it holds is let go.

        Raises:
            TaskRunnerAlreadyStarted: the runner is in use.
        """
        if self._started:
            raise TaskRunnerAlreadyStarted(self.name)
        with ExitStack() as stack:
            self._start(stack)
            self._started = True
            try:
                yield self
            finally:
                self._started = False

    def _start(self, stack: ExitStack) -> None:  # noqa: B027  a runner may need nothing
        """Acquire what the runner needs, and register on `stack` how to let it go."""

    def _require_started(self) -> None:
        if not self._started:
            raise TaskRunnerNotStarted(self.name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskRunner) or type(other) is not type(self):
            return NotImplemented
        return self.options() == other.options()

    __hash__ = None  # pyright: ignore[reportAssignmentType]  options may be dicts

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options().items() if value is not None)
        return f"{type(self).__name__}({options})"

    def __getstate__(self) -> dict[str, Any]:
        # A runner that travels (in a Flow that cloudpickle sends to a worker) is its options, never its threads.
        return self.options()

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state)


BaseTaskRunner = TaskRunner
