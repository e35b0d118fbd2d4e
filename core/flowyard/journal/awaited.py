"""Operations whose answers an event loop waits for, without a thread for each. Loaded by servers only."""

from __future__ import annotations

import contextlib
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import override

from flowyard.journal.batches import Operation

T = TypeVar("T")


class Answers:
    """Hands answers to an event loop, those of one commit at once: to wake the loop takes longer than to answer."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._answered: deque[Awaited[Any]] = deque()
        self._is_called = False

    def put(self, operation: Awaited[Any]) -> None:
        """Hand over an answer; from the thread of the writer."""
        self._answered.append(operation)
        # First the answer, then the look at the flag; `_hand_over` does it the other way round, so one of the two sees
        # the other.
        if not self._is_called:
            self._is_called = True
            # A loop that was closed meanwhile has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._is_called = False
        while self._answered:
            self._answered.popleft().settle()


class Awaited(Operation[T]):
    """An operation with a future in the place of a lock. Made on the event loop."""

    __slots__ = ("_answers", "future")

    def __init__(self, act: Callable[[Any], T], answers: Answers) -> None:
        super().__init__(act)
        self._answers = answers
        self.future: Future[T] = answers.loop.create_future()

    @override
    def answer(self) -> None:
        self._answers.put(self)

    def settle(self) -> None:
        """Let who waits go on, unless it went away; on the event loop."""
        if self.future.done():
            return
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._result)  # pyright: ignore[reportArgumentType]  only T when there was no error
