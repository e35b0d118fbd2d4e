"""Histories of states for the REST API, and states by their own ids."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.states import State
from flowyard.store.answers import state_answer
from flowyard.store.tables import flow_run, flow_run_state, task_run, task_run_state

_GREATEST = (1 << 128) - 1
_MILLISECOND = 80  # a UUIDv7 begins with the milliseconds since the epoch, in front of so many bits
_CLOCK_SKEW_MILLISECONDS = round(timedelta(hours=1) / timedelta(milliseconds=1))


def read_of_flow_run(connection: Connection, flow_run_id: UUID) -> list[State]:
    """Return the states of a flow run, oldest first; none when there is no such run."""
    run = connection.execute(select(flow_run.c.parent_task_run_id).where(flow_run.c.id == flow_run_id)).first()
    if run is None:
        return []
    # By time, not by id: a state that was made elsewhere may arrive with an id of another clock.
    rows = connection.execute(
        select(flow_run_state)
        .where(flow_run_state.c.flow_run_id == flow_run_id)
        .order_by(flow_run_state.c.timestamp, flow_run_state.c.id)
    )
    return [state_answer(row, flow_run_id=flow_run_id, task_run_id=run.parent_task_run_id) for row in rows]


def read_of_task_run(connection: Connection, task_run_id: UUID) -> list[State]:
    """Return the states of a task run, oldest first; none when there is no such run."""
    run = connection.execute(select(task_run.c.flow_run_id).where(task_run.c.id == task_run_id)).first()
    if run is None:
        return []
    rows = connection.execute(
        select(task_run_state)
        .where(task_run_state.c.task_run_id == task_run_id)
        .order_by(task_run_state.c.timestamp, task_run_state.c.id)
    )
    return [state_answer(row, flow_run_id=run.flow_run_id, task_run_id=task_run_id) for row in rows]


def read_flow_run_state(connection: Connection, state_id: UUID) -> State:
    """Return a state of a flow run.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    joined = flow_run_state.join(flow_run, flow_run.c.id == flow_run_state.c.flow_run_id)
    query = select(flow_run_state, flow_run.c.parent_task_run_id).select_from(joined)
    row = connection.execute(query.where(flow_run_state.c.id == state_id)).first()
    if row is None:
        raise ObjectNotFound("flow run state", state_id)
    return state_answer(row, flow_run_id=row.flow_run_id, task_run_id=row.parent_task_run_id)


def read_task_run_state(connection: Connection, state_id: UUID) -> State:
    """Return a state of a task run.

    An index of these ids would cost every task run of every flow three entries, for a question that no client asks
    often. Instead the task runs made before the state are looked through, newest first: mostly it is among the first.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    joined = task_run.join(
        task_run_state, (task_run_state.c.task_run_id == task_run.c.id) & (task_run_state.c.id == state_id)
    )
    query = select(task_run_state, task_run.c.flow_run_id).select_from(joined).order_by(task_run.c.id.desc()).limit(1)
    latest = ((state_id.int >> _MILLISECOND) + _CLOCK_SKEW_MILLISECONDS) << _MILLISECOND
    row = connection.execute(query.where(task_run.c.id <= UUID(int=min(latest, _GREATEST)))).first()
    if row is None:  # ids of other versions do not tell the time
        row = connection.execute(query).first()
    if row is None:
        raise ObjectNotFound("task run state", state_id)
    return state_answer(row, flow_run_id=row.flow_run_id, task_run_id=row.task_run_id)
