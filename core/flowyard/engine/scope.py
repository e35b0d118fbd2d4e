"""The engine's bookkeeping of one flow run in this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import copy
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.aio import asyncio, running_loop
from flowyard.context import FlowRunContext, TaskRunContext, current
from flowyard.engine.caching import KeyLocks
from flowyard.engine.completion import Completion
from flowyard.engine.lineage import Lineage
from flowyard.engine.replay import Earlier
from flowyard.engine.signals import Interrupts
from flowyard.engine.slots import SlotQueue, SlotTicket
from flowyard.engine.staging import Staging
from flowyard.engine.submission import Submission
from flowyard.logging.run_log import RunLog
from flowyard.ports import ControlPlane, Recorder
from flowyard.process.control import control_plane
from flowyard.process.loops import BackgroundLoop
from flowyard.progress import ProgressView
from flowyard.results.packs import Packs
from flowyard.rules.aggregate import aggregate
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.settings import FLOWYARD_RESULTS_SIGNING_KEY, Settings
from flowyard.task_runners.base import LONGEST_WAIT_IN_PLACE, CallContext, Handle, Shim, TaskRunner

_KEPT_STATES = 100
_WAITING_ROOM = 16


def dynamic_key_of(number: int | str, caller: TaskRunContext | None) -> str:
    """Return the dynamic key of a call from its number and who calls."""
    if caller is None:
        return str(number)
    return f"{number}@{caller.task_run.task_key}-{caller.task_run.dynamic_key}"


class Scope:
    """Where task calls of one flow run (or of a task that was called outside of any) are counted and recorded.

    What it keeps does not grow with the number of finished tasks: counters by state, and the first 100 states that
    are not Completed. Pending submissions are in `live`.
    """

    sent_task_run_id: UUID | None = None
    """On a remote worker: the task run that the flow sent there. What it calls holds slots in its name, for it is what
    is lost with the worker."""

    def __init__(
        self,
        *,
        flow_run: FlowRun | None,
        recorder: Recorder,
        runner: TaskRunner | None,
        settings: Settings,
        shim: Shim,
        background: BackgroundLoop,
        flow_name: str | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        deadline: datetime | None = None,
        progress: ProgressView | None = None,
        is_remote: bool = False,
        control: ControlPlane | None = None,
        log: RunLog | None = None,
        packs: Packs | None = None,
    ) -> None:
        self.flow_run = flow_run
        self.flow_name = flow_name
        self.recorder = recorder
        self.runner = runner
        self.slow_inputs_seconds = settings.FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD
        self.settings = settings
        self.shim = shim
        self.background = background
        self.loop = loop
        """The loop of an async flow; None for a sync one, whose async tasks run on `background`."""
        self.deadline = deadline
        self.timeout_seconds: float | None = None
        """What the deadline was made from: the timeout that the user set, for this flow or one around it."""
        self.progress = progress
        self.log = log
        """The log of the flow run."""
        self.is_remote = is_remote
        """This is a worker: there is no state backend here, so no subflow can start."""
        self.control = control
        """On a worker, what stands for the control plane of the flow's process; None where the settings tell."""
        self.context: FlowRunContext | None = None
        self.packs = packs if packs is not None else Packs()
        """Where small results go; a worker has one `Packs` for all its calls, and closes it."""
        self._owns_packs = packs is None
        self.results: Any = None
        """How the flow keeps results: tasks inherit what they do not set themselves."""
        self.templates: dict[Any, Any] = {}
        """`TaskTemplate` by task: what the engine knows of each task that was called here."""
        self.lineage = Lineage()
        self.key_locks = KeyLocks()
        """Which calls have the turn for which cache key."""
        self.stagings: dict[str, Staging] = {}
        """The open transactions, by their stamp."""
        self.live: dict[Submission, Handle | None] = {}
        self.nested: dict[TaskRun, None] = {}
        """Calls that tasks made directly and that are under way: those of a task that is let go are let go with it."""
        self.dropped: set[TaskRun] = set()
        """What was let go and may still be executed here: nothing is recorded of it any more."""
        self.exit_request: BaseException | None = None
        """A KeyboardInterrupt or SystemExit of a task, raised again when the flow has ended."""
        self.interrupts = Interrupts()
        """The signals that arrived while the root flow ran."""
        self.is_closed = False
        """The flow run has ended: nothing can be called in it any more."""
        self.earlier: Earlier | None = None
        """What this run's earlier attempts left; None when it has none and will have no later one."""
        self.continuation: Any = None
        """Where this run started from (`continuation.Continuation`), for its subflows; None for nothing."""
        self.runners: ExitStack | None = None
        """Closes the flow's runners at its end; None where no runner can be started."""
        self._extra_runners: list[TaskRunner] = []
        self._runner_lock = threading.Lock()
        self._spare: BackgroundLoop | None = None
        self._waiting_room: ThreadPoolExecutor | None = None
        self.slots: SlotQueue | None = None
        """Asks for slots of concurrency limits; None until a task has a tag."""
        self._lock = threading.Lock()
        self._counters: dict[str, int] = {}
        self._counts: Counter[StateType] = Counter()
        self._kept: list[State[Any]] = []
        self._idle: list[Completion] = []
        self._call_contexts: dict[tuple[frozenset[str], bool, str | None, bool], CallContext] = {}
        self._feeds: set[object] = set()
        self.feed_errors: list[BaseException] = []
        """What stopped the maps of this run, and no user code has seen yet."""

    @property
    def is_cancelling(self) -> bool:
        """Whether somebody wants the root flow run to end, and so this one."""
        return self.interrupts.is_cancelling

    def seconds_left(self) -> float | None:
        """Return how long the flow may still run, a moment at least; None for as long as it wants."""
        return None if self.deadline is None else max((self.deadline - utcnow()).total_seconds(), 0.001)

    def is_overdue(self) -> bool:
        """Say whether the flow should have ended by now."""
        return self.deadline is not None and utcnow() >= self.deadline

    def loop_for(self, is_async: bool) -> asyncio.AbstractEventLoop | None:
        """Return the event loop that a task of the given colour, submitted here, runs on; None for a sync one."""
        if not is_async:
            return None
        loop = self.loop if self.loop is not None else self.background.get()
        hook = current().hook
        if hook is not None and hook.entry_loop is loop:
            return self._loop_beside(loop)
        if loop is not running_loop():
            return loop
        caller = current().colour
        return loop if caller is None or caller.is_async else self._loop_beside(loop)

    def _loop_beside(self, blocked: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """Return another loop than the one whose thread sync code blocks now: it will wait for the task there."""
        loop = self.background.get()
        if loop is not blocked:
            return loop
        with self._lock:
            if self._spare is None:
                self._spare = BackgroundLoop()
        return self._spare.get()

    def close(self) -> None:
        """Refuse further calls: the flow run has ended."""
        self.is_closed = True
        if self._owns_packs:
            self.packs.close()
        if self.slots is not None:
            self.slots.close()
        if self._spare is not None:
            self._spare.close()
        if self._waiting_room is not None:
            self._waiting_room.shutdown(wait=False)

    @property
    def waiting_room(self) -> ThreadPoolExecutor:
        """The threads in which submitted calls wait for storage that is far away."""
        with self._lock:
            if self._waiting_room is None:
                self._waiting_room = ThreadPoolExecutor(_WAITING_ROOM, "flowyard-storage")
            return self._waiting_room

    # --- identity of task runs ----------------------------------------------------------------------------

    def take_numbers(self, task_key: str, caller: TaskRunContext | None, count: int = 1) -> int:
        """Return the first of `count` numbers for calls of a task: how many calls of it the caller made before.

        Calls from the flow are numbered 0, 1, ...; calls from a task are numbered per calling run (see
        `dynamic_key_of`), so a key means the same call again when the flow is run again.
        """
        with self._lock:
            if caller is None:
                counters = self._counters
            else:
                counters = caller.counters
                if counters is None:
                    counters = caller.counters = {}
            number = counters.get(task_key, 0)
            counters[task_key] = number + count
        return number

    def begin_attempt(self) -> None:
        """Forget what the last attempt of the flow run counted: its function starts from the top."""
        self._counters = {}
        self._counts = Counter()
        self._kept = []
        self.feed_errors = []
        self._call_contexts = {}  # they have the deadline
        if self.earlier is not None:
            self.earlier.begin_attempt()

    def call_context(
        self, tags: frozenset[str], *, runner: TaskRunner | None, is_patient: bool, transaction: str | None = None
    ) -> CallContext:
        """Return what travels to `runner` with calls made under `tags`; patient ones sleep through every retry delay.

        Made once: it is the same for all calls of a map, and nobody changes it.
        """
        leaves = runner is not None and not self.is_remote and runner.capabilities.processes
        context = self._call_contexts.get((tags, is_patient, transaction, leaves))
        if context is None:
            context = CallContext(
                flow_run=self.flow_run,
                flow_name=self.flow_name,
                tags=tags,
                deadline=self.deadline,
                flow_timeout_seconds=self.timeout_seconds,
                longest_wait_in_place=float("inf") if is_patient else LONGEST_WAIT_IN_PLACE,
                settings=self._settings_for_workers() if leaves else {},
                transaction=transaction,
            )
            self._call_contexts[tags, is_patient, transaction, leaves] = context
        return context

    def _settings_for_workers(self) -> Mapping[str, str]:
        """Return what is set here, for workers whose environment says something else.

        Secrets stay here, but for the key that signs results: these are written and read where tasks run.
        """
        chosen = self.settings.to_environment_variables(exclude_unset=True, exclude_secrets=True)
        if self.settings.FLOWYARD_RESULTS_SIGNING_KEY:
            chosen[FLOWYARD_RESULTS_SIGNING_KEY.name] = self.settings.FLOWYARD_RESULTS_SIGNING_KEY
        return chosen

    # --- concurrency limits --------------------------------------------------------------------------------

    def is_limited(self, tags: Sequence[str]) -> bool:
        """Say whether a concurrency limit counts the task runs with one of these tags."""
        return bool(self._slot_queue().limits_of(tags))

    def slot_ticket(self, run: TaskRun, caller_tags: Sequence[str]) -> SlotTicket | None:
        """Let a task run wait for the slots of its tags; None when it needs none.

        A task that is called by one with the same tag runs in that one's slot: its caller waits for it.
        """
        slots = self._slot_queue()
        limits = slots.limits_of(set(run.tags).difference(caller_tags))
        return slots.enter(run, limits, self.recorder) if limits else None

    def take_slots_back(self, task_run_id: UUID) -> None:
        """Give back what a task run that was lost with its worker holds by `concurrency`; returns at once."""
        self._slot_queue().forget(task_run_id)

    def _slot_queue(self) -> SlotQueue:
        if self.slots is None:
            with self._lock:
                self.slots = self.slots or SlotQueue(control_plane().limits, self.sent_task_run_id)
        return self.slots

    # --- calls ---------------------------------------------------------------------------------------------

    def enter_call(self, run: TaskRun) -> None:
        """Note that a direct call is under way, if a task made it: the flow's own end with the flow's function."""
        if run.parent_task_run_id is not None:
            self.nested[run] = None

    def leave_call(self, run: TaskRun) -> None:
        """Note that a direct call is done."""
        if run.parent_task_run_id is not None:
            self.nested.pop(run, None)

    # --- submissions ---------------------------------------------------------------------------------------

    def admit(self, submission: Submission) -> None:
        """Note that a submission is under way."""
        self.live[submission] = None

    def has_let_go(self, submission: Submission | None) -> bool:
        """Say whether a submitted call was ended from here: whatever becomes of it now is dropped."""
        return submission is not None and submission not in self.live

    def dismiss(self, submission: Submission) -> None:
        """Note that a submission is done; wakes whoever waits for the last one."""
        with self._lock:
            self.live.pop(submission, None)
            waiting = self._take_idle()
        for completion in waiting:
            completion.finish()

    def begin_feed(self) -> object:
        """Note that a map is going to submit more; returns what stands for it."""
        feed = object()
        with self._lock:
            self._feeds.add(feed)
        return feed

    def wants(self, feed: object) -> bool:
        """Say whether a map may submit more: the flow run, or this attempt of it, has not ended."""
        return feed in self._feeds and not self.is_closed

    def end_feed(self, feed: object, error: BaseException | None) -> None:
        """Note that a map has submitted everything, or what stopped it: the flow fails with that, if nobody sees it."""
        with self._lock:
            if feed not in self._feeds:
                return
            self._feeds.discard(feed)
            if error is not None:
                self.feed_errors.append(error)
            waiting = self._take_idle()
        for completion in waiting:
            completion.finish()

    def _take_idle(self) -> list[Completion]:
        if self.live or self._feeds:
            return []
        waiting, self._idle = self._idle, []
        return waiting

    def when_idle(self) -> Completion:
        """Return a completion that is done when nothing is under way."""
        completion = Completion()
        with self._lock:
            if self.live or self._feeds:
                self._idle.append(completion)
                return completion
        completion.finish()
        return completion

    def withdraw_waiting(self) -> None:
        """Keep from beginning what has not begun, where that stops nothing that has."""
        for runner, handles in self._native_handles(lambda run: run.state_type is StateType.PENDING):
            runner.withdraw_many(handles)

    def abandon_live(self) -> None:
        """Ask the runners to stop everything that is under way; no slot that comes free now may start any of it."""
        if self.slots is not None:
            self.slots.stop()
        for runner, handles in self._native_handles(lambda _run: True):
            runner.cancel_many(handles)

    def _native_handles(self, is_meant: Callable[[TaskRun], bool]) -> Iterable[tuple[TaskRunner, list[Handle]]]:
        """Return the handles of what is under way, by their runners."""
        live: dict[int, tuple[TaskRunner, list[Handle]]] = {}
        for submission, handle in list(self.live.items()):
            runner = submission.runner or self.runner
            # A call that waits for its chunk to fill is nothing that its runner knows.
            native = None if handle is None else handle.native
            if native is not None and runner is not None and is_meant(submission.task_run):
                live.setdefault(id(runner), (runner, []))[1].append(native)
        return live.values()

    def let_go(self, end: Callable[[TaskRun], State[Any]]) -> None:
        """Give everything that is still under way the state that `end` says, and wait for it no more.

        The last submitted come first: a call that waits for another one must not go on when that has ended.
        """
        with self._lock:
            self._feeds.clear()
        for submission in reversed(list(self.live)):
            state = end(submission.task_run)
            # Whoever has the call enters its own end of it in the run that was handed over, sooner or later.
            self.dropped.add(submission.task_run)
            run = submission.task_run = copy(submission.task_run)
            if self.earlier is not None:
                self.earlier.runs[run.task_key, run.dynamic_key] = run
            self.dismiss(submission)
            submission.settle(state)
        self.let_go_of_nested(end)

    def let_go_of_nested(self, end: Callable[[TaskRun], State[Any]]) -> None:
        """Do the same for direct calls of tasks, in threads that nobody waits for and nothing could stop."""
        for run in reversed(list(self.nested)):
            end(run)
            self.dropped.add(run)

    # --- runners --------------------------------------------------------------------------------------------

    def runner_for(self, wanted: TaskRunner | None) -> TaskRunner | None:
        """Return the runner for a task that asks for one of its own; it is started once and lives as long as the flow.

        A worker, and a task outside of any flow, run everything where they are. Blocks while it is started; without the
        lock where it is, because an event loop that submits must not wait until another thread has started a cluster.
        """
        if wanted is None or self.runners is None:
            return self.runner
        found = self._started_runner(wanted)
        if found is not None:
            return found
        with self._runner_lock:
            runner = self._started_runner(wanted)
            if runner is None:
                runner = wanted.duplicate()
                self.runners.enter_context(runner.start())
                self._extra_runners.append(runner)
            return runner

    def _started_runner(self, wanted: TaskRunner) -> TaskRunner | None:
        return next((runner for runner in tuple(self._extra_runners) if runner == wanted), None)

    # --- the flow's final state -----------------------------------------------------------------------------

    def note(self, state: State[Any]) -> None:
        """Count a state that a task run or a subflow run will not leave."""
        with self._lock:
            self._counts[state.type] += 1
            if state.type is not StateType.COMPLETED and len(self._kept) < _KEPT_STATES:
                self._kept.append(state)

    @property
    def counts(self) -> Mapping[StateType, int]:
        """How many runs ended in each type of state."""
        return self._counts

    def final_state(self) -> State[Any]:
        """Return the state of a flow that returned None: what its runs add up to."""
        if not self._counts:
            return State(StateType.COMPLETED)
        state_type, message = aggregate(self._counts)
        data = list(self._kept) if state_type is not StateType.COMPLETED else None
        return State(state_type, message=message, data=data)
