"""Makes the flow runs that schedules ask for, some time ahead.

Safe in several replicas at once: a date makes one run because its idempotency key is unique in the database, and a
deployment that is changed meanwhile is left to the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.rules.schedules import iter_dates
from flowyard.schemas.api.deployments import DeploymentResponse
from flowyard.schemas.api.work_pools import WorkQueueResponse
from flowyard.services import deployment_runs
from flowyard.services.reported_flow_runs import create_flow_run
from flowyard.services.store_access import StoreAccess
from flowyard.settings import Settings
from flowyard.store import deployments, planned_runs, work_pools, work_queues
from flowyard.store.plain import PlainConnection

_logger = logging.getLogger("flowyard.scheduler")
# The loop for what was changed a moment ago looks a little further back than its own interval.
_RECENT = timedelta(seconds=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """How far ahead runs are made: the fewest that reach both minima and stay under both maxima."""

    min_runs: int
    max_runs: int
    min_time: timedelta
    max_time: timedelta
    max_runs_of_schedule: int

    @classmethod
    def from_settings(cls, settings: Settings) -> Horizon:
        """Return what the settings say."""
        return cls(
            min_runs=settings.FLOWYARD_API_SERVICES_SCHEDULER_MIN_RUNS,
            max_runs=settings.FLOWYARD_API_SERVICES_SCHEDULER_MAX_RUNS,
            min_time=settings.FLOWYARD_API_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME,
            max_time=settings.FLOWYARD_API_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME,
            max_runs_of_schedule=settings.FLOWYARD_DEPLOYMENT_SCHEDULE_MAX_SCHEDULED_RUNS,
        )


class Scheduler:
    """Looks at every deployment that has schedules to follow; with `only_recent`, at those that were just changed."""

    name = "scheduler"

    def __init__(self, access: StoreAccess, settings: Settings, *, only_recent: bool = False) -> None:
        self._access = access
        self._horizon = Horizon.from_settings(settings)
        self._deployments_at_a_time = settings.FLOWYARD_API_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE
        self._runs_at_a_time = settings.FLOWYARD_API_SERVICES_SCHEDULER_INSERT_BATCH_SIZE
        self._only_recent = only_recent

    def run_once(self, now: datetime) -> int:
        """Make the runs that are missing; return how many these were."""
        made = 0
        for ids in self._pages(now):
            plans = self._access.read(lambda connection, ids=ids: self._missing(connection, ids, now))
            for part in _batches(plans, self._runs_at_a_time):
                made += self._access.change_plainly(lambda connection, part=part: _make(connection, part))
        return made

    def _pages(self, now: datetime) -> Iterator[Sequence[UUID]]:
        since = now - _RECENT if self._only_recent else None
        last: UUID | None = None
        while True:
            ids = self._access.read(
                lambda connection, last=last: deployments.scheduled_page(
                    connection, after=last, changed_since=since, limit=self._deployments_at_a_time
                )
            )
            if not ids:
                return
            yield ids
            last = ids[-1]

    def _missing(self, connection: Connection, ids: Sequence[UUID], now: datetime) -> list[Plan]:
        found = deployments.read_all(connection, ids)
        plans = [Plan(deployment, dates_ahead(deployment, self._horizon, now=now)) for deployment in found]
        return _without_known(connection, plans)


@dataclass(frozen=True, slots=True)
class Plan:
    """The dates at which a deployment runs."""

    deployment: DeploymentResponse
    dates: Sequence[datetime]


def dates_ahead(
    deployment: DeploymentResponse, horizon: Horizon, *, now: datetime, end: datetime | None = None
) -> list[datetime]:
    """Return the dates at which a deployment should have runs, by all of its active schedules.

    A schedule that cannot be followed is logged and left out.
    """
    found: set[datetime] = set()
    last = end or now + horizon.max_time
    for followed in deployment.schedules:
        if not followed.active:
            continue
        most = min(horizon.max_runs, followed.max_scheduled_runs or horizon.max_runs_of_schedule)
        dates: list[datetime] = []
        try:
            for date in islice(iter_dates(followed.schedule, start=now, end=last), most):
                dates.append(date)
                if len(dates) >= horizon.min_runs and date >= now + horizon.min_time:
                    break
        except Exception:
            _logger.exception("schedule %s of deployment %r cannot be followed", followed.id, deployment.name)
        found.update(dates)
    return sorted(found)[: horizon.max_runs]


def schedule_now(
    connection: PlainConnection, deployment_id: UUID, horizon: Horizon, *, start: datetime, end: datetime
) -> int:
    """Make the runs of one deployment in a time of one's choice; return how many were made.

    Raises:
        ObjectNotFound: there is no such deployment.
    """
    deployment = deployments.lock(connection.core, deployment_id)
    if deployment.paused:
        return 0
    return _make(connection, [Plan(deployment, dates_ahead(deployment, horizon, now=start, end=end))])


def _without_known(connection: Connection, plans: Sequence[Plan]) -> list[Plan]:
    """Leave out the dates whose runs are there, and the deployments that need no run."""
    keys: dict[UUID, list[str]] = {}
    for plan in plans:
        of_flow = keys.setdefault(plan.deployment.flow_id, [])
        of_flow.extend(deployment_runs.idempotency_key(plan.deployment, date) for date in plan.dates)
    known = planned_runs.known_keys(connection, keys)
    left = [
        Plan(
            plan.deployment,
            [date for date in plan.dates if deployment_runs.idempotency_key(plan.deployment, date) not in known],
        )
        for plan in plans
    ]
    return [plan for plan in left if plan.dates]


def _batches(plans: Sequence[Plan], most: int) -> Iterator[list[Plan]]:
    """Yield plans together as long as they make no more runs than that."""
    batch: list[Plan] = []
    size = 0
    for plan in plans:
        if batch and size + len(plan.dates) > most:
            yield batch
            batch, size = [], 0
        batch.append(plan)
        size += len(plan.dates)
    if batch:
        yield batch


def _make(connection: PlainConnection, plans: Sequence[Plan]) -> int:
    made = 0
    # In the order of their ids: two replicas wait for each other instead of for ever.
    for plan in sorted(plans, key=lambda plan: plan.deployment.id):
        deployment = plan.deployment
        try:
            current = deployments.lock(connection.core, deployment.id)
        except ObjectNotFound:
            continue
        if current.updated != deployment.updated or current.paused:
            continue  # changed since its dates were made: the next look sees what it is now
        queue = _queue_of(connection.core, current)
        maker = {"id": str(deployment.id), "type": "DEPLOYMENT", "display_value": deployment.name}
        origin = deployment_runs.origin_of(current, queue, auto_scheduled=True, created_by=maker)
        for date in plan.dates:
            run, state = deployment_runs.scheduled_run(current, date)
            try:
                _, is_new = create_flow_run(connection, run, state, origin)
            except ObjectNotFound:
                _logger.warning("deployment %r (%s) has no flow: nothing is scheduled", deployment.name, deployment.id)
                break
            made += is_new
    return made


def _queue_of(connection: Connection, deployment: DeploymentResponse) -> WorkQueueResponse | None:
    if deployment.work_pool_name is None or deployment.work_queue_name is None:
        return None
    pool = work_pools.read(connection, deployment.work_pool_name)
    return work_queues.find(connection, pool.id, deployment.work_queue_name)
