"""Tasks on Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from typing_extensions import override

from flowyard.task_runners.base import Capabilities, Handle, TaskCall, TaskConcurrencyType, TaskRunner
from flowyard_ray.connection import CONNECTION, cluster_cpus
from flowyard_ray.dispatch import Dispatcher
from flowyard_ray.garbage import FEWER_WALKS
from flowyard_ray.jobs import RayHandle

NAMESPACE = "flowyard"


class RayTaskRunner(TaskRunner):
    """Runs tasks on Ray: on this host, or on a cluster.

    Values stay in Ray's object store until the flow asks for them. `remote_options` asks for resources.

    Args:
        address: of a cluster: ``"ray://host:10001"`` for a client, ``"auto"`` for the cluster that this host is a part
            of. None uses the Ray that this process is connected to, else the one that ``RAY_ADDRESS`` names, else
            starts one on this host, which ends with the flow.
        init_kwargs: for ``ray.init``, e.g. ``num_cpus`` or ``runtime_env``; the namespace is "flowyard" unless given.
        max_pending: how many pieces of work (tasks, or batches of them) are with Ray at a time and could run; the rest
            waits in the flow's process. None for 4 per CPU of the cluster, at least 64.

    A Ray that was there before the flow is left as it was.
    """

    capabilities = Capabilities(processes=True, kill=True, locality=True, resources=True)

    def __init__(
        self, address: str | None = None, init_kwargs: dict[str, Any] | None = None, max_pending: int | None = None
    ) -> None:
        super().__init__()
        if max_pending is not None and (max_pending.__class__ is not int or max_pending < 1):
            raise ValueError(f"max_pending={max_pending!r} must be a whole number of at least 1, or None")
        self.address = address
        self.init_kwargs: dict[str, Any] = {"namespace": NAMESPACE, **(init_kwargs or {})}
        self.max_pending = max_pending
        self._dispatcher: Dispatcher | None = None
        self._cpus: int | None = None

    @property
    @override
    def concurrency_type(self) -> TaskConcurrencyType:
        return TaskConcurrencyType.PARALLEL

    @override
    def options(self) -> dict[str, Any]:
        return {"address": self.address, "init_kwargs": dict(self.init_kwargs), "max_pending": self.max_pending}

    @override
    def capacity(self) -> int | None:
        return self._cpus

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        return self._running_dispatcher().submit([(call, upstream)])[0]

    @override
    def submit_many(self, calls: Sequence[TaskCall]) -> list[Handle]:
        return self._running_dispatcher().submit([(call, None) for call in calls])

    @override
    def submit_batch(self, calls: Sequence[tuple[TaskCall, Mapping[int, Handle] | None]]) -> list[Handle]:
        return self._running_dispatcher().submit(calls, is_batch=True)

    @override
    def cancel(self, handle: Handle) -> bool:
        return self._dispatcher is not None and self._dispatcher.cancel(handle)

    @override
    def native_ref(self, handle: Handle) -> object | None:
        return handle.place.reference if isinstance(handle, RayHandle) else None

    def _running_dispatcher(self) -> Dispatcher:
        self._require_started()
        assert self._dispatcher is not None
        return self._dispatcher

    @override
    def _start(self, stack: ExitStack) -> None:
        CONNECTION.join(self.address, self.init_kwargs)
        stack.callback(CONNECTION.leave)
        stack.enter_context(FEWER_WALKS)
        self._cpus = cluster_cpus()
        self._dispatcher = Dispatcher(max_pending=self.max_pending, cpus=self._cpus)
        stack.callback(self._stop)

    def _stop(self) -> None:
        dispatcher, self._dispatcher = self._dispatcher, None
        self._cpus = None
        if dispatcher is not None:
            dispatcher.close(leaves_ray=CONNECTION.is_left_by_last())
