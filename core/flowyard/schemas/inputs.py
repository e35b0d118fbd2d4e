"""What was sent to a flow run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow


@dataclass(eq=False, slots=True)
class InputRecord:
    """A value in the mailbox of a flow run."""

    flow_run_id: UUID
    key: str
    value: str
    """JSON."""
    sender: str | None = None
    """Who sent it: `prefect.flow-run.ID` for a flow run, so that it can be answered."""
    id: UUID = field(default_factory=new_id)
    created: datetime = field(default_factory=utcnow)
