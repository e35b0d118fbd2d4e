"""Flowyard on Dask: `DaskTaskRunner`, and clients for Dask collections inside of tasks and flows."""

from flowyard_dask._version import __version__
from flowyard_dask.task_runners import DaskTaskRunner
from flowyard_dask.utils import get_async_dask_client, get_dask_client

__all__ = ["DaskTaskRunner", "__version__", "get_async_dask_client", "get_dask_client"]
