"""The thread that hands calls to the scheduler, many in a message."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from flowyard.exceptions import WorkerLost
from flowyard.logging.loggers import get_logger
from flowyard_dask.calls import run_call, run_chunk
from flowyard_dask.graphs import Node, send_graph
from flowyard_dask.jobs import Parcel
from flowyard_dask.kept import Chunk
from flowyard_dask.pending import Pending

_MOST_AT_ONCE = 1_000
_MOST_BYTES_AT_ONCE = 4 << 20


class Sender:
    """Sends what is queued, in order; calls that travel under the same annotations go together."""

    def __init__(self, client: Any, topic: str, pending: Pending, later: Callable[[Callable[[], None]], None]) -> None:
        self._client = client
        self._topic = topic
        self._pending = pending
        self._later = later
        self._log = get_logger("task_runners.dask")
        self._outgoing: deque[Parcel] = deque()
        self._has_outgoing = threading.Condition()
        self._known: set[bytes] = set()
        self.thread = threading.Thread(target=self._send_for_ever, name="flowyard-dask-sender", daemon=True)

    def queue(self, parcels: Sequence[Parcel]) -> None:
        """Have parcels sent."""
        with self._has_outgoing:
            self._outgoing.extend(parcels)
            self._has_outgoing.notify()

    def stop(self) -> None:
        """Send nothing any more; `Pending` is over."""
        with self._has_outgoing:
            self._outgoing.clear()
            self._has_outgoing.notify()

    def _send_for_ever(self) -> None:
        while True:
            with self._has_outgoing:
                while not self._outgoing:
                    if self._pending.is_over:
                        return
                    self._has_outgoing.wait()
                batch = self._next_batch()
            try:
                self._send(batch)
            except Exception as error:
                self._send_failed(batch, error)
            del batch

    def _next_batch(self) -> list[Parcel]:
        """Take queued parcels that can travel in one graph."""
        batch = [self._outgoing.popleft()]
        size = batch[0].nbytes
        while self._outgoing and len(batch) < _MOST_AT_ONCE and not batch[0].is_alone:
            parcel = self._outgoing[0]
            size += parcel.nbytes
            if parcel.is_alone or size > _MOST_BYTES_AT_ONCE or parcel.annotations != batch[0].annotations:
                break
            batch.append(self._outgoing.popleft())
        return batch

    def _send(self, batch: list[Parcel]) -> None:
        for parcel in batch:
            for hash_, shared in parcel.shared.items():
                if hash_ not in self._known:
                    self._client.set_metadata([self._topic, hash_.hex()], shared.data)
                    self._known.add(hash_)
        batch = self._pending.take_to_send(batch)
        if not batch:
            return
        nodes = [
            Node(
                parcel.key,
                run_chunk if parcel.is_chunk else run_call,
                (self._topic, parcel.plain or (Chunk(parcel.payloads) if parcel.is_chunk else parcel.payloads[0])),
                list(parcel.dependencies),
            )
            for parcel in batch
        ]
        futures = send_graph(self._client, nodes, batch[0].annotations)
        for parcel in batch:
            future = futures[parcel.key]
            for job in parcel.jobs:
                job.handle.future = future
            if not parcel.dependencies:  # it cannot be refused for what it depends on: it is not sent again
                parcel.payloads, parcel.plain = [], None

    def _send_failed(self, batch: list[Parcel], error: Exception) -> None:
        if not self._pending.is_over:
            self._log.error("Task runs could not be handed to the Dask scheduler: %s: %s", type(error).__name__, error)
        problem = WorkerLost("scheduler", f"it did not take the task: {type(error).__name__}: {error}")
        for parcel in batch:
            self._later(lambda parcel=parcel: self._pending.crash(parcel, problem, lost_worker=None))
