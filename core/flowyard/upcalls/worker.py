"""The end of a remote worker: a control plane whose every call is a question to the flow's process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from flowyard.exceptions import UpcallTimeout, UpcallUnavailable
from flowyard.ports import ControlPlane
from flowyard.schemas.ids import new_id
from flowyard.upcalls.calls import NOUNS, Question, open_answer
from flowyard.upcalls.channel import UpcallChannel
from flowyard.upcalls.limits import WorkerLimits
from flowyard.upcalls.nouns import AskedNoun


def upcall_control_plane(channel: UpcallChannel | None, *, timeout: float) -> ControlPlane:
    """Return a control plane that asks over a channel.

    Args:
        channel: None for a task runner that has none; every call then raises `UpcallUnavailable`.
        timeout: seconds that an answer may take.
    """
    return cast("ControlPlane", _UpcallControlPlane(_Asker(channel, timeout), timeout=timeout))


class _Asker:
    __slots__ = ("_channel", "_timeout")

    def __init__(self, channel: UpcallChannel | None, timeout: float) -> None:
        self._channel = channel
        self._timeout = timeout

    def __call__(self, question: Question) -> Any:
        channel = self._channel
        if channel is None:
            raise UpcallUnavailable(question.name)
        packed = question.pack()
        try:
            answer = channel.ask(packed, self._timeout)
        except TimeoutError as error:
            raise UpcallTimeout(question.name, channel.runner, self._timeout) from error
        return open_answer(answer)


class AskedControlPlane(AskedNoun):
    """A control plane whose every call is a question; `ask` returns the answer, or raises what it says."""

    __slots__ = tuple(sorted(NOUNS))

    def __init__(self, ask: Callable[[Question], Any]) -> None:
        super().__init__(ask, "")
        for noun in NOUNS:
            object.__setattr__(self, noun, AskedNoun(ask, noun))


class _UpcallControlPlane(AskedControlPlane):
    __slots__ = ()

    def __init__(self, ask: Callable[[Question], Any], *, timeout: float) -> None:
        super().__init__(ask)
        object.__setattr__(self, "limits", WorkerLimits(ask, timeout=timeout))

    def reap_dead_runs(self, now: datetime) -> list[UUID]:
        """Leave that to processes that have a state backend."""
        del now
        return []


class OpenQuestions:
    """Brings answers that come on one thread to the threads that wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[bytes, queue.SimpleQueue[bytes]] = {}

    def ask(self, send: Callable[[bytes], None], timeout: float) -> bytes:
        """Return the answer to a question.

        Args:
            send: is given the key under which the answer will come, and sends the question.
            timeout: seconds.

        Raises:
            TimeoutError: it did not come.
        """
        key = new_id().bytes
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with self._lock:
            self._waiting[key] = answers
        try:
            send(key)
            return answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no answer within {timeout:g} s") from None
        finally:
            with self._lock:
                del self._waiting[key]

    def answered(self, answers: Mapping[bytes, bytes]) -> None:
        """Take answers in, by their keys; those that nobody waits for any more are dropped."""
        with self._lock:
            for key, answer in answers.items():
                waiting = self._waiting.get(key)
                if waiting is not None:
                    waiting.put(answer)
