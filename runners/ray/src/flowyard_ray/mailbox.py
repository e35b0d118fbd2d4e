"""The mailbox of a flow run: an actor that takes what running calls record, until the flow's process asks for it.

Of a batch it also takes how calls ended while others of it still run: these outlive the worker.

Nothing depends on it: a call's outcome brings whatever did not come this way. It is started only when a call has been
under way for a moment, so that a flow of quick tasks pays for no actor.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

from flowyard_ray.api import ray
from flowyard_ray.upcalls import QuestionBox

_MOST_BYTES = 16 * 1024 * 1024
_LONGEST_POLL_SECONDS = 10.0
_GATHER_SECONDS = 0.02

REPORT = -1
Letter = tuple[int, int, bytes]
"""Token of the call, number of the first event, packed events; `REPORT` in place of the number, and a packed report."""


class Mailbox(QuestionBox):
    """Takes letters from workers and hands them to the one who polls."""

    def __init__(self) -> None:
        super().__init__()
        self._letters: list[Letter] = []
        self._bytes = 0
        self._next: dict[int, int] = {}
        self._confirmed: dict[int, int] = {}
        self._arrival = asyncio.Event()
        self._urgent = 0

    async def push(
        self, token: int, first: int, count: int, events: bytes, reports: list[tuple[int, bytes]]
    ) -> tuple[int, int, bool]:
        """Take events of a call, and reports of others that ended.

        Returns the number of the event wanted next, how many the flow's process has, whether the reports were taken.
        What leaves a gap, or does not fit, is not taken: the worker sends it again.
        """
        expected = self._next.get(token, 0)
        if count and first == expected and self._bytes + len(events) <= _MOST_BYTES:
            self._next[token] = expected = first + count
            self._put(token, first, events)
        has_room = self._bytes + sum(len(report) for _, report in reports) <= _MOST_BYTES
        if has_room:
            for ended, report in reports:
                self._put(ended, REPORT, report)
        return expected, self._confirmed.get(token, 0), has_room

    def _put(self, token: int, first: int, data: bytes) -> None:
        self._letters.append((token, first, data))
        self._bytes += len(data)
        self._arrival.set()

    async def hurry(self, number: int) -> None:
        """Have the polls up to the given number return at once."""
        self._urgent = number
        self._arrival.set()

    async def poll(self, number: int, confirmed: dict[int, int], done: list[int]) -> list[Letter]:
        """Wait for letters and return them.

        `confirmed` is what reached the flow's process since the last poll (call -> events), `done` which calls ended.
        """
        self._confirmed.update(confirmed)
        for token in done:
            self._confirmed.pop(token, None)
            self._next.pop(token, None)
        if number > self._urgent:
            try:
                await asyncio.wait_for(self._arrival.wait(), _LONGEST_POLL_SECONDS)
            except TimeoutError:
                return []
            await asyncio.sleep(_GATHER_SECONDS)
        letters, self._letters, self._bytes = self._letters, [], 0
        self._arrival.clear()
        return letters


def open_mailbox(name: str, namespace: str) -> Any:
    """Start a mailbox that workers find by its name; it ends with this process's connection, or when it is killed."""
    options = {"num_cpus": 0, "max_concurrency": 1000, "name": name, "namespace": namespace, "max_restarts": 0}
    return _actor_class().options(**options).remote()


@functools.cache
def _actor_class() -> Any:
    # Exporting it to Ray takes 30 ms: once for all flow runs of this process.
    return ray.remote(Mailbox)


class Post:
    """A worker's way to a mailbox: one message under way at a time, never in the way of the task."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace
        self._mailbox: Any = None
        self._next_look = 0.0
        self._reply: Any = None
        self._token = 0

    def reply(self) -> tuple[int, int, int, bool] | None:
        """Return the answer to the last message if it has come, and forget it.

        It says: call, wanted event, confirmed events, whether the reports were taken.
        """
        if self._reply is None:
            return None
        ready, _ = ray.wait([self._reply], timeout=0)
        if not ready:
            return None
        reply, self._reply = self._reply, None
        return (self._token, *ray.get(reply))

    def is_free(self) -> bool:
        """Say whether a message can be sent now."""
        if self._reply is not None:
            return False
        if self._mailbox is None and time.monotonic() >= self._next_look:
            try:
                self._mailbox = ray.get_actor(self._name, self._namespace)
            except ValueError:  # not there yet
                self._next_look = time.monotonic() + 0.1
        return self._mailbox is not None

    def send(self, token: int, first: int, count: int, events: bytes, reports: list[tuple[int, bytes]]) -> None:
        """Send events of a call, and reports of calls that ended."""
        self._token = token
        self._reply = self._mailbox.push.remote(token, first, count, events, reports)
