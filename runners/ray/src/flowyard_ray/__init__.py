"""Run the tasks of a flow on Ray."""

from flowyard_ray._version import __version__
from flowyard_ray.context import RemoteOptionsContext, remote_options
from flowyard_ray.task_runners import RayTaskRunner

__all__ = ["RayTaskRunner", "RemoteOptionsContext", "__version__", "remote_options"]
