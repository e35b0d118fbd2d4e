"""Tasks at the same time, in processes of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from flowyard.task_runners.base import Capabilities, Handle, TaskCall, TaskConcurrencyType, TaskRunner

if TYPE_CHECKING:
    from flowyard.task_runners.process.pool import Pool


class ProcessPoolTaskRunner(TaskRunner):
    """Runs tasks in a pool of worker processes on this host: Python code on all processors, crashes that stay apart.

    Arguments and results are pickled (cloudpickle). Workers start with the first calls and are used again; one that
    dies is replaced, and the task it was executing is Crashed with the cause (or runs again within its
    `crash_retries`). A script needs no `if __name__ == "__main__":`, because workers do not run it again.

    Args:
        max_workers: how many processes; None for one per processor that this process may use.
    """

    capabilities = Capabilities(processes=True, kill=True)

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        if max_workers is not None and (max_workers.__class__ is not int or max_workers < 1):
            raise ValueError(
                f"max_workers={max_workers!r} must be a whole number of at least 1, or None for one per processor"
            )
        self.max_workers = max_workers
        self._pool: Pool | None = None

    @property
    @override
    def name(self) -> str:
        return "process"

    @property
    @override
    def concurrency_type(self) -> TaskConcurrencyType:
        return TaskConcurrencyType.PARALLEL

    @override
    def options(self) -> dict[str, Any]:
        return {"max_workers": self.max_workers}

    @override
    def capacity(self) -> int:
        return self.max_workers or _processors()

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        return self._running_pool().submit([call])[0]

    @override
    def submit_many(self, calls: Sequence[TaskCall]) -> list[Handle]:
        return self._running_pool().submit(calls)

    @override
    def cancel(self, handle: Handle) -> bool:
        return self._pool is not None and self._pool.cancel(handle)

    def _running_pool(self) -> Pool:
        self._require_started()
        assert self._pool is not None
        return self._pool

    @override
    def _start(self, stack: ExitStack) -> None:
        if sys.platform == "win32":
            raise NotImplementedError(
                "ProcessPoolTaskRunner needs a POSIX system; on Windows use ConcurrentTaskRunner, or DaskTaskRunner"
            )
        # Pools need a dozen modules of the standard library: a script that runs its tasks in threads does not pay.
        from flowyard.task_runners.process.pool import Pool  # noqa: PLC0415

        self._pool = Pool(self.capacity())
        stack.callback(self._stop)

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
