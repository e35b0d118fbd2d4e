"""Dask clients inside of tasks and flows, for Dask collections, joblib, and everything else that Dask does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from distributed import Client, get_worker

from flowyard.context import current
from flowyard_dask.places import place_given_back
from flowyard_dask.task_runners import DaskTaskRunner


@contextmanager
def get_dask_client(timeout: int | float | str | timedelta | None = None, **client_kwargs: Any) -> Generator[Client]:
    """Give a client of the cluster that the task or flow runs on; elsewhere, one with a local cluster of its own.

    In a task, the place of the task on its worker is free for others meanwhile: waiting for them cannot deadlock.
    Results of collections must be computed before the block is left.

    Args:
        timeout: how long to wait for the scheduler; None for Dask's default.
        client_kwargs: what `distributed.Client` is called with beyond that.
    """
    options = _options(timeout, client_kwargs)
    with place_given_back(), Client(**options) as client, client.as_current():
        yield client


@asynccontextmanager
async def get_async_dask_client(
    timeout: int | float | str | timedelta | None = None,  # noqa: ASYNC109  the client's own option
    **client_kwargs: Any,
) -> AsyncGenerator[Client]:
    """Give an asynchronous client: what `get_dask_client` gives, to be awaited."""
    options = _options(timeout, client_kwargs)
    options.setdefault("asynchronous", True)
    with place_given_back():
        async with Client(**options) as client:
            with client.as_current():
                yield client


def _options(timeout: int | float | str | timedelta | None, given: dict[str, Any]) -> dict[str, Any]:
    here = current()
    options: dict[str, Any] = {}
    if here.task_run is not None and (worker := _worker()) is not None:
        options.update(address=worker.scheduler.address, security=worker.security, set_as_default=False)
    elif here.flow_run is not None and isinstance(here.flow_run.task_runner, DaskTaskRunner):
        runner = here.flow_run.task_runner
        client: Any = runner.session.client
        options.update(runner.client_kwargs)
        options.update(address=client.scheduler.address, security=client.security)
    if timeout is not None:
        options["timeout"] = timeout
    return {**options, **given}


def _worker() -> Any:
    try:
        return get_worker()
    except ValueError:
        return None
