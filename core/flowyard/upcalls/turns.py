"""Requests for slots of remote workers: the flow's process waits in their place, and answers when it is their turn.

A worker asks again when the answer is that its time has not come, so the place of one that died is kept for a few
seconds more, and no longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from uuid import UUID

from flowyard.ports.limits import LimitStore

WAIT_FOR_TURN: Final = "wait_for_turn"
"""The question `limits.wait_for_turn(lease_id, seconds)`: True when the request is to be asked for again, and False
after so many seconds, or when it need not be waited for any more."""


class _Wait(NamedTuple):
    limits: LimitStore
    lease_id: UUID
    answer: Callable[[bool], object]
    until: float


class Turns:
    """The requests that wait here. Its thread lives as long as there are some.

    Args:
        soon: calls a function on another thread, soon; what is answered may take a while to send.
    """

    def __init__(self, soon: Callable[[Callable[[], object]], None]) -> None:
        self._soon = soon
        self._waits: dict[UUID, _Wait] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def wait(self, limits: LimitStore, lease_id: UUID, seconds: float, answer: Callable[[bool], object]) -> None:
        """Wait in the place of a worker whose request was denied.

        Args:
            limits: the ledger.
            lease_id: of the request.
            seconds: how long at most.
            answer: called once on another thread, unless this is closed before.
        """
        self.end([lease_id])
        wait = _Wait(limits, lease_id, answer, time.monotonic() + seconds)
        with self._changed:
            if self._is_closed:
                return
            self._waits[lease_id] = wait
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._expire, name="flowyard-turns", daemon=True)
                self._thread.start()
        try:
            limits.watch(lease_id, lambda: self._end(wait, is_turn=True))
        except BaseException:
            with self._changed:
                self._waits.pop(lease_id, None)
            raise

    def end(self, lease_ids: Iterable[UUID]) -> None:
        """Wait for these no more: their workers have asked for something else."""
        for lease_id in lease_ids:
            wait = self._waits.get(lease_id)
            if wait is not None:
                self._end(wait, is_turn=False)

    def close(self) -> None:
        """Wait for nobody, and answer nobody."""
        with self._changed:
            self._is_closed = True
            waits, self._waits = list(self._waits.values()), {}
            thread = self._thread
            self._changed.notify()
        for wait in waits:
            wait.limits.unwatch(wait.lease_id)
        if thread is not None:
            thread.join()

    def _end(self, wait: _Wait, *, is_turn: bool) -> None:
        with self._changed:
            if self._waits.get(wait.lease_id) is not wait:
                return
            del self._waits[wait.lease_id]
        # Before it is answered: then the worker may wait anew.
        wait.limits.unwatch(wait.lease_id)
        self._soon(lambda: wait.answer(is_turn))

    def _expire(self) -> None:
        while True:
            with self._changed:
                if not self._waits:
                    self._thread = None
                    return
                due = min(self._waits.values(), key=lambda wait: wait.until)
                left = due.until - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
            self._end(due, is_turn=False)
