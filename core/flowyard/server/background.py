"""Which services run in a server, and how often."""

from __future__ import annotations

from collections.abc import Iterator

from flowyard.server.gateway import Gateway
from flowyard.server.metrics import Metrics
from flowyard.services.cancellation_cleanup import CancellationCleanup
from flowyard.services.foreman import Foreman
from flowyard.services.late_runs import LateRuns
from flowyard.services.loops import Loop, Loops
from flowyard.services.pause_expirations import PauseExpirations
from flowyard.services.reaping import Reaping
from flowyard.services.retention import Retention
from flowyard.services.scheduler import Scheduler
from flowyard.settings import Settings

_REAPER_SECONDS = 10.0
_RECENT_SECONDS = 5.0
"""How soon what was changed about a schedule is seen."""


def loops_of(gateway: Gateway, settings: Settings, metrics: Metrics) -> Loops:
    """Return the loops of the services that are enabled."""
    return Loops(list(_loops(gateway, settings, metrics)), on_pass=metrics.count_pass)


def _loops(gateway: Gateway, settings: Settings, metrics: Metrics) -> Iterator[Loop]:
    yield Loop(Reaping(gateway.control), _REAPER_SECONDS)
    if settings.FLOWYARD_API_SERVICES_SCHEDULER_ENABLED:
        seconds = settings.FLOWYARD_API_SERVICES_SCHEDULER_LOOP_SECONDS
        yield Loop(Scheduler(gateway, settings), seconds)
        yield Loop(Scheduler(gateway, settings, only_recent=True), min(seconds, _RECENT_SECONDS))
    if settings.FLOWYARD_API_SERVICES_LATE_RUNS_ENABLED:
        yield Loop(LateRuns(gateway, settings), settings.FLOWYARD_API_SERVICES_LATE_RUNS_LOOP_SECONDS)
    if settings.FLOWYARD_API_SERVICES_PAUSE_EXPIRATIONS_ENABLED:
        yield Loop(PauseExpirations(gateway), settings.FLOWYARD_API_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS)
    if settings.FLOWYARD_API_SERVICES_CANCELLATION_CLEANUP_ENABLED:
        yield Loop(CancellationCleanup(gateway), settings.FLOWYARD_API_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS)
    if settings.FLOWYARD_API_SERVICES_FOREMAN_ENABLED:
        yield Loop(Foreman(gateway, settings), settings.FLOWYARD_API_SERVICES_FOREMAN_LOOP_SECONDS)
    if settings.FLOWYARD_API_SERVICES_RETENTION_ENABLED:
        retention = Retention(gateway.control, gateway, settings, on_deleted=metrics.count_deleted)
        yield Loop(retention, settings.FLOWYARD_API_SERVICES_RETENTION_LOOP_SECONDS)
