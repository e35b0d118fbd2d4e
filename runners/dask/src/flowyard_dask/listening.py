"""What workers report, brought into the journal and to the handles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from flowyard.logging.loggers import get_logger
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunEntered
from flowyard.schemas.runs import utcnow
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.outcomes import crashed
from flowyard.task_runners.versions import Versions
from flowyard_dask.jobs import DaskHandle, Job, Parcel
from flowyard_dask.losses import lost_with
from flowyard_dask.pending import Pending
from flowyard_dask.reports import Report, unpack_message, unpack_report
from flowyard_dask.results import DaskResult
from flowyard_dask.values import Values
from flowyard_dask.versions import VersionCheck


class Listener:
    """Takes messages in. All of it happens on one thread, which is not the client's event loop."""

    def __init__(
        self, pending: Pending, values: Values, versions: VersionCheck, ask: Callable[[Parcel | None], None]
    ) -> None:
        self._pending = pending
        self._values = values
        self._versions = versions
        self._ask = ask
        """Asks for what a Dask task left, where it is."""
        self._log = get_logger("task_runners.dask")

    def take(self, message: dict[str, Any]) -> None:
        """Take a message of a worker, or of the scheduler's plugin."""
        for key, reports in unpack_message(message):
            for index, data in reports:
                job = self._pending.job(key, index)
                if job is not None:
                    self.report(job, unpack_report(data))
        versions = message.get("versions")
        if versions is not None:
            self._versions.note({versions[0]: Versions(*versions[1])})
        for key in message.get("lost", ()):
            parcel = self._pending.parcel(key)
            if parcel is not None:
                self._pending.crash(parcel, lost_with(message["worker"]), lost_worker=message["worker"])

    def report(self, job: Job, report: Report, *, is_last_word: bool = False) -> None:
        """Bring in what a call did. `is_last_word`: what is missing now is gone for good."""
        job.is_begun = True
        if job.start_id != report.start_id:
            if job.start_id is not None:
                self._log.warning(
                    "Task run %r was started a second time by Dask: its first worker was lost", job.call.task_run.name
                )
            job.start_id, job.received, job.misses_events = report.start_id, 0, False
        if report.first > job.received:
            if not is_last_word:
                job.misses_events = True
            else:
                self._note_missing(job, report.first - job.received)
                job.received = report.first
        if report.outcome is None:
            if job.misses_events:
                return  # all of it comes again, in order, when the call is done
            self._record(job, report.events[job.received - report.first :])
            job.received = max(job.received, report.first + len(report.events))
            return
        if job.misses_events and not is_last_word:
            self._ask(self._pending.parcel(job.handle.key))
            return
        self._complete(job, report)

    def _complete(self, job: Job, report: Report) -> None:
        call, handle = job.call, job.handle
        try:
            outcome = report.outcome_of(call.task_run, "a Dask worker")
            if report.is_kept:
                outcome.state.data = self._result(handle, outcome, report.nbytes)
            del outcome.events[: job.received - report.first]
        except Exception as error:
            outcome = crashed(call, error)
        self._pending.settle(job, outcome)

    def _result(self, handle: DaskHandle, outcome: Outcome, nbytes: int) -> DaskResult:
        future = handle.future
        while future is None:  # the outcome was faster than the sender's thread
            time.sleep(0.0005)
            future = handle.future
        return self._values.add(future, handle.index, name=outcome.task_run.name, nbytes=nbytes)

    def _record(self, job: Job, events: Sequence[JournalEvent]) -> None:
        """Bring events of a running call into the journal, and its run up to date."""
        run = job.call.task_run
        for event in events:
            if isinstance(event, TaskRunEntered) and event.task_run_id == run.id:
                enter_state(run, event.state)
            if not job.held:
                try:
                    job.call.recorder.append(event)
                    continue
                except Exception:  # the engine meets it again, when it records the rest
                    self._log.debug("Events of task run %r wait for its outcome", run.name, exc_info=True)
            job.held.append(event)

    def _note_missing(self, job: Job, count: int) -> None:
        run = job.call.task_run
        text = f"{count} records of this task run were lost on their way and could not be kept on its worker."
        self._record(job, [LogEmitted(run.flow_run_id, run.id, "flowyard.task_runners.dask", 30, text, utcnow())])
