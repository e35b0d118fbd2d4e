"""Says which workers, pools, queues and deployments nobody has heard of for too long.

Safe in several replicas at once: each mark is one statement that asks again whether it is so.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from flowyard.services.store_access import StoreAccess
from flowyard.settings import Settings
from flowyard.store import deployments, work_pools, work_queues, workers
from flowyard.store.plain import PlainConnection

_logger = logging.getLogger("flowyard.foreman")


class Foreman:
    """Marks as OFFLINE or NOT_READY; a heartbeat or a poll marks as ONLINE or READY."""

    name = "foreman"

    def __init__(self, access: StoreAccess, settings: Settings) -> None:
        self._access = access
        self._missed = settings.FLOWYARD_API_SERVICES_FOREMAN_INACTIVITY_HEARTBEAT_MULTIPLE
        self._fallback = settings.FLOWYARD_API_SERVICES_FOREMAN_FALLBACK_HEARTBEAT_INTERVAL_SECONDS
        self._deployment_seconds = settings.FLOWYARD_API_SERVICES_FOREMAN_DEPLOYMENT_LAST_POLLED_TIMEOUT_SECONDS
        self._queue_seconds = settings.FLOWYARD_API_SERVICES_FOREMAN_WORK_QUEUE_LAST_POLLED_TIMEOUT_SECONDS

    def run_once(self, now: datetime) -> int:
        """Mark what is silent at `now`; return how many objects these were."""
        return self._access.change_plainly(lambda connection: self._mark(connection, now))

    def _mark(self, connection: PlainConnection, now: datetime) -> int:
        core = connection.core
        gone = workers.mark_offline(core, now=now, missed=self._missed, fallback_seconds=self._fallback)
        for name in gone:
            _logger.info("worker %r is offline: it has missed %s heartbeats", name, self._missed)
        queue_polled_before = now - timedelta(seconds=self._queue_seconds)
        deployment_polled_before = now - timedelta(seconds=self._deployment_seconds)
        return (
            len(gone)
            + work_pools.mark_not_ready(core, now=now)
            + deployments.mark_not_ready(
                core, polled_before=deployment_polled_before, queue_polled_before=queue_polled_before
            )
            + work_queues.mark_not_ready(core, polled_before=queue_polled_before)
        )
