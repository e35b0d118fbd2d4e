"""The slots of the limits that tags of task runs name, for task runs that a client reports; the ledger is `limits`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from flowyard.schemas.limits import TAG_PREFIX
from flowyard.store.plain import PlainConnection
from flowyard.store.slot_calls import NOBODY


class TagUse(NamedTuple):
    """The limit of a tag, and how much of it is taken."""

    tag: str
    limit: int
    taken: int
    is_held: bool
    """One of the slots is held by who asks."""


def read_many(connection: PlainConnection, tags: Sequence[str], *, held_by: UUID) -> list[TagUse]:
    """Return the active limits of tags, in the order of the tags' names."""
    names = sorted({TAG_PREFIX + tag for tag in tags})
    marks = ", ".join("?" * len(names))
    # Limits of tags have no decay: what is taken are the rows.
    rows = connection.execute(
        "SELECT concurrency_limit.name, slot_limit, coalesce(sum(slots), 0), "
        "coalesce(max(CASE WHEN lease_id = ? THEN 1 ELSE 0 END), 0) FROM concurrency_limit "
        "LEFT JOIN concurrency_slot ON limit_id = concurrency_limit.id "
        f"WHERE active AND name IN ({marks}) GROUP BY name, slot_limit ORDER BY name",
        held_by,
        *names,
    )
    return [
        TagUse(name.removeprefix(TAG_PREFIX), limit, int(taken), bool(is_held)) for name, limit, taken, is_held in rows
    ]


def are_held(connection: PlainConnection, task_run_id: UUID) -> bool:
    """Say whether a task run that a client reports holds slots."""
    return connection.value("SELECT 1 FROM concurrency_slot WHERE lease_id = ?", task_run_id) is not None


def holders_among(connection: PlainConnection, flow_run_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of these flow runs whose task runs a client reports and hold slots."""
    if not flow_run_ids:
        return []
    query = "SELECT DISTINCT flow_run_id FROM concurrency_slot WHERE owner_id = ? AND flow_run_id IN (ids)"
    return [row.flow_run_id for row in connection.rows_among(query, flow_run_ids, NOBODY)]
