"""The handle of a value that stays on the cluster until somebody asks for it."""

from __future__ import annotations

import threading
from typing import Any, Protocol
from uuid import UUID

from flowyard.exceptions import MissingResult
from flowyard_dask.jobs import DaskHandle
from flowyard_dask.kept import Kept


class Source(Protocol):
    """Where the values are."""

    def fetch(self, future: Any, index: int | None) -> Kept:
        """Bring what a call left here.

        Raises:
            MissingResult: it is gone.
        """
        ...


class DaskResult:
    """A `ResultHandle`; as long as it lives, the value stays on the cluster. It comes here once, when asked for."""

    __slots__ = ("__weakref__", "_cluster", "_future", "_index", "_kept", "_lock", "name", "nbytes", "record")

    def __init__(
        self, cluster: Source, future: Any, index: int | None, *, name: str, nbytes: int, record: dict[str, Any]
    ) -> None:
        self._cluster: Source | None = cluster
        self._future: Any = future
        self._index = index
        self._kept: Kept | None = None
        self._lock = threading.Lock()
        self.name = name
        self.nbytes = nbytes
        """About how large the value is; what is known of it is a lower bound."""
        self.record = record

    def get(self) -> Any:
        """Return the value.

        Raises:
            MissingResult: it was lost with its worker, or the cluster is not there any more.
            UnpicklableValue: it cannot be rebuilt in this process.
        """
        with self._lock:
            if self._kept is None:
                if self._cluster is None:
                    raise MissingResult(
                        f"the value of task run {self.name!r} stayed on a Dask cluster that this flow run has left; "
                        "call `.result()` inside the flow, return the value, or pass `persist_result=True`"
                    )
                self._kept = self._cluster.fetch(self._future, self._index)
                self._future = self._cluster = None
        if self._kept.lost_worker is not None:
            raise MissingResult(
                f"the value of task run {self.name!r} was lost with worker {self._kept.lost_worker}; "
                "pass `persist_result=True` to keep values apart from workers"
            )
        return self._kept.value()

    def take(self, kept: Kept) -> None:
        """Have the value without asking for it: it came along with another one."""
        # Who asks for it in this moment gets it another time.
        if self._lock.acquire(blocking=False):
            try:
                if self._kept is None and self._cluster is not None:
                    self._kept = kept
                    self._future = self._cluster = None
            finally:
                self._lock.release()

    def native_handle(self, task_run_id: UUID) -> DaskHandle | None:
        """Return a handle of the call, for calls that need its value; None when it is not on the cluster."""
        with self._lock:
            future = self._future
            if future is None:  # the value is here, or the cluster is gone
                return None
            handle = DaskHandle(task_run_id, future.key, self._index)
            handle.future = future
        return handle

    @property
    def key(self) -> str | None:
        """The Dask key of what has the value; None when it is not on the cluster."""
        future = self._future
        return None if future is None else future.key

    @property
    def place_in_chunk(self) -> tuple[Any, int] | None:
        """The future of the chunk, and the place in it; None for a call by itself, or when it is not on the cluster."""
        future, index = self._future, self._index
        return None if future is None or index is None else (future, index)

    def forget_cluster(self) -> None:
        """Let the cluster go: it ends."""
        with self._lock:
            self._future = self._cluster = None

    @property
    def is_on_cluster(self) -> bool:
        """Whether the value is not in this process yet."""
        return self._kept is None

    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores."""
        return self.record

    def __repr__(self) -> str:
        return f"DaskResult({self.name!r}, {'here' if self._kept is not None else 'on the cluster'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _Copy, (self.get(), self.name, self.record)


class _Copy:
    """A `DaskResult` that was pickled: the value itself."""

    def __init__(self, value: Any, name: str, record: dict[str, Any]) -> None:
        self.value = value
        self.name = name
        self.record = record

    def get(self) -> Any:
        return self.value

    def to_record(self) -> dict[str, Any]:
        return self.record
