"""The calls of a flow run that are not done: who takes one out completes its handle."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flowyard.logging.loggers import get_logger
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.outcomes import crashed
from flowyard_dask.jobs import DaskHandle, Job, Parcel


class Pending:
    """What was handed over and is not done, by Dask key. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parcels: dict[str, Parcel] = {}
        self._sent: dict[str, Parcel] = {}
        self._is_over = False

    def admit(self, parcels: Sequence[Parcel]) -> bool:
        """Take parcels that are going to be sent; False when nothing is taken any more."""
        with self._lock:
            if self._is_over:
                return False
            for parcel in parcels:
                self._parcels[parcel.key] = parcel
        return True

    def take_to_send(self, batch: Sequence[Parcel]) -> list[Parcel]:
        """Note that parcels are sent; those that were cancelled meanwhile are left out.

        What depends on one that is left out is refused by the scheduler.
        """
        with self._lock:
            wanted = [parcel for parcel in batch if parcel.key in self._parcels]
            for parcel in wanted:
                self._sent[parcel.key] = parcel
        return wanted

    def take_back(self, parcel: Parcel) -> None:
        """Note that a parcel is going to be sent again."""
        with self._lock:
            self._sent.pop(parcel.key, None)

    def sent(self) -> list[Parcel]:
        """Return what was sent and is not done."""
        return list(self._sent.values())

    def parcel(self, key: str) -> Parcel | None:
        """Return a parcel that was sent and is not done."""
        return self._sent.get(key)

    def job(self, key: str, index: int | None) -> Job | None:
        """Return a call that is not done."""
        parcel = self._parcels.get(key)
        if parcel is None:
            return None
        job = parcel.jobs[index or 0]
        return None if job.is_done else job

    def job_of(self, handle: object) -> Job | None:
        """Return the call that a handle stands for, if it is not done."""
        return self.job(handle.key, handle.index) if isinstance(handle, DaskHandle) else None

    def settle(self, job: Job, outcome: Outcome) -> bool:
        """Complete a call's handle; False when somebody else did already."""
        handle = job.handle
        with self._lock:
            parcel = self._parcels.get(handle.key)
            if parcel is None or job.is_done:
                return False
            job.is_done = True
            parcel.open -= 1
            if not parcel.open:
                del self._parcels[handle.key]
                self._sent.pop(handle.key, None)
        if job.held:
            outcome.events[:0] = job.held
        job.upstream = {}
        try:
            handle.complete(outcome)
        except Exception:  # callbacks must not raise; if one does, the other calls must still become done
            get_logger("task_runners.dask").exception("A callback of task run %r raised", job.call.task_run.name)
        return True

    def crash(self, parcel: Parcel, error: BaseException, *, lost_worker: str | None) -> None:
        """Complete all calls of a parcel that are not done as Crashed."""
        for job in parcel.jobs:
            if not job.is_done:
                self.settle(job, crashed(job.call, error, lost_worker=lost_worker))

    @property
    def is_over(self) -> bool:
        """Whether the flow run has ended here."""
        return self._is_over

    def close(self) -> list[Job]:
        """Take nothing any more; returns what is not done."""
        with self._lock:
            self._is_over = True
            return [job for parcel in self._parcels.values() for job in parcel.jobs if not job.is_done]
