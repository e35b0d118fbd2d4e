"""The connection of this process to Ray: there is one at most, and runners share it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
from collections.abc import Generator, Mapping
from typing import Any, cast

from flowyard.logging.loggers import get_logger
from flowyard_ray.api import ray

_SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}


class Connection:
    """Ray as this process sees it. Who opened it closes it when the last runner has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._is_ours = False
        self._dashboard_url: str | None = None

    def join(self, address: str | None, init_kwargs: Mapping[str, Any]) -> None:
        """Connect, unless this process is connected already.

        Raises:
            ConnectionError: there is no cluster at the address.
        """
        log = get_logger("task_runners.ray")
        with self._lock:
            if ray.is_initialized():
                if self._users == 0:
                    self._is_ours = False
                if address not in (None, "auto") or self._users == 0:
                    log.info("Using the Ray connection that this process has already.")
            else:
                self._open(address, init_kwargs)
                self._is_ours = True
            self._users += 1
        self._describe()

    def _open(self, address: str | None, init_kwargs: Mapping[str, Any]) -> None:
        log = get_logger("task_runners.ray")
        kwargs = dict(init_kwargs)
        # As for Ray itself, RAY_ADDRESS names the cluster of who names none.
        address = address or kwargs.pop("address", None) or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local":
            log.info("Creating a local Ray instance")
            kwargs.setdefault("include_dashboard", False)
        else:
            log.info("Connecting to the Ray cluster at %s", address)
        with _environment(_SILENT), _keeping_signal_handlers():
            context = ray.init(address, **kwargs)
        self._dashboard_url = getattr(context, "dashboard_url", None)

    def _describe(self) -> None:
        log = get_logger("task_runners.ray")
        nodes = sum(1 for node in ray.nodes() if node["Alive"])
        cpus = cluster_cpus()
        log.info("Using Ray with %s node%s and %s CPUs.", nodes, "" if nodes == 1 else "s", cpus)
        url = self._dashboard_url
        if url:
            log.info("The Ray dashboard is available at %s", url if "://" in url else f"http://{url}")

    def is_left_by_last(self) -> bool:
        """Say whether the connection ends with the next `leave`."""
        return self._is_ours and self._users == 1

    def leave(self) -> None:
        """Close the connection (and the cluster that was started for it) if nobody uses it any more."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._is_ours and ray.is_initialized():
                with _keeping_signal_handlers():
                    ray.shutdown()


# Ray itself is one per process, so is what counts its users.
CONNECTION = Connection()


def cluster_cpus() -> int:
    """Return how many CPUs the cluster has; at least 1."""
    resources = cast("dict[str, float]", ray.cluster_resources())
    return max(math.floor(resources.get("CPU", 1)), 1)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Set environment variables that have no parameter, unless the user has; Ray's processes inherit them."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _keeping_signal_handlers() -> Generator[None]:
    """Have SIGTERM do what it did before: Ray takes it, and the flow could not record its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is not before and before is not None:
            signal.signal(signal.SIGTERM, before)
