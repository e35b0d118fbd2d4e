"""The answer to a proposed state."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from flowyard.schemas.states import State


class Verdict(enum.StrEnum):
    """What became of a proposed state."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    WAIT = "WAIT"
    ABORT = "ABORT"


@dataclass(frozen=True, slots=True)
class OrchestrationResult:
    """A verdict and the state the run is in afterwards."""

    status: Verdict
    state: State[Any] | None
    reason: str | None = None
    delay_seconds: float = 0.0
    """With WAIT: propose the same state again after this many seconds."""
    has_entered: bool = False
    """The run has entered `state` now; False when it was in it before."""
