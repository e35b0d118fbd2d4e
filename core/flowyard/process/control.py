"""Where code that runs anywhere finds the control plane: in flows, tasks and scripts, and on remote workers."""

from __future__ import annotations

from flowyard.context import current
from flowyard.ports import ControlPlane
from flowyard.process.backends import PROCESS


def control_plane() -> ControlPlane:
    """Return the control plane of the run that executes here, else the one that the settings name.

    On a remote worker that is a stand-in, whose calls travel to the flow's process.

    Raises:
        BackendUnavailable: the state backend that the settings name cannot be opened; says why.
    """
    here = current().control
    return PROCESS.backend().control if here is None else here
