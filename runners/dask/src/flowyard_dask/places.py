"""The place of a task on its Dask worker, which others may have while the task waits for them.

`distributed.secede` is not enough: it is for the thread that Dask started, and a function with a timeout (of its own,
or of its flow) runs in another one; and who calls it twice, as with joblib's Dask backend, gets an error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, cast

from dask.context import thread_state as task_state
from distributed import get_worker
from distributed.threadpoolexecutor import thread_state, threads_lock
from distributed.worker_state_machine import SecedeEvent

from flowyard.context import current
from flowyard_dask.station import CallRecorder

_LOOK_AGAIN_SECONDS = 0.1


@contextmanager
def place_given_back() -> Generator[None]:
    """Let another task use the place of this one on its worker; outside of workers nothing happens."""
    place = _place_here()
    if place is None:
        yield
        return
    place.leave()
    try:
        yield
    finally:
        place.come_back()


class _Place(NamedTuple):
    """Where a task runs.

    While it is given back the pool has one thread more. The thread of the task stays one of the pool: then it may be
    given back again, by whoever does not know.
    """

    worker: Any
    executor: Any
    key: str
    seconds: float
    """How long the task has run."""

    def leave(self) -> None:
        """Tell the worker that it can begin another task, and give it a thread for that."""
        with threads_lock:
            self.executor._max_workers += 1
            self.executor._adjust_thread_count()
        left = SecedeEvent(key=self.key, compute_duration=self.seconds, stimulus_id=f"secede-{time.time()}")
        self.worker.loop.add_callback(self.worker.handle_stimulus, left)

    def come_back(self) -> None:
        """Wait until a thread of the pool has nothing to do, which then ends."""
        executor, thread = self.executor, threading.current_thread()
        with threads_lock:
            executor._max_workers -= 1
            is_of_pool = thread in executor._threads
        is_free = threading.Event()
        with executor._rejoin_lock:
            executor._rejoin_list.append((thread, is_free))
        with suppress(RuntimeError):  # the worker is closing: nobody begins anything there
            executor.submit(_nothing)
            while not is_free.wait(_LOOK_AGAIN_SECONDS):
                pass  # between two looks a time-out can interrupt this
        if not is_of_pool:
            with threads_lock:
                executor._threads.discard(thread)


def _nothing() -> None:
    """Wake a thread of the pool."""


def _place_here() -> _Place | None:
    try:
        worker: Any = get_worker()
    except ValueError:
        return None
    executor = getattr(thread_state, "executor", None)
    if executor is not None:
        return _Place(worker, executor, task_state.key, time.time() - task_state.start_time)
    # A thread of the task's own, that works for one which waits for it.
    here = current()
    recorder = None if here.flow_run is None else here.flow_run.recorder
    if here.task_run is None or not isinstance(recorder, CallRecorder):
        return None
    began = here.task_run.task_run.start_time
    with worker.active_threads_lock:
        active = cast("dict[int, str]", worker.active_threads)
        waiting = {ident for ident, key in active.items() if key == recorder.key}
    for executor in worker.executors.values():
        if any(thread.ident in waiting for thread in list(getattr(executor, "_threads", ()))):
            return _Place(worker, executor, recorder.key, 0.0 if began is None else time.time() - began.timestamp())
    return None
