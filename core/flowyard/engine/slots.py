"""Slots of the concurrency limits that tags of task runs name: taken when inputs are final, before the call is sent.

One thread per flow run asks the ledger for all its waiting calls, and only for the first of those that want the same:
ten thousand tasks under one limit are one place in its queue at a time. Each of them says once that it waits, when it
begins to: which limit, and how many are before it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from uuid import UUID

from typing_extensions import override

from flowyard.context import Slot
from flowyard.engine.completion import Completion
from flowyard.engine.effects import Resume, WaitFor
from flowyard.exceptions import FlowyardError
from flowyard.logging.loggers import get_logger
from flowyard.ports import Recorder
from flowyard.ports.limits import LimitStore
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.limits import TAG_PREFIX, SlotAnswer, SlotRequest
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateType

_LONGEST_PAUSE_SECONDS = 10.0
"""Between two questions of somebody who is told when it is worth asking: for a ledger that cannot be heard."""
_REFRESH_SECONDS = 5.0
"""How long a new limit can go unseen by a flow run that is under way."""


class SlotTicket(Completion):
    """A task run's place in the queue; done when it has its slots, or never will (`error`)."""

    __slots__ = (
        *("_queue", "answer", "ask_again_at", "error", "granted_at", "is_returned", "is_shown", "is_waiting"),
        *("recorder", "request", "run"),
    )

    def __init__(
        self, queue: SlotQueue, run: TaskRun, names: tuple[str, ...], recorder: Recorder, holder_id: UUID
    ) -> None:
        super().__init__()
        self._queue = queue
        self.run = run
        self.recorder = recorder
        self.request = SlotRequest(names=names, slots=1, flow_run_id=run.flow_run_id, task_run_id=holder_id)
        self.error: BaseException | None = None
        self.granted_at: float | None = None
        self.answer: SlotAnswer | None = None
        """Why it waits; None until the ledger was asked."""
        self.ask_again_at = 0.0
        self.is_waiting = True
        self.is_returned = False
        self.is_shown = False

    def require_granted(self) -> None:
        """Check that the slots are there.

        Raises:
            FlowyardError: they never will be; says why.
        """
        if self.error is not None:
            raise self.error

    def give_back(self) -> None:
        """Let others have the slots, or the place in the queue. Returns at once."""
        self._queue.give_back(self)


class TakeSlots(WaitFor):
    """Go on when a ticket has its slots, or never will."""

    __slots__ = ("is_sequential", "ticket")

    def __init__(self, ticket: SlotTicket, place: Slot | None, *, is_sequential: bool) -> None:
        super().__init__([ticket], place)
        self.ticket = ticket
        self.is_sequential = is_sequential
        """The call runs where it is submitted, so its caller has to wait."""

    @override
    def detach(self, resume: Resume) -> None:
        if self.is_sequential:
            self.ticket.block()
        super().detach(resume)


class SlotQueue:
    """Asks for the slots of the task runs of one flow run. Its thread lives as long as somebody waits or holds.

    Args:
        limits: the ledger.
        holder_id: the task run that holds them; None for each its own.
    """

    def __init__(self, limits: LimitStore, holder_id: UUID | None = None) -> None:
        self._limits = limits
        self._holder_id = holder_id
        self._lock = threading.Lock()
        self._wakeup = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: dict[tuple[str, ...], deque[SlotTicket]] = {}
        self._returned: list[SlotTicket] = []
        self._lost: list[UUID] = []
        self._known: frozenset[str] = frozenset()
        self._known_until = 0.0

    def limits_of(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the limits that tags name; asks the state backend every 5 s."""
        now = time.monotonic()
        if now >= self._known_until:
            self._known = frozenset(self._limits.names(TAG_PREFIX))
            self._known_until = now + _REFRESH_SECONDS
        if not self._known:
            return ()
        return tuple(sorted(self._known.intersection(TAG_PREFIX + tag for tag in tags)))

    def enter(self, run: TaskRun, names: tuple[str, ...], recorder: Recorder) -> SlotTicket:
        """Let a task run wait for its slots."""
        ticket = SlotTicket(self, run, names, recorder, self._holder_id or run.id)
        with self._lock:
            self._waiting.setdefault(names, deque()).append(ticket)
            self._work_soon()
        return ticket

    def give_back(self, ticket: SlotTicket) -> None:
        """Take the slots, or the place, of a ticket back."""
        with self._lock:
            if ticket.is_returned:
                return  # by `stop`; the steps that wait for it can be let go much later
            ticket.is_returned = True
            self._returned.append(ticket)
            self._work_soon()

    def stop(self) -> None:
        """Leave every queue. Who waited goes on waiting: its run is ended by somebody else."""
        with self._lock:
            self._leave()

    def forget(self, run_id: UUID) -> None:
        """Take back what a task run held that was lost with its worker (`concurrency` in its code)."""
        with self._lock:
            self._lost.append(run_id)
            self._work_soon()

    def close(self) -> None:
        """Leave every queue and wait until everything is given back."""
        with self._lock:
            self._leave()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _leave(self) -> None:
        for queue in self._waiting.values():
            for ticket in queue:
                if not ticket.is_returned:
                    ticket.is_returned = True
                    self._returned.append(ticket)
        if self._returned:
            self._work_soon()

    def _work_soon(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="flowyard-slots", daemon=True)
            self._thread.start()
        self._wakeup.set()

    def _work(self) -> None:
        while True:
            self._wakeup.clear()
            with self._lock:
                returned, self._returned = self._returned, []
                lost, self._lost = self._lost, []
                if any(ticket.is_waiting for ticket in returned):
                    for names, queue in self._waiting.items():
                        self._waiting[names] = deque(ticket for ticket in queue if not ticket.is_returned)
                heads = [queue[0] for queue in self._waiting.values() if queue]
                if not (returned or lost or heads):
                    self._thread = None
                    return
            self._take_back(returned, lost)
            now = time.monotonic()
            settled = [ticket for ticket in heads if now >= ticket.ask_again_at and self._ask(ticket)]
            with self._lock:
                for ticket in settled:
                    self._waiting[ticket.request.names].popleft()
                    ticket.is_waiting = False
            for ticket in settled:
                if not ticket.is_returned:
                    ticket.finish()
            if not settled:
                for ticket in heads:
                    self._show_behind(ticket)
                due = min((ticket.ask_again_at for ticket in heads), default=now)
                self._wakeup.wait(max(due - time.monotonic(), 0.0))

    def _take_back(self, returned: list[SlotTicket], lost: list[UUID]) -> None:
        now = time.monotonic()
        try:
            for ticket in returned:
                seconds = None if ticket.granted_at is None else now - ticket.granted_at
                self._limits.release([ticket.request.lease_id], seconds)
            if lost:
                self._limits.release_of_runs(lost)
        except FlowyardError as error:
            # The slots come back when this process ends: others see that it is gone.
            get_logger("engine").error("slots of concurrency limits could not be given back: %s", error)

    def _ask(self, ticket: SlotTicket) -> bool:
        """Ask for the slots of a ticket; True when it need not wait any more."""

        def call() -> None:
            ticket.ask_again_at = 0.0
            self._wakeup.set()

        ticket.ask_again_at = time.monotonic() + _LONGEST_PAUSE_SECONDS
        try:
            answer = self._limits.acquire(ticket.request, when_freed=call)
        except FlowyardError as error:
            ticket.error = error
            return True
        ticket.answer = answer
        if answer.is_granted:
            ticket.granted_at = time.monotonic()
        return answer.is_granted

    def _show_behind(self, head: SlotTicket) -> None:
        """Let the first of a queue and those behind it say that they wait, if they have not."""
        answer = head.answer
        assert answer is not None
        with self._lock:
            queue = self._waiting[head.request.names]
            unseen = list(takewhile(lambda ticket: not ticket.is_shown, reversed(queue)))
            first = len(queue) - len(unseen)
        for before, ticket in enumerate(reversed(unseen), first + answer.position):
            # One at a time: others can enter the queue, and whoever gives up can enter its last state, in between.
            with self._lock:
                if not ticket.is_returned:
                    _enter_waiting(ticket, answer.blocked_by or "", before)


def _enter_waiting(ticket: SlotTicket, limit: str, before: int) -> None:
    ticket.is_shown = True
    run = ticket.run
    if run.state is None or run.state.name == "AwaitingSlot":
        return
    message = f"Waiting for a slot of the limit of tag {limit.removeprefix(TAG_PREFIX)!r}; {before} before this one."
    state = State(StateType.PENDING, "AwaitingSlot", message)
    enter_state(run, state)
    ticket.recorder.append(TaskRunEntered(run.id, state))
