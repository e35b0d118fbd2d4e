"""Artifacts: what a run wants people to see, a table or a piece of Markdown for instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow


@dataclass(slots=True)
class ArtifactRecord:
    """One version of an artifact as it is stored. Those of one key are its versions; the id tells their order.

    `id` and `created` are made where the artifact is made, so that storing a record twice stores it once.
    """

    key: str | None = None
    """Lowercase letters, digits and dashes; None for an artifact that is only seen at its run."""
    type: str | None = None
    """`markdown`, `table`, `progress`, `image`, `result`, or a type of the user's."""
    data: Any = None
    """Anything that JSON can say."""
    description: str | None = None
    metadata: dict[str, str] | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    id: UUID = field(default_factory=new_id)
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)
