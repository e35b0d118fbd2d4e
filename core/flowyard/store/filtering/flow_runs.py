"""The filter of flow runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from flowyard.schemas.api.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterWorkQueueName,
)
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import (
    Condition,
    combined,
    has_tags,
    is_any,
    is_between,
    is_like,
    is_not_any,
    is_null,
    one_of,
)
from flowyard.store.tables import flow_run, task_run


def flow_run_condition(dialect: Dialect, where: FlowRunFilter) -> Condition:
    """Return the condition of one filter on the rows of `flow_run`."""
    return combined(_parts(dialect, where), where.operator)


def _parts(dialect: Dialect, where: FlowRunFilter) -> Iterable[Condition]:
    here = flow_run.c
    if where.id is not None:
        yield combined([*is_any(here.id, where.id.any_), *is_not_any(here.id, where.id.not_any_)])
    if where.name is not None:
        yield combined([*is_any(here.name, where.name.any_), *is_like(here.name, where.name.like_)])
    if where.tags is not None:
        tags = where.tags
        yield combined(has_tags(dialect, here.tags, all_=tags.all_, is_null_=tags.is_null_), tags.operator)
    if where.deployment_id is not None:
        yield _any_or_null(here.deployment_id, where.deployment_id)
    if where.work_queue_name is not None:
        yield _any_or_null(here.work_queue_name, where.work_queue_name)
    if where.state is not None:
        yield state_condition(where.state)
    if where.flow_version is not None:
        yield combined(is_any(here.flow_version, where.flow_version.any_))
    if where.idempotency_key is not None:
        keys = where.idempotency_key
        yield combined([*is_any(here.idempotency_key, keys.any_), *is_not_any(here.idempotency_key, keys.not_any_)])
    yield from _times(where)
    if where.parent_flow_run_id is not None:
        yield _parent_flow_run(where.parent_flow_run_id)
    if where.parent_task_run_id is not None:
        yield _any_or_null(here.parent_task_run_id, where.parent_task_run_id)


def _any_or_null(
    column: Column[Any], where: FlowRunFilterDeploymentId | FlowRunFilterWorkQueueName | FlowRunFilterParentTaskRunId
) -> Condition:
    return combined([*is_any(column, where.any_), *is_null(column, where.is_null_)], where.operator)


def state_condition(where: FlowRunFilterState, here: ReadOnlyColumnCollection[str, Any] = flow_run.c) -> Condition:
    """Return the condition of a filter of states on the rows of `flow_run`, or of what has its columns of them."""
    parts: list[Condition] = []
    if where.type is not None:
        parts.append(combined(is_any(here.state_type, where.type.any_)))
    if where.name is not None:
        parts.append(combined(is_any(here.state_name, where.name.any_)))
    return combined(parts, where.operator)


def _times(where: FlowRunFilter) -> Iterable[Condition]:
    here = flow_run.c
    if (start := where.start_time) is not None:
        yield combined(
            [
                *is_between(here.start_time, before=start.before_, after=start.after_),
                *is_null(here.start_time, start.is_null_),
            ]
        )
    if (expected := where.expected_start_time) is not None:
        yield combined(is_between(here.expected_start_time, before=expected.before_, after=expected.after_))
    if (due := where.next_scheduled_start_time) is not None:
        yield combined(is_between(here.next_scheduled_start_time, before=due.before_, after=due.after_))


def _parent_flow_run(where: FlowRunFilterParentFlowRunId) -> Condition:
    if where.any_ is None:
        return combined([])
    # Under a name of its own: the statement around it may be about task runs too.
    caller = task_run.alias()
    called_by = select(caller.c.id).where(one_of(caller.c.flow_run_id, where.any_))
    return flow_run.c.parent_task_run_id.in_(called_by)
