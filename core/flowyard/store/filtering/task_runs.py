"""The filter of task runs."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import exists

from flowyard.schemas.api.filters import TaskRunFilter, TaskRunFilterFlowRunId, TaskRunFilterState
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import (
    Condition,
    combined,
    has_tags,
    is_any,
    is_between,
    is_like,
    is_null,
    one_of,
)
from flowyard.store.tables import flow_run, task_run


def task_run_condition(dialect: Dialect, where: TaskRunFilter) -> Condition:
    """Return the condition of one filter on the rows of `task_run`."""
    return combined(_parts(dialect, where), where.operator)


def _parts(dialect: Dialect, where: TaskRunFilter) -> Iterable[Condition]:
    here = task_run.c
    if where.id is not None:
        yield combined(is_any(here.id, where.id.any_))
    if where.name is not None:
        yield combined([*is_any(here.name, where.name.any_), *is_like(here.name, where.name.like_)])
    if where.tags is not None:
        tags = where.tags
        yield combined(has_tags(dialect, here.tags, all_=tags.all_, is_null_=tags.is_null_), tags.operator)
    if where.state is not None:
        yield _state(where.state)
    if (start := where.start_time) is not None:
        yield combined(
            [
                *is_between(here.start_time, before=start.before_, after=start.after_),
                *is_null(here.start_time, start.is_null_),
            ]
        )
    if where.subflow_runs is not None and where.subflow_runs.exists_ is not None:
        # Under a name of its own: the statement around it may be about flow runs too.
        called = flow_run.alias()
        has_subflow = exists().where(called.c.parent_task_run_id == here.id)
        yield has_subflow if where.subflow_runs.exists_ else ~has_subflow
    if where.flow_run_id is not None:
        yield _flow_run(where.flow_run_id)


def _state(where: TaskRunFilterState) -> Condition:
    parts: list[Condition] = []
    if where.type is not None:
        parts.append(combined(is_any(task_run.c.state_type, where.type.any_)))
    if where.name is not None:
        parts.append(combined(is_any(task_run.c.state_name, where.name.any_)))
    return combined(parts, where.operator)


def _flow_run(where: TaskRunFilterFlowRunId) -> Condition:
    # Without a list, and without asking for task runs outside of flows, those inside are meant: `is_null_` is False.
    if where.is_null_:
        return task_run.c.flow_run_id.is_(None)
    if where.any_ is None:
        return task_run.c.flow_run_id.is_not(None)
    return one_of(task_run.c.flow_run_id, where.any_)
