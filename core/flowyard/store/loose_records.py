"""What was recorded outside of flow runs, and is deleted when it is old: log lines, and task runs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from flowyard.schemas.states import FINAL_TYPES
from flowyard.store import artifacts
from flowyard.store.encoding import to_microseconds
from flowyard.store.logs import NO_FLOW_RUN, first_id
from flowyard.store.tables import log, task_run, task_run_state

_FINAL = [kind.value for kind in FINAL_TYPES]


def remove_logs(connection: Connection, before: datetime, *, limit: int) -> int:
    """Delete log lines of no flow run from before a time, at most so many; return how many there were."""
    outside = log.c.flow_run_id == NO_FLOW_RUN
    old = select(log.c.id).where(outside, log.c.id < first_id(to_microseconds(before))).order_by(log.c.id).limit(limit)
    ids = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    return connection.execute(delete(log).where(outside, log.c.id.in_(ids))).rowcount


def remove_task_runs(connection: Connection, before: datetime, *, limit: int) -> int:
    """Delete task runs of no flow run that ended before a time, with what they made; return how many there were."""
    old = select(task_run.c.id).where(
        task_run.c.flow_run_id.is_(None), task_run.c.state_type.in_(_FINAL), task_run.c.state_timestamp < before
    )
    query = old.order_by(task_run.c.id).limit(limit).with_for_update(skip_locked=True)
    ids = connection.execute(query).scalars().all()
    artifacts.remove_of_task_runs(connection, ids)
    connection.execute(delete(task_run_state).where(task_run_state.c.task_run_id.in_(ids)))
    return connection.execute(delete(task_run).where(task_run.c.id.in_(ids))).rowcount
