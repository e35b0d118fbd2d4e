"""A flow run on a Dask cluster, seen from the flow's process: calls go out, reports come in, lost ones are found.

Two threads: one hands calls to the scheduler, many in a message; the other takes in what workers report, completes
handles, and looks now and then whether Dask says something else. Neither is the client's event loop, so what the engine
does when a call is done may use the client.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from flowyard.exceptions import UnpicklableValue
from flowyard.logging.loggers import get_logger
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import Handle, Outcome, TaskCall
from flowyard.task_runners.outcomes import cancelled, synthesised
from flowyard_dask.jobs import DaskHandle, Job, Packing, Parcel, annotations_of, annotations_of_chunk, key_of
from flowyard_dask.kept import Payload
from flowyard_dask.listening import Listener
from flowyard_dask.losses import LossPlugin, forget_flow_run
from flowyard_dask.pending import Pending
from flowyard_dask.sending import Sender
from flowyard_dask.station import PREFIX, station_of
from flowyard_dask.upcalls import Answers
from flowyard_dask.values import Values
from flowyard_dask.versions import VersionCheck
from flowyard_dask.watching import Watch

_WATCH_SECONDS = 0.1
_ANSWER_SECONDS = 2.0
"""How long workers have to say which calls have begun."""
_CLOSE_SECONDS = 10.0
"""How long the scheduler has to answer at the end: values that are asked for later come here then."""


class Session:
    """One flow run's use of a cluster."""

    def __init__(self, client: Any, *, brings_values: bool) -> None:
        """Connect a flow run; `brings_values`: see `Values`."""
        self.client = client
        """A `distributed.Client`, which is hardly typed."""
        self.topic = f"{PREFIX}{uuid.uuid4().hex}"
        self._log = get_logger("task_runners.dask")
        self._packing = Packing()
        self._pending = Pending()
        self._values = Values(client, brings_values=brings_values)
        self._sender = Sender(client, self.topic, self._pending, self._later)
        versions = VersionCheck()
        self._listener = Listener(self._pending, self._values, versions, lambda parcel: self._watch.ask(parcel))
        self._watch = Watch(client, self._pending, self._sender.queue, self._listener.report)
        self._incoming: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._answers = Answers(client)
        self._silent_until = 0.0
        """So long nobody is asked again, who did not answer just now."""
        self._has_plugin = self._install_plugin()
        client.subscribe_topic(self.topic, self._heard)
        self._threads = [
            self._sender.thread,
            threading.Thread(target=self._listen_for_ever, name="flowyard-dask-listener", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        versions.ask(client)

    def _install_plugin(self) -> bool:
        try:
            self.client.register_plugin(LossPlugin())
        except Exception as error:  # refused (`distributed.scheduler.pickle`), or flowyard-dask is not installed there
            self._log.warning(
                "The Dask scheduler does not take Flowyard's plugin (%s: %s): Dask starts tasks of lost workers again "
                "by itself, so that user code may run more than once",
                type(error).__name__,
                error,
            )
            return False
        return True

    # --- calls go out: from any thread -------------------------------------------------------------------------

    def submit(self, call: TaskCall, upstream: Mapping[int, Handle]) -> Handle:
        """Pack a call and queue it."""
        parcel = Parcel(key_of(call), annotations_of(call), is_chunk=False)
        handle = self._pack(parcel, call, upstream)
        self._queue([parcel])
        return handle

    def submit_many(self, calls: Sequence[TaskCall]) -> list[Handle]:
        """Pack calls and queue them together."""
        parcels: list[Parcel] = []
        handles: list[Handle] = []
        for call in calls:
            parcel = Parcel(key_of(call), annotations_of(call), is_chunk=False)
            handles.append(self._pack(parcel, call, {}))
            parcels.append(parcel)
        self._queue(parcels)
        return handles

    def submit_chunk(self, calls: Sequence[tuple[TaskCall, Mapping[int, Handle] | None]]) -> list[Handle]:
        """Queue calls as one Dask task."""
        first = calls[0][0]
        annotations = annotations_of_chunk([call for call, _ in calls])
        parcel = Parcel(f"{key_of(first)}x{len(calls)}", annotations, is_chunk=True)
        jobs = None
        if not any(upstream for _, upstream in calls):
            jobs = self._packing.add_plain(parcel, [call for call, _ in calls])
        handles: list[Handle]
        if jobs is not None:
            handles = [job.handle for job in jobs]
        else:
            handles = [self._pack(parcel, call, upstream or {}) for call, upstream in calls]
        self._queue([parcel])
        return handles

    def _pack(self, parcel: Parcel, call: TaskCall, upstream: Mapping[int, Handle]) -> Handle:
        try:
            return self._packing.add(parcel, call, upstream, self._scatter).handle
        except Exception as error:
            handle = DaskHandle(call.task_run.id, "", None)
            handle.complete(_refused(call, error))
            return handle

    def _scatter(self, payload: Payload) -> Any | None:
        """Send a large argument to a worker; None when there is none to take it now."""
        try:
            return self.client.scatter(payload, hash=False, timeout=5)
        except Exception as error:
            self._log.debug("A large argument travels through the scheduler: %s", error)
            return None

    def _queue(self, parcels: Sequence[Parcel]) -> None:
        wanted = [parcel for parcel in parcels if parcel.jobs]
        if self._pending.admit(wanted):
            self._sender.queue(wanted)
            return
        for parcel in wanted:
            for job in parcel.jobs:
                job.handle.complete(cancelled(job.call, "The task runner has stopped."))

    # --- reports come in ------------------------------------------------------------------------------------------

    def _heard(self, event: tuple[float, Any]) -> None:
        """Take a message; called on the client's event loop."""
        if not self._answers.take(event[1]):
            self._later(lambda: self._listener.take(event[1]))

    def _later(self, action: Callable[[], None]) -> None:
        self._incoming.put(action)

    def _listen_for_ever(self) -> None:
        watch_at = time.monotonic() + _WATCH_SECONDS
        while True:
            try:
                action = self._incoming.get(timeout=max(0.0, watch_at - time.monotonic()))
                if action is None:
                    return
                action()
                del action
            except queue.Empty:
                pass
            except Exception:
                self._log.exception("A report of a Dask worker could not be taken in")
            if time.monotonic() >= watch_at:
                began = time.monotonic()
                try:
                    self._watch.look()
                except Exception:
                    self._log.exception("Looking after Dask tasks failed")
                # Many pending tasks: looking at them all must not take more than a twentieth of the time.
                took = time.monotonic() - began
                watch_at = time.monotonic() + max(_WATCH_SECONDS, 20 * took)

    # --- stopping ------------------------------------------------------------------------------------------------

    def cancel(self, handles: Sequence[Handle | None], *, stops: bool) -> list[bool]:
        """Settle calls as Cancelled that have not begun; the workers are asked, so that those surely will not.

        With `stops` those that have are interrupted where they execute Python code, and their outcome says so.
        """
        jobs: list[Job] = []
        for handle in handles:
            job = self._pending.job_of(handle)
            if job is not None and (stops or not job.is_begun):
                jobs.append(job)
        sent = [(job.handle.key, job.handle.index) for job in jobs if job.handle.future is not None]
        begun = self._withdraw(sent, stops=stops) if sent else set[tuple[str, int | None]]()
        begun.update((job.handle.key, job.handle.index) for job in jobs if job.is_begun)
        done: set[Handle | None] = set()
        futures: list[Any] = []
        for job in jobs:
            if (job.handle.key, job.handle.index) in begun:
                continue
            if self._pending.settle(job, cancelled(job.call)):
                done.add(job.handle)
                if job.handle.future is not None and job.handle.index is None:
                    futures.append(job.handle.future)
        if futures:
            with contextlib.suppress(Exception):  # it only saves work: the workers know already
                self.client.cancel(futures, force=True)
        return [handle in done for handle in handles]

    def _withdraw(self, calls: list[tuple[str, int | None]], *, stops: bool) -> set[tuple[str, int | None]]:
        """Keep calls from beginning; returns those that have begun, or may have.

        The scheduler may be frozen, and a worker cannot answer while code in C holds its interpreter lock.
        """
        if time.monotonic() < self._silent_until:
            return set(calls)
        client = self.client
        try:
            answers = cast(
                "dict[str, Any]",
                client.sync(client._run, _withdraw, calls, stops, on_error="ignore", callback_timeout=_ANSWER_SECONDS),
            )
        except Exception as error:  # no answer: they may have begun
            self._log.debug("Dask workers could not be asked to withdraw calls: %s", error)
            self._silent_until = time.monotonic() + _CLOSE_SECONDS
            return set(calls)
        return {(key, index) for answer in answers.values() for key, index in answer}

    def close(self) -> None:
        """Settle what is left and let go of everything on the cluster; a scheduler that is silent is not waited for."""
        jobs = self._pending.close()
        self._sender.stop()
        for job in jobs:
            when = "while the task ran" if job.is_begun else "before the task began"
            self._pending.settle(job, cancelled(job.call, f"The flow run ended {when}."))
        self._incoming.put(None)
        is_there = self._scheduler_answers()
        until = time.monotonic() + (_CLOSE_SECONDS if is_there else _ANSWER_SECONDS)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(until - time.monotonic(), 0.0))
        self._answers.close()
        if is_there:
            self._values.bring_home()
            with contextlib.suppress(Exception):
                self.client.sync(
                    self.client._run_on_scheduler, forget_flow_run, self.topic, callback_timeout=_ANSWER_SECONDS
                )
        else:
            self._values.forget_cluster()
        self._watch.close()

    def _scheduler_answers(self) -> bool:
        client = self.client
        if client.status != "running":
            return False
        try:
            client.sync(client.scheduler.echo, data="", callback_timeout=_CLOSE_SECONDS)
        except Exception as error:
            self._log.warning(
                "The Dask scheduler does not answer any more (%s): what tasks left on the cluster stays there",
                type(error).__name__,
            )
            return False
        return True


def _withdraw(
    calls: list[tuple[str, int | None]], stops: bool, dask_worker: Any = None
) -> list[tuple[str, int | None]]:
    return station_of(dask_worker).withdraw(calls, stops=stops)


def _refused(call: TaskCall, error: Exception) -> Outcome:
    """Return the outcome of a call that cannot be packed."""
    if not isinstance(error, UnpicklableValue):
        get_logger("task_runners.dask").exception("Task run %r cannot be sent to a worker", call.task_run.name)
    text = f"Task run encountered an exception. {type(error).__name__}: {error}"
    return synthesised(call, State(StateType.FAILED, message=text, data=error))
