"""Waiting for what Ray makes: one thread that asks for many references at once.

Ray can also call back for each reference, but does so on the thread that handles all its replies, which then waits for
the interpreter lock: up to 5 ms for each, while the flow's process is busy. Measured: half the throughput.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from flowyard.logging.loggers import get_logger
from flowyard_ray.api import ray

_LOOK_AGAIN_SECONDS = 0.01
"""How long a reference that was added while others are waited for goes unnoticed at most."""
_MANY = 16
_GATHER_SECONDS = 0.01
"""How long more is waited for when one of many has come: a look at all of them costs as much as several answers."""
_ANSWERS = Sequence[tuple[Any, Any, BaseException | None]]


class Waiter:
    """Tells what references stand for as soon as Ray knows.

    Args:
        tell: called on the waiter's thread with what has come: (key, value, None) or (key, None, error) for each.
    """

    def __init__(self, tell: Callable[[_ANSWERS], None]) -> None:
        self._tell = tell
        self._changed = threading.Condition(threading.Lock())
        self._keys: dict[Any, Any] = {}
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="flowyard-ray-waiter", daemon=True)
        self._thread.start()

    def add(self, reference: Any, key: Any) -> None:
        """Wait for a reference."""
        with self._changed:
            self._keys[reference] = key
            if len(self._keys) == 1:
                self._changed.notify()

    def close(self) -> None:
        """Stop waiting; returns when nothing is told any more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._keys and not self._is_closing:
                    self._changed.wait()
                if self._is_closing:
                    return
                references = list(self._keys)
            try:
                answers = self._look(references)
            except Exception as error:  # the connection is gone: nothing will ever come
                get_logger("task_runners.ray").debug("Waiting for Ray failed", exc_info=True)
                answers = [(reference, None, error) for reference in references]
            if answers:
                with self._changed:
                    told = [(self._keys.pop(reference), value, error) for reference, value, error in answers]
                self._tell(told)
                # While this thread sleeps it must not keep alive what nobody else wants.
                del told, references, answers

    def _look(self, references: list[Any]) -> _ANSWERS:
        ready, others = ray.wait(references, num_returns=1, timeout=_LOOK_AGAIN_SECONDS)
        if not ready:
            return ()
        if others:
            if len(others) >= _MANY:
                time.sleep(_GATHER_SECONDS)
            also, _ = ray.wait(others, num_returns=len(others), timeout=0)
            ready += also
        try:
            return [(reference, value, None) for reference, value in zip(ready, ray.get(ready), strict=True)]
        except Exception:  # of one of them
            return [_answer(reference) for reference in ready]


def _answer(reference: Any) -> tuple[Any, Any, BaseException | None]:
    try:
        return reference, ray.get(reference), None
    except Exception as error:
        return reference, None, error
