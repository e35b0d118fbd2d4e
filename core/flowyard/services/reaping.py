"""The reaper as a service: flow runs whose process is gone become Crashed."""

from __future__ import annotations

from datetime import datetime

from flowyard.ports import ControlPlane


class Reaping:
    """Looks at every lease. Safe in several replicas at once: a lease that changed hands meanwhile is left alone."""

    name = "reaper"

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def run_once(self, now: datetime) -> int:
        """Mark what dead processes have left behind; return how many flow runs these were."""
        return len(self._control.reap_dead_runs(now))
