"""Flow runs of deployments that have not begun: which are there, and how they are taken back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from flowyard.schemas.states import StateType
from flowyard.store.flow_run_inputs import flow_run_input
from flowyard.store.tables import flow_run, flow_run_state, lease, log, rollup

_KEYS_AT_A_TIME = 5_000


def known_keys(connection: Connection, keys: Mapping[UUID, Collection[str]]) -> set[str]:
    """Return which idempotency keys are taken, given those of each flow."""
    found: set[str] = set()
    for flow_id, of_flow in keys.items():
        wanted = list(of_flow)
        for start in range(0, len(wanted), _KEYS_AT_A_TIME):
            part = wanted[start : start + _KEYS_AT_A_TIME]
            query = select(flow_run.c.idempotency_key).where(
                flow_run.c.flow_id == flow_id, flow_run.c.idempotency_key.in_(part)
            )
            found.update(connection.execute(query).scalars())
    return found


def remove(connection: Connection, deployment_id: UUID, *, auto_scheduled_only: bool) -> int:
    """Delete the runs of a deployment that wait for their time and never ran; return how many these were.

    Args:
        connection: to write with.
        deployment_id: whose runs.
        auto_scheduled_only: those that somebody asked for stay.
    """
    conditions: list[Any] = [
        flow_run.c.deployment_id == deployment_id,
        flow_run.c.state_type == StateType.SCHEDULED.value,
        flow_run.c.run_count == 0,
    ]
    if auto_scheduled_only:
        conditions.append(flow_run.c.auto_scheduled.is_(True))
    # Locked, so that nobody begins one of them meanwhile.
    ids: Sequence[UUID] = connection.execute(select(flow_run.c.id).where(*conditions).with_for_update()).scalars().all()
    if ids:
        for table in (flow_run_state, log, rollup, lease, flow_run_input):
            connection.execute(delete(table).where(table.c.flow_run_id.in_(ids)))
        connection.execute(delete(flow_run).where(flow_run.c.id.in_(ids)))
    return len(ids)
