"""Variables: small named values that every run can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow


@dataclass(slots=True)
class VariableRecord:
    """A variable as it is stored: known by its name."""

    name: str
    value: Any
    """Anything that JSON can say."""
    tags: list[str] = field(default_factory=list[str])
    id: UUID = field(default_factory=new_id)
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)
