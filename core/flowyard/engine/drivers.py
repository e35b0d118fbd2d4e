"""The drivers of steps: one blocks, one awaits, one goes on by callbacks.

A step function is written once and runs the same in every colour. Around the effects a driver costs about 1
microsecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flowyard.engine.effects import Effect, Thrown

T = TypeVar("T")
Steps = Coroutine[Effect[Any], Any, T]


def run_blocking(steps: Steps[T]) -> T:
    """Advance steps to their end in this thread; no event loop is touched."""
    advance: Callable[[Any], Effect[Any]] = steps.send
    value: Any = None
    while True:
        try:
            effect = advance(value)
        except StopIteration as stop:
            return stop.value
        try:
            value = effect.block()
            advance = steps.send
        except BaseException as error:  # it belongs to the steps
            value = error
            advance = steps.throw


async def run_async(steps: Steps[T]) -> T:
    """Advance steps to their end on the running event loop."""
    advance: Callable[[Any], Effect[Any]] = steps.send
    value: Any = None
    while True:
        try:
            effect = advance(value)
        except StopIteration as stop:
            return stop.value
        try:
            value = await effect.perform()
            advance = steps.send
        except BaseException as error:
            value = error
            advance = steps.throw


def run_detached(steps: Steps[Any], failed: Callable[[BaseException], None]) -> None:
    """Advance steps as far as they go now; completion callbacks advance them further, on the completing threads.

    Returns at the first effect that is not done at once. `failed` gets what the steps raise: nobody waits for them
    here.
    """
    _advance(steps, None, failed)


def _advance(steps: Steps[Any], value: Any, failed: Callable[[BaseException], None]) -> None:
    # A loop, not recursion: an effect that is done at once calls `resume` before `detach` returns.
    while True:
        try:
            effect = steps.throw(value.error) if value.__class__ is Thrown else steps.send(value)
        except StopIteration:
            return
        except BaseException as error:
            failed(error)
            return
        waiting = _Waiting(steps, failed)
        try:
            effect.detach(waiting.resume)
        except BaseException as error:
            value = Thrown(error)
            continue
        if not waiting.leave():
            return
        value = waiting.value


class _Waiting:
    """Decides, whichever comes first, whether `resume` or the loop that called `detach` goes on."""

    __slots__ = ("_failed", "_is_left", "_lock", "_steps", "_was_resumed", "value")

    def __init__(self, steps: Steps[Any], failed: Callable[[BaseException], None]) -> None:
        self._steps = steps
        self._failed = failed
        self._lock = threading.Lock()
        self._is_left = False
        self._was_resumed = False
        self.value: Any = None

    def resume(self, value: Any) -> None:
        with self._lock:
            self.value = value
            self._was_resumed = True
            if not self._is_left:
                return
        _advance(self._steps, value, self._failed)

    def leave(self) -> bool:
        """Say whether the value is here already; if not, `resume` goes on with it."""
        with self._lock:
            self._is_left = True
            return self._was_resumed
