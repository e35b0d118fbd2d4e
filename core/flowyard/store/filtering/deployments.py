"""The filter of deployments."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.store.deployment_tables import deployment, work_queue
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, combined, has_tags, is_any, is_like, one_of


def deployment_condition(dialect: Dialect, where: DeploymentFilter) -> Condition:
    """Return the condition of one filter on the rows of `deployment`."""
    return combined(_parts(dialect, where), where.operator)


def _parts(dialect: Dialect, where: DeploymentFilter) -> Iterable[Condition]:
    here = deployment.c
    if where.id is not None:
        yield combined(is_any(here.id, where.id.any_))
    if where.name is not None:
        yield combined([*is_any(here.name, where.name.any_), *is_like(here.name, where.name.like_)])
    if where.paused is not None and where.paused.eq_ is not None:
        yield here.paused.is_(where.paused.eq_)
    if where.is_schedule_active is not None and where.is_schedule_active.eq_ is not None:
        yield here.paused.is_(not where.is_schedule_active.eq_)
    if where.tags is not None:
        tags = where.tags
        yield combined(has_tags(dialect, here.tags, all_=tags.all_, is_null_=tags.is_null_), tags.operator)
    if where.work_queue_name is not None and where.work_queue_name.any_ is not None:
        named = select(work_queue.c.id).where(one_of(work_queue.c.name, where.work_queue_name.any_))
        yield here.work_queue_id.in_(named)
