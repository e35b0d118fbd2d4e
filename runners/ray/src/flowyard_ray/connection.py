"""The connection of this process to Ray: there is one at most, and runners share it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
from collections.abc import Generator, Mapping
from typing import Any, cast

from flowyard.logging.loggers import get_logger
from flowyard_ray.api import ray

_SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}
_CLIENT_PORT = "10001"


class Connection:
    """Ray as this process sees it. Who opened it closes it when the last runner has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._is_ours = False
        self._init_kwargs: Mapping[str, Any] = {}
        """What `ray.init` was called with here."""
        self._dashboard_url: str | None = None

    def join(self, address: str | None, init_kwargs: Mapping[str, Any]) -> None:
        """Connect, unless this process is connected already.

        Raises:
            ConnectionError: there is no cluster at the address, or this process is connected to another one.
        """
        log = get_logger("task_runners.ray")
        with self._lock:
            if ray.is_initialized():
                _refuse_another(address or init_kwargs.get("address"))
                if self._users == 0:
                    self._is_ours, self._init_kwargs, self._dashboard_url = False, dict[str, Any](), None
                    log.info("Using the Ray connection that this process has already.")
                without_effect = [
                    name
                    for name, value in init_kwargs.items()
                    if name not in ("address", "namespace") and self._init_kwargs.get(name) != value
                ]
                if without_effect:
                    log.warning("Ray runs already, so this part of init_kwargs has no effect: %s", without_effect)
            else:
                self._open(address, init_kwargs)
                self._is_ours, self._init_kwargs = True, dict(init_kwargs)
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


def _refuse_another(address: str | None) -> None:
    """Raise where a flow wants another cluster than the one that this process is connected to."""
    if address is None or ":" not in address:  # "auto" and "local" name none
        return
    here = _present_address()
    if here is not None and _resolved(here) != _resolved(address):
        raise ConnectionError(
            f"the flow wants the Ray at {address!r}, but this process is connected to the one at {here!r}, and has one "
            "connection at a time: leave `address` out to use it, call `ray.shutdown()` before the flow, or run the "
            "flow in a process of its own"
        )


def _present_address() -> str | None:
    """Return where this process is connected to; None when that cannot be said."""
    if ray.util.client.ray.is_connected():
        worker = ray.util.client.ray.get_context().client_worker
        where = getattr(worker, "_conn_str", None)
        return None if where is None else f"ray://{where}"
    return cast("str", ray.get_runtime_context().gcs_address)


def _resolved(address: str) -> tuple[str, str, str]:
    """Return protocol, host (as a number, if its name is known) and port of an address."""
    protocol, _, where = address.rpartition("://")
    host, _, port = where.strip("/").partition(":")
    with contextlib.suppress(OSError):
        host = socket.gethostbyname(host)
    if host.startswith("127."):  # Ray names this host by its address in the network
        host = cast("str", ray.util.get_node_ip_address())
    return protocol, host, port or _CLIENT_PORT


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
