"""Where code that runs anywhere finds the control plane: in flows, tasks and scripts, and on remote workers."""

from __future__ import annotations

from flowyard.context import current
from flowyard.ports import ControlPlane
from flowyard.process.backends import PROCESS


def control_plane() -> ControlPlane:
    """Return the control plane of the run that executes here, else the one that the settings name.

    On a remote worker that is a stand-in, whose calls travel to the flow's process, also in threads that a task has
    started without its context.

    Raises:
        BackendUnavailable: the state backend that the settings name cannot be opened; says why.
        MissingContextError: the thread has no context, and on this worker it could belong to several flow runs.
    """
    here = current()
    control = here.control
    # Workers can be threads of the flow's process, where a thread without a context may be anybody's.
    if control is None and here.flow_run is None and here.task_run is None and not PROCESS.has_backend:
        control = PROCESS.remote_calls.control()
    return PROCESS.backend().control if control is None else control
