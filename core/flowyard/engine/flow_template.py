"""What the engine is given to run a flow: the frozen form of `Flow`, and one call of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowyard.engine.continuation import Continuation
from flowyard.engine.prepared import Hook
from flowyard.engine.signals import Interrupts
from flowyard.parameters.binding import CallSignature
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.runs import StartInfo
from flowyard.schemas.states import StateType
from flowyard.task_runners.base import TaskRunner


@dataclass(frozen=True, slots=True, eq=False)
class FlowTemplate:
    """What the engine needs to know of a flow to run it: the frozen form of `Flow`."""

    flow: Any
    fn: Callable[..., Any]
    signature: CallSignature
    name: str
    is_async: bool
    task_runner: TaskRunner
    version: str | None = None
    policy: RetryPolicy = NO_RETRIES
    timeout_seconds: float | None = None
    flow_run_name: str | Callable[[], str] | None = None
    log_prints: bool | None = None
    validate: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    serialize: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    start: StartInfo = field(default_factory=StartInfo)
    results: Any = None
    hooks: Mapping[StateType, Sequence[Hook]] = field(default_factory=dict[StateType, Sequence[Hook]])


@dataclass(frozen=True, slots=True, eq=False)
class FlowCall:
    """One call of a flow."""

    template: FlowTemplate
    parameters: Mapping[str, Any]
    wait_for: Iterable[Any] | None
    interrupts: Interrupts
    continuation: Continuation | None = None
    """Where the run starts from, if not from nothing."""
