"""Task runs that were put down for a worker: calls of a task outside of any flow, scheduled and not begun."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection

from flowyard.schemas.states import StateType
from flowyard.store.tables import task_run

_MOST = 1_000


def ids(connection: Connection, task_keys: Sequence[str]) -> list[UUID]:
    """Return the task runs of some tasks that wait for a worker, oldest first, at most 1,000.

    One that waits to be tried again is none of them: whoever began it goes on with it.
    """
    query = select(task_run.c.id).where(
        task_run.c.flow_run_id.is_(None),
        task_run.c.state_type == StateType.SCHEDULED.value,
        task_run.c.state_name == "Scheduled",
        task_run.c.run_count == 0,
        task_run.c.task_key.in_(task_keys),
    )
    return list(connection.execute(query.order_by(task_run.c.id).limit(_MOST)).scalars())
