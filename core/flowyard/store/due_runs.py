"""Which runs the services have to look at: what is late, paused for too long, or left over from what was cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.engine import Connection

from flowyard.schemas.states import FINAL_TYPES, StateDetails, StateType
from flowyard.store.filtering.conditions import Condition
from flowyard.store.tables import flow_run, flow_run_state, rollup, task_run

_FINAL = [kind.value for kind in FINAL_TYPES]
_STOPPABLE = [kind.value for kind in StateType if kind not in FINAL_TYPES and kind is not StateType.CANCELLING]


def late(connection: Connection, *, due_before: datetime, limit: int) -> Sequence[UUID]:
    """Return flow runs that wait although their time has come, and are not known as late; in the order of their ids."""
    query = select(flow_run.c.id).where(
        flow_run.c.next_scheduled_start_time <= due_before,
        flow_run.c.state_type == StateType.SCHEDULED.value,
        flow_run.c.state_name == "Scheduled",
    )
    return sorted(connection.execute(query.limit(limit)).scalars())


def pauses_timed_out(connection: Connection, *, now: datetime) -> list[tuple[UUID, UUID]]:
    """Return paused flow runs that nobody resumed in time, each with the id of its state."""
    joined = flow_run.join(
        flow_run_state,
        (flow_run_state.c.flow_run_id == flow_run.c.id) & (flow_run_state.c.id == flow_run.c.state_id),
    )
    query = select(flow_run.c.id, flow_run.c.state_id, flow_run_state.c.state_details).select_from(joined)
    found: list[tuple[UUID, UUID]] = []
    # There are few, and none of them has a column with the time.
    for row in connection.execute(query.where(flow_run.c.state_type == StateType.PAUSED.value)):
        details = StateDetails.from_record(row.state_details or {})
        if details.pause_timeout is not None and details.pause_timeout < now:
            found.append((row.id, row.state_id))
    return sorted(found)


def cancelled_with_tasks(connection: Connection, *, since: datetime, limit: int) -> Sequence[UUID]:
    """Return flow runs that were cancelled since a moment and have task runs that have not ended."""
    has_unfinished = exists().where(
        rollup.c.flow_run_id == flow_run.c.id, rollup.c.state_type.not_in(_FINAL), rollup.c.count > 0
    )
    query = select(flow_run.c.id).where(*_cancelled(since), has_unfinished)
    return sorted(connection.execute(query.limit(limit)).scalars())


def subflows_of_cancelled(connection: Connection, *, since: datetime, limit: int) -> Sequence[UUID]:
    """Return the flow runs that go on although the run that called them was cancelled since a moment."""
    child = flow_run.alias()
    called = child.join(task_run, task_run.c.id == child.c.parent_task_run_id).join(
        flow_run, flow_run.c.id == task_run.c.flow_run_id
    )
    query = select(child.c.id).select_from(called).where(child.c.state_type.in_(_STOPPABLE), *_cancelled(since))
    return sorted(connection.execute(query.limit(limit)).scalars())


def tasks_of_subflows(connection: Connection, flow_run_id: UUID) -> set[UUID]:
    """Return the task runs of a flow run that stand for subflows which go on."""
    called = flow_run.join(task_run, task_run.c.id == flow_run.c.parent_task_run_id)
    query = select(task_run.c.id).select_from(called)
    goes_on = flow_run.c.state_type.not_in(_FINAL)
    return set(connection.execute(query.where(task_run.c.flow_run_id == flow_run_id, goes_on)).scalars())


def _cancelled(since: datetime) -> tuple[Condition, Condition]:
    return flow_run.c.state_type == StateType.CANCELLED.value, flow_run.c.state_timestamp >= since
