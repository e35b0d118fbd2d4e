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
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from distributed import KilledWorker

from flowyard.exceptions import MissingResult, UnpicklableValue, WorkerLost
from flowyard.logging.loggers import get_logger
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunEntered
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import Handle, Outcome, TaskCall
from flowyard.task_runners.outcomes import cancelled, crashed, synthesised
from flowyard.task_runners.packing_outcomes import unpack_outcome
from flowyard_dask.calls import item_of, reports_of, run_call, run_chunk
from flowyard_dask.graphs import Node, send_graph
from flowyard_dask.jobs import DaskHandle, Job, Packing, Parcel, annotations_of, key_of
from flowyard_dask.kept import Kept, Payload
from flowyard_dask.losses import LossPlugin, forget_flow_run
from flowyard_dask.reports import Report, unpack_report
from flowyard_dask.results import DaskResult
from flowyard_dask.station import PREFIX, station_of

_WATCH_SECONDS = 0.1
_EVENT_SECONDS = 1.0
"""How long after Dask is done with a call its outcome may take to arrive; then it is asked for."""
_MOST_AT_ONCE = 1_000
_MOST_BYTES_AT_ONCE = 4 << 20
_FETCH_SECONDS = 60.0
_CLOSE_SECONDS = 30.0
_MOST_BROUGHT_HOME = 256 << 20
"""Values that somebody still refers to when the flow ends are brought here, up to this many bytes."""
_LOST_CONNECTION = "scheduler-connection-lost"


class Session:
    """One flow run's use of a cluster."""

    def __init__(self, client: Any, *, brings_values: bool) -> None:
        self.client = client
        """A `distributed.Client`, which is hardly typed."""
        self.topic = f"{PREFIX}{uuid.uuid4().hex}"
        self._brings_values = brings_values
        """The cluster runs on an event loop of the user's, which must not be blocked to ask it for a value."""
        self._log = get_logger("task_runners.dask")
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int | None], Job] = {}
        self._parcels: dict[str, Parcel] = {}
        """What was sent and is not done."""
        self._packing = Packing()
        self._outgoing: deque[Parcel] = deque()
        self._has_outgoing = threading.Condition()
        self._incoming: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._known: set[bytes] = set()
        self._results: weakref.WeakSet[DaskResult] = weakref.WeakSet()
        self._asked: dict[str, Any] = {}
        self._is_over = False
        self._has_plugin = self._install_plugin()
        client.subscribe_topic(self.topic, self._heard)
        self._threads = [
            threading.Thread(target=self._send_for_ever, name="flowyard-dask-sender", daemon=True),
            threading.Thread(target=self._listen_for_ever, name="flowyard-dask-listener", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

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
        parcel = Parcel(f"{key_of(first)}x{len(calls)}", annotations_of(first), is_chunk=True)
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
        with self._lock:
            is_over = self._is_over
            if not is_over:
                for parcel in wanted:
                    for job in parcel.jobs:
                        self._jobs[parcel.key, job.handle.index] = job
        if is_over:
            for parcel in wanted:
                for job in parcel.jobs:
                    job.handle.complete(cancelled(job.call, "The task runner has stopped."))
            return
        with self._has_outgoing:
            self._outgoing.extend(wanted)
            self._has_outgoing.notify()

    # --- calls go out: the sender's thread ------------------------------------------------------------------------

    def _send_for_ever(self) -> None:
        while True:
            with self._has_outgoing:
                while not self._outgoing:
                    if self._is_over:
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
                    self.client.set_metadata([self.topic, hash_.hex()], shared.data)
                    self._known.add(hash_)
        with self._lock:
            # One that was cancelled meanwhile is not sent; what depends on it is refused by the scheduler.
            batch = [
                parcel for parcel in batch if any((parcel.key, job.handle.index) in self._jobs for job in parcel.jobs)
            ]
            for parcel in batch:
                self._parcels[parcel.key] = parcel
        if not batch:
            return
        nodes = [
            Node(
                parcel.key,
                run_chunk if parcel.is_chunk else run_call,
                (self.topic, parcel.payloads if parcel.is_chunk else parcel.payloads[0]),
                list(parcel.dependencies),
            )
            for parcel in batch
        ]
        futures = send_graph(self.client, nodes, batch[0].annotations)
        for parcel in batch:
            future = futures[parcel.key]
            for job in parcel.jobs:
                job.handle.future = future
            if not parcel.dependencies:  # it cannot be refused for what it depends on: it is not sent again
                parcel.payloads = []

    def _send_failed(self, batch: list[Parcel], error: Exception) -> None:
        if not self._is_over:
            self._log.error("Task runs could not be handed to the Dask scheduler: %s: %s", type(error).__name__, error)
        problem = WorkerLost("scheduler", f"it did not take the task: {type(error).__name__}: {error}")
        for parcel in batch:
            self._later(lambda parcel=parcel: self._crash(parcel, problem, lost_worker=None))

    # --- reports come in ------------------------------------------------------------------------------------------

    def _heard(self, event: tuple[float, Any]) -> None:
        """Take a message; called on the client's event loop."""
        self._incoming.put(lambda: self._take(event[1]))

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
                    self._watch()
                except Exception:
                    self._log.exception("Looking after Dask tasks failed")
                # Many pending tasks: looking at them all must not take more than a twentieth of the time.
                took = time.monotonic() - began
                watch_at = time.monotonic() + max(_WATCH_SECONDS, 20 * took)

    def _take(self, message: dict[str, Any]) -> None:
        for key, index, data in message.get("reports", ()):
            job = self._jobs.get((key, index))
            if job is not None:
                self._report(job, unpack_report(data))
        for key in message.get("lost", ()):
            parcel = self._parcels.get(key)
            if parcel is not None:
                self._crash(parcel, _lost(message["worker"]), lost_worker=message["worker"])

    def _report(self, job: Job, report: Report, *, is_last_word: bool = False) -> None:
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
            self._ask(self._parcels.get(job.handle.key))
            return
        self._complete(job, report)

    def _complete(self, job: Job, report: Report) -> None:
        assert report.outcome is not None
        call, handle = job.call, job.handle
        try:
            outcome = unpack_outcome(report.outcome, call.task_run)
            if report.is_kept:
                outcome.state.data = self._result(handle, outcome, report.nbytes)
            del outcome.events[: job.received - report.first]
        except Exception as error:
            outcome = crashed(call, error)
        self._settle(job, outcome)

    def _result(self, handle: DaskHandle, outcome: Outcome, nbytes: int) -> DaskResult:
        future = handle.future
        while future is None:  # the outcome was faster than the sender's thread
            time.sleep(0.0005)
            future = handle.future
        result = DaskResult(
            self, future, handle.index, name=outcome.task_run.name, nbytes=nbytes, record={"type": "unpersisted"}
        )
        if self._brings_values:
            with contextlib.suppress(MissingResult, UnpicklableValue):  # who asks for it is told
                result.get()
        else:
            self._results.add(result)
        return result

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

    def _settle(self, job: Job, outcome: Outcome) -> bool:
        """Complete a job's handle; False when somebody else did already."""
        handle = job.handle
        with self._lock:
            if self._jobs.pop((handle.key, handle.index), None) is None:
                return False
            parcel = self._parcels.get(handle.key)
            if parcel is not None and not any((handle.key, other.handle.index) in self._jobs for other in parcel.jobs):
                del self._parcels[handle.key]
        if job.held:
            outcome.events[:0] = job.held
        job.upstream = ()
        try:
            handle.complete(outcome)
        except Exception:  # callbacks must not raise; if one does, the other calls must still become done
            self._log.exception("A callback of task run %r raised", job.call.task_run.name)
        return True

    def _crash(self, parcel: Parcel, error: BaseException, *, lost_worker: str | None) -> None:
        for job in parcel.jobs:
            if (parcel.key, job.handle.index) in self._jobs:
                self._settle(job, crashed(job.call, error, lost_worker=lost_worker))

    # --- what Dask says -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Find calls that Dask is done with although no outcome came, and those that it gave up."""
        if self._asked:
            self._take_answers()
        now = time.monotonic()
        for parcel in list(self._parcels.values()):
            future = parcel.jobs[0].handle.future
            if future is None:
                continue
            status = future.status
            if status == "finished":
                if parcel.since is None:
                    parcel.since = now
                elif now - parcel.since >= _EVENT_SECONDS:
                    self._ask(parcel)
            elif status == "error":
                self._erred(parcel, future)
            elif status == "cancelled":
                self._gave_up(parcel, future)
            else:
                parcel.since = None

    def _ask(self, parcel: Parcel | None) -> None:
        """Ask for what a Dask task left, where it is."""
        if parcel is None or parcel.key in self._asked:
            return
        future = parcel.jobs[0].handle.future
        if future is not None:
            key = f"reports-{parcel.key}-{uuid.uuid4().hex}"
            node = Node(key, reports_of, (), [parcel.key])
            self._asked[parcel.key] = send_graph(self.client, [node], {"priority": 1_000_000})[key]

    def _take_answers(self) -> None:
        for key, future in list(self._asked.items()):
            status = future.status
            if status == "pending":
                continue
            del self._asked[key]
            parcel = self._parcels.get(key)
            if parcel is None:
                continue
            if status != "finished":
                parcel.since = None  # the value moves, or is lost: Dask will say which
                continue
            for job, (reports, lost_worker) in zip(parcel.jobs, future.result(timeout=_FETCH_SECONDS), strict=True):
                if (key, job.handle.index) in self._jobs:
                    self._answer(job, reports, lost_worker)

    def _answer(self, job: Job, reports: Sequence[bytes], lost_worker: str | None) -> None:
        job.misses_events = False
        for data in reports:
            self._report(job, unpack_report(data), is_last_word=True)
        if not reports:
            self._settle(job, crashed(job.call, _lost(lost_worker or "unknown"), lost_worker=lost_worker))

    def _erred(self, parcel: Parcel, future: Any) -> None:
        error = cast("BaseException", future._state.exception)
        if isinstance(error, KilledWorker):
            worker = str(getattr(error.last_worker, "address", error.last_worker))
            self._crash(parcel, _lost(worker), lost_worker=worker)
            return
        text = f"Dask could not execute the task: {type(error).__name__}: {error}"
        if isinstance(error, ImportError) or "Error during deserialization" in str(error):
            text += "; scheduler and workers need the distributions `flowyard` and `flowyard-dask` as well"
        self._crash(parcel, RuntimeError(text), lost_worker=None)

    def _gave_up(self, parcel: Parcel, future: Any) -> None:
        error = future._state.exception
        reason = getattr(error, "reason", None)
        if reason == _LOST_CONNECTION or self.client.status != "running":
            address = self.client.scheduler.address if self.client.scheduler is not None else "?"
            problem = WorkerLost(
                f"scheduler {address}",
                "the connection to the Dask scheduler is lost; start the flow again when it is back",
            )
            self._crash(parcel, problem, lost_worker=None)
        elif reason == "lost dependencies" and not parcel.is_alone and parcel.payloads:
            # One task with a lost input makes Dask refuse its whole graph.
            parcel.is_alone = True
            parcel.since = None
            for job in parcel.jobs:
                job.handle.future = None
            with self._lock:
                self._parcels.pop(parcel.key, None)
            with self._has_outgoing:
                self._outgoing.append(parcel)
                self._has_outgoing.notify()
        else:
            problem = WorkerLost("of an input", f"Dask gave the task up ({reason or 'cancelled'}): an input is lost")
            self._crash(parcel, problem, lost_worker="of an input")

    # --- values -----------------------------------------------------------------------------------------------------

    def fetch(self, future: Any, index: int | None) -> Kept:
        """Bring what a call left here.

        Raises:
            MissingResult: it is gone.
        """
        client = self.client
        try:
            if index is None:
                return cast("Kept", client.gather(future))
            key = f"item-{future.key}-{index}-{uuid.uuid4().hex}"
            return cast("Kept", client.submit(item_of, future, index, key=key, pure=False).result())
        except Exception as error:
            raise MissingResult(
                f"the value of Dask task {future.key!r} cannot be fetched: {type(error).__name__}: {error}"
            ) from error

    def _bring_home(self) -> None:
        """Fetch the values that somebody still refers to, because the cluster is about to go."""
        wanted = sorted((result for result in self._results if not result.has_value_here()), key=lambda r: r.nbytes)
        left = _MOST_BROUGHT_HOME
        for result in wanted:
            left -= result.nbytes
            if left > 0 and self.client.status == "running":
                with contextlib.suppress(MissingResult, UnpicklableValue):
                    result.get()
            result.forget_cluster()

    # --- stopping ------------------------------------------------------------------------------------------------

    def cancel(self, handles: Sequence[Handle | None]) -> list[bool]:
        """Settle calls as Cancelled that have not begun; the workers are asked, so that those surely will not."""
        jobs: list[Job] = []
        for handle in handles:
            job = self._jobs.get((handle.key, handle.index)) if isinstance(handle, DaskHandle) else None
            if job is not None and not job.is_begun:
                jobs.append(job)
        sent = [(job.handle.key, job.handle.index) for job in jobs if job.handle.future is not None]
        begun: set[tuple[str, int | None]] = set()
        if sent:
            try:
                answers = cast("dict[str, Any]", self.client.run(_withdraw, sent, on_error="ignore"))
            except Exception as error:  # no answer: they may have begun
                self._log.debug("Dask workers could not be asked to withdraw calls: %s", error)
                answers = {"": sent}
            begun = {(key, index) for answer in answers.values() for key, index in answer}
        done: set[Handle | None] = set()
        futures: list[Any] = []
        for job in jobs:
            if (job.handle.key, job.handle.index) in begun:
                continue
            if self._settle(job, cancelled(job.call)):
                done.add(job.handle)
                if job.handle.future is not None and job.handle.index is None:
                    futures.append(job.handle.future)
        if futures:
            with contextlib.suppress(Exception):  # it only saves work: the workers know already
                self.client.cancel(futures, force=True)
        return [handle in done for handle in handles]

    def close(self) -> None:
        """Settle what is left and let go of everything on the cluster."""
        with self._lock:
            self._is_over = True
            jobs = list(self._jobs.values())
        with self._has_outgoing:
            self._outgoing.clear()
            self._has_outgoing.notify()
        for job in jobs:
            text = (
                "The flow run ended while the task ran."
                if job.is_begun
                else "The flow run ended before the task began."
            )
            self._settle(job, cancelled(job.call, f"The flow run ended {text}."))
        self._incoming.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_CLOSE_SECONDS)
        self._bring_home()
        self._asked.clear()
        if self.client.status == "running":
            with contextlib.suppress(Exception):
                self.client.run_on_scheduler(forget_flow_run, self.topic)


def _withdraw(calls: list[tuple[str, int | None]], dask_worker: Any = None) -> list[tuple[str, int | None]]:
    return station_of(dask_worker).withdraw(calls)


def _lost(worker: str) -> WorkerLost:
    return WorkerLost(worker, "the Dask scheduler lost it (killed, out of memory, preempted, or its network is down)")


def _refused(call: TaskCall, error: Exception) -> Outcome:
    """Return the outcome of a call that cannot be packed."""
    if not isinstance(error, UnpicklableValue):
        get_logger("task_runners.dask").exception("Task run %r cannot be sent to a worker", call.task_run.name)
    text = f"Task run encountered an exception. {type(error).__name__}: {error}"
    return synthesised(call, State(StateType.FAILED, message=text, data=error))
