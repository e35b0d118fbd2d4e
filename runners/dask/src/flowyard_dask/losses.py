"""The part of Flowyard in a Dask scheduler: what happens to calls whose worker is lost, or whose flow is.

Dask forgives lost workers by starting their tasks again elsewhere, and by computing lost values anew. For user code
with effects that is wrong, and whoever wants it says so (`crash_retries`). So when a worker goes, the calls that it had
begun, or may have begun, are replaced by a task that only says so, and so are the values that only it had. Calls count
as waiting on their worker where those that are known to run there take all its threads.

When the process of a flow goes, Dask forgets what waits, and lets what runs go on. Here it is stopped as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from dask._task_spec import Task
from distributed import SchedulerPlugin
from distributed.protocol.pickle import dumps  # pyright: ignore[reportUnknownVariableType]

from flowyard.exceptions import WorkerLost
from flowyard_dask.calls import lost_call, lost_value, run_call, run_chunk
from flowyard_dask.station import PREFIX, station_of

if TYPE_CHECKING:
    from distributed import Scheduler

NAME: Final = "flowyard-losses-1"
_REMEMBERED = 1_000


class LossPlugin(SchedulerPlugin):
    """One for all flow runs on a scheduler; costs nothing per task but for a few dictionary entries while it runs."""

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._began: dict[str, set[str]] = {}
        """Topic -> keys of calls that have begun, as far as their workers had time to say so."""
        self._over: dict[str, None] = {}
        """Flow runs that have ended."""
        self._stopping: set[asyncio.Task[Any]] = set()

    async def start(self, scheduler: Scheduler) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        """Hear what workers report, and that one of them is being removed: before its tasks go elsewhere."""
        if topic in self._over:
            self._scheduler._broker._topics.pop(topic, None)  # the last words of a worker
        elif topic.startswith(PREFIX):
            # It was sent on by now; the last 1,000 messages of a big map would be hundreds of MB.
            self._scheduler._broker.truncate(topic)
            began = self._began.setdefault(topic, set())
            began.update(msg.get("began", ()))
            began.difference_update(msg.get("ended", ()))
        elif topic == "all" and type(msg) is dict:
            message = cast("dict[str, Any]", msg)
            if message.get("action") == "remove-worker":
                self._removed(message["worker"], message["processing-tasks"], message["lost-computed-tasks"])
            elif message.get("action") == "remove-client":
                self._left_alone(message["client"])

    def forget(self, topic: str) -> None:
        """Drop what is known of a flow run that has ended."""
        self._began.pop(topic, None)
        self._over[topic] = None
        if len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]

    def _removed(self, worker: str, processing: set[str], lost: set[str]) -> None:
        tasks = self._scheduler.tasks
        for key in lost:
            _replace(tasks.get(key), lost_value, worker)
        running = [ts for key in processing if (ts := tasks.get(key)) is not None]
        begun = [ts for ts in running if self._has_begun(ts)]
        if len(begun) < _threads_of(running):
            # A thread of which nobody knows what it did: in the milliseconds that a message takes it may have begun any
            # of them, or several; which are ready there first is not known here.
            begun = running
        told: dict[str, list[str]] = {}
        for ts in begun:
            topic = _topic_of(ts)
            if topic is not None:
                self._began.get(topic, set()).discard(ts.key)
                _replace(ts, lost_call, worker)
                told.setdefault(topic, []).append(ts.key)
        for topic, keys in told.items():
            self._scheduler.log_event(topic, {"lost": keys, "worker": worker})

    def _left_alone(self, client: str) -> None:
        """Stop what only a client wanted that is leaving: before Dask has forgotten what that was."""
        state = self._scheduler.clients.get(client)
        if state is None:
            return
        running: dict[str, str] = {
            ts.key: ts.processing_on.address
            for ts in state.wants_what
            if ts.processing_on is not None and len(ts.who_wants) == 1 and _topic_of(ts) is not None
        }
        if running:
            message: dict[str, Any] = {
                "op": "run",
                "function": dumps(_give_up),
                "args": dumps((list(running),)),
                "kwargs": None,
            }
            asking = self._scheduler.broadcast(msg=message, workers=set(running.values()), on_error="ignore")
            task = asyncio.ensure_future(asking)
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _has_begun(self, ts: Any) -> bool:
        topic = _topic_of(ts)
        return topic is not None and ts.key in self._began.get(topic, ())


def _give_up(keys: Sequence[str], dask_worker: Any = None) -> None:
    station_of(dask_worker).give_up(keys)


def _topic_of(ts: Any) -> str | None:
    """Return the topic of one of our calls; None for a task of somebody else."""
    spec = ts.run_spec
    return spec.args[0] if getattr(spec, "func", None) in (run_call, run_chunk) else None


def _threads_of(running: list[Any]) -> int:
    """Return how many threads the worker has (or had) that tasks were sent to."""
    return next((ts.processing_on.nthreads for ts in running if ts.processing_on is not None), 0)


def _replace(ts: Any, function: Any, worker: str) -> None:
    if ts is None or _topic_of(ts) is None:
        return
    count = len(ts.run_spec.args[1]) if ts.run_spec.func is run_chunk else None
    ts.run_spec = Task(ts.key, function, run_name_of(ts.key), worker, count)


def run_name_of(key: str) -> str:
    """Return the name of the task run in a key."""
    return key.rsplit("-", 3)[0]


def lost_with(worker: str) -> WorkerLost:
    """Return what happened to a call whose worker is gone."""
    return WorkerLost(worker, "the Dask scheduler lost it (killed, out of memory, preempted, or its network is down)")


def forget_flow_run(topic: str, dask_scheduler: Any = None) -> None:
    """Remove all traces of a flow run from a scheduler; `Client.run_on_scheduler` calls it there."""
    dask_scheduler.task_metadata.pop(topic, None)
    dask_scheduler._broker._topics.pop(topic, None)
    plugin = dask_scheduler.plugins.get(NAME)
    if plugin is not None:
        plugin.forget(topic)
