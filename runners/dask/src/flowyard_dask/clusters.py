"""Which cluster a flow run uses: one of its own, or one that exists."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import multiprocessing
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from distributed import Client, LocalCluster

from flowyard.logging.loggers import get_logger

_CLOSE_SECONDS = 10.0
_GUARD = (
    'the workers are processes that import your script: put the call of the flow below `if __name__ == "__main__":`, '
    "or have threads as workers, `cluster_kwargs={'processes': False}`"
)


def find_cluster_class(wanted: str | Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the class (or factory) of temporary clusters; a string is imported.

    Raises:
        ValueError: the string names nothing.
    """
    if wanted is None:
        return LocalCluster
    if not isinstance(wanted, str):
        return wanted
    module, _, name = wanted.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cluster_class={wanted!r} cannot be imported: {error}") from error


@contextmanager
def temporary_cluster(
    cluster_class: Callable[..., Any], kwargs: Mapping[str, Any], adapt_kwargs: Mapping[str, Any]
) -> Generator[Any]:
    """Start a cluster for one flow run; it is closed however the block is left.

    Raises:
        RuntimeError: this process is a worker of such a cluster itself, and has not begun to be one; or its workers do
            not start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(f"a process that is to be a Dask worker calls the flow that started it: {_GUARD}")
    log = get_logger("task_runners.dask")
    name = f"{cluster_class.__module__}.{getattr(cluster_class, '__qualname__', cluster_class)}"
    log.info("Creating a new Dask cluster with `%s`", name)
    options = dict(kwargs)
    if cluster_class is LocalCluster:
        # Not for the network, and on a free port: several flows may run here.
        options.setdefault("dashboard_address", "127.0.0.1:0")
    if _asks_whether_asynchronous(cluster_class):
        options["asynchronous"] = False
    try:
        cluster = cluster_class(**options)
    except RuntimeError as error:
        if "failed to start" not in str(error):
            raise
        raise RuntimeError(f"{error} What it wrote on stderr says why. In a script, {_GUARD}") from error
    try:
        adapt(cluster, adapt_kwargs)
        yield cluster
    finally:
        _close(cluster)


def _asks_whether_asynchronous(cluster_class: Callable[..., Any]) -> bool:
    """Say whether a class or factory takes `asynchronous`: Prefect always hands it over, so factories may want it."""
    try:
        return "asynchronous" in inspect.signature(cluster_class).parameters
    except (TypeError, ValueError):  # nobody knows what it takes
        return False


def adapt(cluster: Any, adapt_kwargs: Mapping[str, Any]) -> None:
    """Let a cluster grow and shrink, when that is wanted."""
    if not adapt_kwargs:
        return
    adapting = cluster.adapt(**adapt_kwargs)
    if inspect.isawaitable(adapting):
        future = asyncio.run_coroutine_threadsafe(_awaited(adapting), cluster.loop.asyncio_loop)
        future.result(_CLOSE_SECONDS)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _close(cluster: Any) -> None:
    try:
        cluster.close(timeout=_CLOSE_SECONDS)
    except TypeError:  # a cluster class whose `close` takes no timeout
        cluster.close()


@contextmanager
def connection(target: Any, client_kwargs: Mapping[str, Any]) -> Generator[Client]:
    """Connect to a cluster object or a scheduler's address.

    Raises:
        OSError: nobody answers there; says where.
    """
    options = dict(client_kwargs)
    if not isinstance(target, str) and is_on_foreign_loop(target):
        # Its own event loop is busy with the user's code: the client gets another one, in a thread.
        options.setdefault("security", getattr(target, "security", None))
        target = cast("str", target.scheduler_address)
    try:
        client: Any = Client(target, **options)
    except (OSError, TimeoutError) as error:
        where = target if isinstance(target, str) else getattr(target, "scheduler_address", target)
        raise OSError(
            f"no Dask scheduler answers at {where!r}: {error}; is it running, and does it want TLS "
            "(`client_kwargs={'security': ...}`)?"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=_CLOSE_SECONDS)


def is_on_foreign_loop(cluster: Any) -> bool:
    """Say whether a cluster was made with `asynchronous=True`: it runs on an event loop of the user's."""
    # What a cluster says itself depends on the thread that asks: in any but its own it takes itself for a blocking one.
    runner = getattr(cluster, "_loop_runner", None)
    return bool(getattr(cluster, "asynchronous", False)) or bool(getattr(runner, "_asynchronous", False))
