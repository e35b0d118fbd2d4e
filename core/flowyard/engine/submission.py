"""A task call seen from outside: what a future is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flowyard.aio import asyncio, running_loop
from flowyard.context import Slot, current
from flowyard.engine.completion import Completion
from flowyard.exceptions import WouldDeadlock
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State
from flowyard.task_runners.base import Handle, TaskRunner


class Submission(Completion):
    """A task run that was submitted; done when it has a state that it will not leave.

    That is a final state, or Pending with the name NotReady. Public futures are a subclass
    (`futures.FlowyardFuture`), so that a pending task is one object. Nothing of the engine refers to a finished one:
    its value lives as long as the user wants.
    """

    __slots__ = ("handle", "hands_on_early", "loops", "revival", "runner", "settled_state", "task_run")

    def __init__(self, task_run: TaskRun, loops: frozenset[asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        self.task_run = task_run
        self.loops = loops
        """Event loops that must turn for this to become done: its own, and those of its upstreams."""
        self.settled_state: State[Any] | None = None
        self.handle: Handle | None = None
        """What the runner gave for the call; on a cluster it keeps the value alive there. None at first."""
        self.runner: TaskRunner | None = None
        """The runner that has the handle."""
        self.revival: Revival | None = None
        """How a value that is lost with its worker is made again; None when it is not."""
        self.hands_on_early = False
        """The call's first outcome is final, so calls that need it may be submitted before it is done."""

    def is_held_by(self, runner: TaskRunner) -> bool:
        """Say whether the value of this is, or will be, with `runner`, where calls that need it can be sent now."""
        if self.handle is None or self.runner is not runner:
            return False
        state = self.settled_state
        if state is not None:
            return state.is_completed()
        # A call that still waits for its chunk to fill has nothing to refer to yet.
        return self.hands_on_early and self.handle.native is not None

    def when_sent(self, runner: TaskRunner) -> Completion | None:
        """Return what is done when calls that need this can be handed to `runner`; None when that is at the end."""
        if self.handle is None or self.runner is not runner or not self.hands_on_early:
            return None
        return self.handle.when_sent()

    def settle(self, state: State[Any]) -> None:
        """Become done with `state`, unless this is done already: its flow did not wait for the end of it."""
        if not self._is_done:
            self.settled_state = state
            self.finish()

    def block_politely(self, timeout: float | None = None) -> bool:
        """Block until done, giving the place of the waiting task back meanwhile; False on time-out.

        Raises:
            WouldDeadlock: this thread runs an event loop that has to do the work.
        """
        if self._is_done:
            return True
        self.refuse_to_deadlock()
        return wait_politely(lambda: self.block(timeout))

    def refuse_to_deadlock(self) -> None:
        """Check that this thread may block until this is done.

        Raises:
            WouldDeadlock: it runs an event loop that must turn first.
        """
        loop = running_loop()
        if loop is None or self._is_done:
            return
        if loop in self.loops:
            raise WouldDeadlock(self.task_run.name)
        state = self.task_run.state
        if self.runner is None or state is None:
            return
        handle = self.handle.native if self.handle is not None and self.handle.outcome is None else None
        if handle is None and not (state.is_pending() or state.is_scheduled()):
            return
        if self.runner.waits_for_loop(handle, loop, _slot_here()):
            raise WouldDeadlock(self.task_run.name, lacks_place=True)


class Revival:
    """How the value of a completed run is made again, when it was lost with a worker.

    A run whose task has `crash_retries` keeps its inputs for that as long as its future lives: the attempts that its
    own worker was lost in and those that make its value again are counted together.
    """

    __slots__ = ("_again", "_left", "_lock", "_making", "_submission")

    def __init__(self, submission: Submission, left: int, again: Callable[[Completion], None]) -> None:
        self._submission = submission
        self._left = left
        self._again = again
        """Starts the call anew; finishes the completion when it is done."""
        self._lock = threading.Lock()
        self._making: Completion | None = None

    def begin(self, lost: Handle | None) -> Completion | None:
        """Make the value again that `lost` stood for, unless somebody has; None when no attempt is left."""
        with self._lock:
            making = self._making
            if making is not None and (not making.is_done or self._submission.handle is not lost):
                return making
            if not self._left:
                return None
            self._left -= 1
            making = self._making = Completion()
        self._again(making)
        return making


def wait_politely(wait: Callable[[], bool]) -> bool:
    """Wait while another task may run in the place of the one that waits."""
    slot = _slot_here()
    if slot is None:
        return wait()
    slot.release()
    try:
        return wait()
    finally:
        slot.acquire()


def _slot_here() -> Slot | None:
    running = current().task_run
    return running.slot if running is not None else None
