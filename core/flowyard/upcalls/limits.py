"""The ledger of slots as a remote worker has it: whoever waits there is woken by the flow's process."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from typing_extensions import override

from flowyard.schemas.limits import SlotAnswer, SlotRequest
from flowyard.upcalls.calls import Question
from flowyard.upcalls.nouns import AskedNoun
from flowyard.upcalls.turns import WAIT_FOR_TURN

_LONGEST_WAIT_SECONDS = 5.0
_PAUSE_AFTER_ERROR_SECONDS = 0.5
_logger = logging.getLogger("flowyard.limits")


class AskedLimits(AskedNoun, ABC):
    """The ledger of slots elsewhere. Denied requests are woken when it is their turn, whoever gave the slots back."""

    __slots__ = ()

    def __init__(self, ask: Callable[[Question], Any]) -> None:
        super().__init__(ask, "limits")

    def acquire(self, request: SlotRequest, *, when_freed: Callable[[], None] | None = None) -> SlotAnswer:
        """See `LimitStore`."""
        answer: SlotAnswer = self._ask(Question("limits", "acquire", [request], {}))
        if answer.is_granted:
            self._forget([request.lease_id])
            return answer
        if when_freed is None:
            return answer
        self._call(request.lease_id, when_freed)
        return replace(answer, is_called=True)

    def release(self, lease_ids: Sequence[UUID], occupancy_seconds: float | None = None) -> None:
        """See `LimitStore`."""
        self._forget(lease_ids)
        self._ask(Question("limits", "release", [list(lease_ids), occupancy_seconds], {}))

    @abstractmethod
    def _call(self, lease_id: UUID, when_freed: Callable[[], None]) -> None:
        """Have a request that was denied woken."""

    @abstractmethod
    def _forget(self, lease_ids: Sequence[UUID]) -> None:
        """Wake these no more."""


class WorkerLimits(AskedLimits):
    """The ledger of slots of the flow's process. Thread-safe.

    For each request that waits here a thread waits for the answer to one long question.

    Args:
        ask: returns the answer to a question.
        timeout: seconds that an answer may take.
    """

    __slots__ = ("_lock", "_seconds", "_waiting")

    def __init__(self, ask: Callable[[Question], Any], *, timeout: float) -> None:
        super().__init__(ask)
        self._seconds = min(_LONGEST_WAIT_SECONDS, timeout / 2)
        self._lock = threading.Lock()
        self._waiting: dict[UUID, Callable[[], None]] = {}

    @override
    def _call(self, lease_id: UUID, when_freed: Callable[[], None]) -> None:
        with self._lock:
            is_new = lease_id not in self._waiting
            self._waiting[lease_id] = when_freed
        if is_new:
            threading.Thread(target=self._wait, args=(lease_id,), name="flowyard-slot-turn", daemon=True).start()

    @override
    def _forget(self, lease_ids: Sequence[UUID]) -> None:
        with self._lock:
            for lease_id in lease_ids:
                self._waiting.pop(lease_id, None)

    def _wait(self, lease_id: UUID) -> None:
        while lease_id in self._waiting:
            try:
                is_turn: bool = self._ask(Question("limits", WAIT_FOR_TURN, [lease_id, self._seconds], {}))
            except Exception as error:  # whoever waits asks again, and is told why
                _logger.debug("the flow's process cannot be waited for: %s", error)
                time.sleep(_PAUSE_AFTER_ERROR_SECONDS)
                is_turn = True
            if is_turn:
                with self._lock:
                    wake = self._waiting.pop(lease_id, None)
                if wake is not None:
                    wake()
