"""What Dask says of calls that nobody reports: it is done with them, or has given them up."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

from distributed import KilledWorker

from flowyard.exceptions import ValueLost, WorkerLost
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.outcomes import crashed
from flowyard_dask.calls import reports_of
from flowyard_dask.graphs import Node, send_graph
from flowyard_dask.jobs import DaskHandle, Job, Parcel, is_gone
from flowyard_dask.losses import lost_with, run_name_of
from flowyard_dask.pending import Pending
from flowyard_dask.reports import Packed, unpack_report

_EVENT_SECONDS = 1.0
"""How long after Dask is done with a call its outcome may take to arrive; then it is asked for."""
_FETCH_SECONDS = 60.0
_LOST_CONNECTION = "scheduler-connection-lost"


class Watch:
    """Looks now and then, on the listener's thread.

    Args:
        client: of Dask.
        pending: the calls that are not done.
        send_again: takes parcels that Dask refused.
        report: takes a report (`Listener.report`).
    """

    def __init__(
        self,
        client: Any,
        pending: Pending,
        send_again: Callable[[Sequence[Parcel]], None],
        report: Callable[..., None],
    ) -> None:
        self._client = client
        self._pending = pending
        self._send_again = send_again
        self._asked: dict[str, Any] = {}
        self._report = report

    def look(self) -> None:
        """Find calls that Dask is done with although no outcome came, and those that it gave up."""
        if self._asked:
            self._take_answers()
        now = time.monotonic()
        for parcel in self._pending.sent():
            future = parcel.jobs[0].handle.future
            if future is None:
                continue
            status = future.status
            if status == "finished":
                if parcel.since is None:
                    parcel.since = now
                elif now - parcel.since >= _EVENT_SECONDS:
                    self.ask(parcel)
            elif status == "error":
                self._erred(parcel, future)
            elif status == "cancelled":
                self._gave_up(parcel, future)
            else:
                parcel.since = None

    def ask(self, parcel: Parcel | None) -> None:
        """Ask for what a Dask task left, where it is."""
        if parcel is None or parcel.key in self._asked:
            return
        future = parcel.jobs[0].handle.future
        if future is not None:
            key = f"reports-{parcel.key}-{uuid.uuid4().hex}"
            node = Node(key, reports_of, (), [parcel.key])
            self._asked[parcel.key] = send_graph(self._client, [node], {"priority": 1_000_000})[key]

    def _take_answers(self) -> None:
        for key, future in list(self._asked.items()):
            status = future.status
            if status == "pending":
                continue
            del self._asked[key]
            parcel = self._pending.parcel(key)
            if parcel is None:
                continue
            if status != "finished":
                parcel.since = None  # the value moves, or is lost: Dask will say which
                continue
            for job, (reports, lost_worker) in zip(parcel.jobs, future.result(timeout=_FETCH_SECONDS), strict=True):
                if not job.is_done:
                    self._answer(job, reports, lost_worker)

    def _answer(self, job: Job, reports: Sequence[Packed], lost_worker: str | None) -> None:
        job.misses_events = False
        for data in reports:
            self._report(job, unpack_report(data), is_last_word=True)
        if not reports:
            self._pending.settle(job, crashed(job.call, lost_with(lost_worker or "unknown"), lost_worker=lost_worker))

    def _erred(self, parcel: Parcel, future: Any) -> None:
        error = cast("BaseException", future._state.exception)
        if isinstance(error, KilledWorker):
            worker = str(getattr(error.last_worker, "address", error.last_worker))
            self._pending.crash(parcel, lost_with(worker), lost_worker=worker)
            return
        text = f"Dask could not execute the task: {type(error).__name__}: {error}"
        if isinstance(error, ImportError) or "Error during deserialization" in str(error):
            text += "; scheduler and workers need the distributions `flowyard` and `flowyard-dask` as well"
        self._pending.crash(parcel, RuntimeError(text), lost_worker=None)

    def _gave_up(self, parcel: Parcel, future: Any) -> None:
        client = self._client
        error = future._state.exception
        reason = getattr(error, "reason", None)
        if reason == _LOST_CONNECTION or client.status != "running":
            address = client.scheduler.address if client.scheduler is not None else "?"
            problem = WorkerLost(
                f"scheduler {address}",
                "the connection to the Dask scheduler is lost; start the flow again when it is back",
            )
            self._pending.crash(parcel, problem, lost_worker=None)
        elif reason == "lost dependencies" and not parcel.is_alone and parcel.payloads:
            # One task with a lost input makes Dask refuse its whole graph.
            parcel.is_alone = True
            parcel.since = None
            for job in parcel.jobs:
                job.handle.future = None
            self._pending.take_back(parcel)
            self._send_again([parcel])
        else:
            for job in parcel.jobs:
                if not job.is_done:
                    self._pending.settle(job, _input_lost(job, f"{reason or 'cancelled'}"))

    def close(self) -> None:
        """Let go of what was asked for."""
        self._asked.clear()


def _input_lost(job: Job, reason: str) -> Outcome:
    """Return the outcome of a call that Dask gave up, because an input is on no worker any more."""
    gone = {key: handle for key, handle in job.upstream.items() if isinstance(handle, DaskHandle) and is_gone(handle)}
    names = [run_name_of(handle.key) for handle in gone.values()] or ["of an input"]
    return crashed(job.call, ValueLost(f"that Dask lost ({reason})", names[0], tuple(gone)), lost_worker="of an input")
