"""Asking for slots until they are granted or time is up; how to wait meanwhile is the caller's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from flowyard.context import current
from flowyard.exceptions import AcquireConcurrencySlotTimeoutError
from flowyard.ports.limits import LimitStore
from flowyard.process.control import control_plane
from flowyard.schemas.limits import SlotMode, SlotRequest

# Whoever waits is told when it is worth asking again; this is for a ledger that cannot be heard.
_LONGEST_PAUSE = 10.0
# A denied request keeps its place in the queue for 10 s after each question.
_LONGEST_PAUSE_OF_A_RATE = 3.0


class SlotWait:
    """One request on its way to being granted."""

    def __init__(self, names: str | Sequence[str], occupy: int, mode: SlotMode, timeout_seconds: float | None) -> None:
        given = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
        if not given or not all(given):
            raise ValueError(f"names={names!r} must be the name of a concurrency limit, or several")
        if occupy < 1:
            raise ValueError(f"occupy={occupy!r} must be a number of slots, at least 1")
        here = current()
        flow_run = here.flow_run.flow_run if here.flow_run is not None else None
        task_run_id: UUID | None = None
        if here.task_run is not None:
            task_run_id = getattr(here.task_run.scope, "sent_task_run_id", None) or here.task_run.task_run.id
        self._limits: LimitStore = control_plane().limits
        self._request = SlotRequest(
            names=given,
            slots=occupy,
            mode=mode,
            flow_run_id=flow_run.id if flow_run is not None else None,
            task_run_id=task_run_id,
        )
        self._timeout = timeout_seconds
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._granted_at = 0.0

    def ask(self, when_freed: Callable[[], None]) -> float | None:
        """Return None when the slots are granted, else how many seconds to wait at most before asking again.

        Raises:
            AcquireConcurrencySlotTimeoutError: the time is up; the request has left the queue.
        """
        answer = self._limits.acquire(self._request, when_freed=when_freed)
        if answer.is_granted:
            self._granted_at = time.monotonic()
            return None
        pause = _LONGEST_PAUSE
        if self._request.mode is SlotMode.RATE_LIMIT and not answer.position:
            pause = min(answer.retry_after_seconds, _LONGEST_PAUSE_OF_A_RATE)
        if self._deadline is None:
            return pause
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.leave()
            assert self._timeout is not None
            raise AcquireConcurrencySlotTimeoutError(self._request.names, self._timeout, answer.blocked_by)
        return min(pause, left)

    def leave(self) -> None:
        """Give the place in the queue up."""
        self._limits.release([self._request.lease_id])

    def release(self) -> None:
        """Give the slots back."""
        self._limits.release([self._request.lease_id], time.monotonic() - self._granted_at)
