"""The filter of log lines."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import or_, select

from flowyard.schemas.api.base import Operator
from flowyard.schemas.api.logs import LogFilter
from flowyard.store.filtering.conditions import Condition, combined, is_any, is_between
from flowyard.store.logs import NO_FLOW_RUN
from flowyard.store.tables import log, task_run


def log_condition(where: LogFilter) -> Condition:
    """Return the condition of one filter on the rows of `log`."""
    found = combined(_parts(where), where.operator)
    task_run_ids = where.task_run_id.any_ if where.task_run_id is not None else None
    if task_run_ids is None or where.operator is Operator.or_ or where.flow_run_id is not None:
        return found
    # Lines are kept by flow run: with it the database reads the lines of a few runs instead of all.
    flow_run_ids = select(task_run.c.flow_run_id).where(task_run.c.id.in_(task_run_ids))
    return found & or_(log.c.flow_run_id.in_(flow_run_ids), log.c.flow_run_id == NO_FLOW_RUN)


def _parts(where: LogFilter) -> Iterable[Condition]:
    if where.level is not None:
        yield combined(is_between(log.c.level, before=where.level.le_, after=where.level.ge_))
    if where.timestamp is not None:
        yield combined(is_between(log.c.timestamp, before=where.timestamp.before_, after=where.timestamp.after_))
    if where.flow_run_id is not None:
        yield combined(is_any(log.c.flow_run_id, where.flow_run_id.any_))
    if where.task_run_id is not None:
        yield combined(is_any(log.c.task_run_id, where.task_run_id.any_))
