"""The filter of log lines."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func

from flowyard.schemas.api.logs import LogFilter
from flowyard.store.filtering.conditions import Condition, combined, is_any, is_between
from flowyard.store.tables import log


def log_condition(where: LogFilter) -> Condition:
    """Return the condition of one filter on the rows of `log`."""
    return combined(_parts(where), where.operator)


def _parts(where: LogFilter) -> Iterable[Condition]:
    if where.level is not None:
        yield combined(is_between(log.c.level, before=where.level.le_, after=where.level.ge_))
    if where.timestamp is not None:
        yield combined(is_between(log.c.timestamp, before=where.timestamp.before_, after=where.timestamp.after_))
    if where.flow_run_id is not None:
        of_task_run = where.task_run_id is not None and where.task_run_id.any_ is not None
        # Beside task runs not for an index to look up: theirs has few lines to read, that of a flow run all of them.
        column = func.coalesce(log.c.flow_run_id, log.c.flow_run_id) if of_task_run else log.c.flow_run_id
        yield combined(is_any(column, where.flow_run_id.any_))
    if where.task_run_id is not None:
        yield combined(is_any(log.c.task_run_id, where.task_run_id.any_))
