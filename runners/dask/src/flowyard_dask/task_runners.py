"""Flows on Dask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, cast

from distributed import performance_report
from distributed.deploy.cluster import Cluster
from distributed.security import Security
from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.context import Slot
from flowyard.logging.loggers import get_logger
from flowyard.task_runners.base import Capabilities, Handle, TaskCall, TaskConcurrencyType, TaskRunner
from flowyard_dask.clusters import adapt, connection, find_cluster_class, is_on_foreign_loop, temporary_cluster
from flowyard_dask.jobs import DaskHandle
from flowyard_dask.session import Session


class DaskTaskRunner(TaskRunner):
    """Runs tasks on a Dask cluster: one that is started for the flow run, or one that exists.

    Values stay on the cluster: a task whose input another one makes gets it from worker to worker, and the flow's
    process sees it when it asks for `.result()`. `dask.annotate(...)` around `.submit()` and `.map()` is honoured
    (priority, resources, workers, retries). Workers and scheduler need the distributions `flowyard` and
    `flowyard-dask`, and nothing else: no database, no API.

    Args:
        cluster: a cluster object to use; it is not closed.
        address: the address of a scheduler to use.
        cluster_class: what to start a temporary cluster with: a class, a factory, or where to import it; None for
            `distributed.LocalCluster`.
        cluster_kwargs: what `cluster_class` is called with.
        adapt_kwargs: what the cluster's `adapt` is called with (`minimum`, `maximum`); none for a fixed size.
        client_kwargs: what `distributed.Client` is called with, e.g. `security` for TLS.
        performance_report_path: where to write Dask's HTML performance report when the flow run ends (needs bokeh).
    """

    capabilities = Capabilities(processes=True, locality=True, resources=True)
    longest_batch_seconds = 0.3

    def __init__(
        self,
        cluster: Cluster | None = None,
        address: str | None = None,
        cluster_class: str | Callable[..., Any] | None = None,
        cluster_kwargs: Mapping[str, Any] | None = None,
        adapt_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        performance_report_path: str | None = None,
    ) -> None:
        super().__init__()
        if address is not None and (cluster is not None or cluster_class or cluster_kwargs or adapt_kwargs):
            raise ValueError(
                f"address={address!r} is a cluster that exists: leave out `cluster`, `cluster_class`, `cluster_kwargs` "
                "and `adapt_kwargs`"
            )
        if cluster is not None and (cluster_class or cluster_kwargs):
            raise ValueError(f"cluster={cluster!r} exists already: leave out `cluster_class` and `cluster_kwargs`")
        for name, given in (("client_kwargs", client_kwargs), ("cluster_kwargs", cluster_kwargs)):
            if given and "asynchronous" in given:
                raise ValueError(f"{name} must not have 'asynchronous': the task runner decides that")
        if performance_report_path is not None and find_spec("bokeh") is None:
            raise ValueError(
                f"performance_report_path={performance_report_path!r} needs bokeh: pip install 'flowyard-dask[report]'"
            )
        self.cluster = cluster
        self.address = address
        self.cluster_class = cluster_class if not isinstance(cluster_class, str) else find_cluster_class(cluster_class)
        self.cluster_kwargs = dict(cluster_kwargs or {})
        self.adapt_kwargs = dict(adapt_kwargs or {})
        self.client_kwargs = dict(client_kwargs or {})
        self.client_kwargs.setdefault("set_as_default", False)
        self.performance_report_path = performance_report_path
        self._session: Session | None = None

    @property
    @override
    def concurrency_type(self) -> TaskConcurrencyType:
        has_processes = self.cluster_kwargs.get("processes")
        return TaskConcurrencyType.PARALLEL if has_processes else TaskConcurrencyType.CONCURRENT

    @override
    def options(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "address": self.address,
            "cluster_class": self.cluster_class,
            "cluster_kwargs": self.cluster_kwargs,
            "adapt_kwargs": self.adapt_kwargs,
            "client_kwargs": self.client_kwargs,
            "performance_report_path": self.performance_report_path,
        }

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DaskTaskRunner):
            return NotImplemented
        return self._identity() == other._identity()

    __hash__ = None  # pyright: ignore[reportAssignmentType]  options are dicts

    def _identity(self) -> tuple[Any, ...]:
        """Return what makes two runners the same: a cluster object and its address are the same cluster."""
        address = self.cluster.scheduler_address if self.cluster is not None else self.address
        adapt_kwargs = self.adapt_kwargs if address is None else {}
        client_kwargs = {name: _comparable(value) for name, value in self.client_kwargs.items()}
        return address, self.cluster_class, self.cluster_kwargs, adapt_kwargs, client_kwargs

    @override
    def __getstate__(self) -> dict[str, Any]:
        # A cluster object belongs to this process; whoever unpickles this connects to the same scheduler.
        options = self.options()
        cluster = options.pop("cluster")
        if cluster is not None:
            options.update(address=cluster.scheduler_address, adapt_kwargs=None)
        return options

    # --- calls ------------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The connection to the cluster.

        Raises:
            TaskRunnerNotStarted: outside of `start`.
        """
        self._require_started()
        assert self._session is not None
        return self._session

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        return self.session.submit(call, upstream or {})

    @override
    def submit_many(self, calls: Sequence[TaskCall]) -> list[Handle]:
        return self.session.submit_many(calls)

    @override
    def submit_batch(self, calls: Sequence[tuple[TaskCall, Mapping[int, Handle] | None]]) -> list[Handle]:
        return self.session.submit_chunk(calls) if calls else []

    @override
    def cancel(self, handle: Handle) -> bool:
        return self.cancel_many([handle])[0]

    @override
    def cancel_many(self, handles: Sequence[Handle]) -> list[bool]:
        natives = [handle.native for handle in handles]
        return self._session.cancel(natives, stops=True) if self._session is not None else [False] * len(handles)

    @override
    def withdraw_many(self, handles: Sequence[Handle]) -> None:
        if self._session is not None:
            self._session.cancel([handle.native for handle in handles], stops=False)

    @override
    def capacity(self) -> int | None:
        if self._session is None:
            return None
        cluster: Any = self.cluster
        if cluster is not None and is_on_foreign_loop(cluster):
            # What the cluster knows itself: to ask its scheduler would block the loop that it answers on.
            workers = cast("dict[str, dict[str, Any]]", cluster.scheduler_info["workers"])
            return sum(worker["nthreads"] for worker in workers.values()) or None
        return sum(cast("dict[str, int]", self._session.client.nthreads()).values()) or None

    @override
    def native_ref(self, handle: Handle) -> Any:
        return handle.future if isinstance(handle, DaskHandle) else None

    @override
    def waits_for_loop(
        self, handle: Handle | None, loop: asyncio.AbstractEventLoop, giving_back: Slot | None = None
    ) -> bool:
        # A cluster that was made with `asynchronous=True` does its work on the event loop of the user's code.
        cluster: Any = self.cluster
        return cluster is not None and is_on_foreign_loop(cluster) and cluster.loop.asyncio_loop is loop

    # --- life ---------------------------------------------------------------------------------------------------

    @override
    def _start(self, stack: ExitStack) -> None:
        log = get_logger("task_runners.dask")
        target: Any = self.cluster or self.address
        brings_values = False
        if self.cluster is not None:
            log.info("Connecting to an existing Dask cluster at %s", self.cluster.scheduler_address)
            adapt(self.cluster, self.adapt_kwargs)
            brings_values = is_on_foreign_loop(self.cluster)
        elif self.address is not None:
            log.info("Connecting to an existing Dask cluster at %s", self.address)
        else:
            cluster_class = find_cluster_class(self.cluster_class)
            target = stack.enter_context(temporary_cluster(cluster_class, self.cluster_kwargs, self.adapt_kwargs))
        client: Any = stack.enter_context(connection(target, self.client_kwargs))
        if client.dashboard_link:
            log.info("The Dask dashboard is available at %s", client.dashboard_link)
        if self.performance_report_path is not None:
            stack.enter_context(client.as_current())
            stack.enter_context(performance_report(filename=self.performance_report_path))
        self._session = Session(client, brings_values=brings_values)
        stack.callback(self._stop)

    def _stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _comparable(value: Any) -> Any:
    """Return what tells a value from others; Dask's `Security` compares by identity."""
    if isinstance(value, Security):
        return tuple(getattr(value, name, None) for name in Security.__slots__)
    return value
