"""The status of what serves flow runs: changed where it is another one, and noted for events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Table, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from flowyard.store.happenings import StatusChanged, note_status

# What a thing of each table belongs to, and the column that says to which.
_BELONGS_TO = {
    "work_pool": (),
    "work_queue": (("work-pool", "work_pool_id"),),
    "worker": (("work-pool", "work_pool_id"),),
    "deployment": (("flow", "flow_id"), ("work-queue", "work_queue_id")),
}


def change_status(
    connection: Connection, table: Table, status: str, *where: ColumnElement[bool], now: datetime | None = None
) -> int:
    """Give the rows that meet all conditions a status; return how many had another one.

    Args:
        connection: to write with.
        table: of pools, queues, workers or deployments.
        status: the new one.
        *where: which rows.
        now: when they were updated; None does not count as an update.
    """
    owners = _BELONGS_TO[table.name]
    others = select(table.c.id, table.c.name, *(table.c[column] for _, column in owners))
    query = others.where(table.c.status != status, *where).order_by(table.c.id).with_for_update()
    rows = connection.execute(query).all()
    if not rows:
        return 0
    values: dict[str, Any] = {"status": status} if now is None else {"status": status, "updated": now}
    connection.execute(update(table).where(table.c.id.in_([row.id for row in rows])).values(**values))
    kind = table.name.replace("_", "-")
    note_status(
        connection,
        [
            StatusChanged(
                kind,
                row.id,
                row.name,
                status,
                tuple((owner, getattr(row, column)) for owner, column in owners if getattr(row, column) is not None),
            )
            for row in rows
        ],
    )
    return len(rows)
