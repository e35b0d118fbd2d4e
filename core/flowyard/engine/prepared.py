"""A task call before it is executed: its run exists, is Pending, and knows its inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from flowyard.aio import asyncio
from flowyard.context import Slot, TaskRunContext, current
from flowyard.engine.dependencies import Dependencies, find_dependencies
from flowyard.engine.scope import Scope, dynamic_key_of
from flowyard.engine.staging import Staging
from flowyard.exceptions import MissingContextError
from flowyard.logging.loggers import get_logger
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunCreated, TaskRunEntered
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import (
    LONGEST_WAIT_IN_PLACE,
    TaskRunner,
    TaskSpec,
)

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class TaskTemplate:
    """What the engine needs to know of a task to call it: the frozen form of `Task`."""

    spec: TaskSpec
    task_key: str
    version: str | None = None
    tags: frozenset[str] = frozenset()
    policy: RetryPolicy = NO_RETRIES
    runner: TaskRunner | None = None
    """Where calls of this task execute, if not where the flow's do."""
    on_completion: Sequence[Hook] = ()
    on_failure: Sequence[Hook] = ()
    on_commit: Sequence[Hook] = ()
    on_rollback: Sequence[Hook] = ()

    @property
    def hands_on_early(self) -> bool:
        """Whether the first outcome of a call is the last one: no retry that leaves its slot, no second attempt."""
        policy = self.policy
        return policy.crash_retries == 0 and max(policy.delays, default=0.0) <= LONGEST_WAIT_IN_PLACE


class PreparedCall:
    """A task run that exists, is Pending, and knows its inputs."""

    __slots__ = (
        "attempts_lost",
        "caller_tags",
        "dependencies",
        "loop",
        "names",
        "parameters",
        "resubmissions",
        "run",
        "scope",
        "slot",
        "tags",
        "template",
        "transaction",
        "user_context",
    )

    def __init__(
        self,
        scope: Scope,
        template: TaskTemplate,
        parameters: Mapping[str, Any],
        wait_for: Iterable[Any] | None,
        mapped_from: Mapping[str, list[dict[str, str]]] | None = None,
        identity: tuple[str, str] | None = None,
    ) -> None:
        if scope.is_closed:
            raise MissingContextError(
                f"task {template.spec.name!r} was called in flow run {scope.flow_run.name if scope.flow_run else ''!r},"
                " which has ended: a thread that outlives its flow cannot call tasks; wait for it in the flow"
            )
        here = current()
        self.attempts_lost = 0
        """How many attempts, or values that they left, were lost with their workers."""
        self.resubmissions = 0
        self.slot: Slot | None = here.task_run.slot if here.task_run is not None else None
        """The place that the calling task gives back while it waits."""
        self.caller_tags: Sequence[str] = here.task_run.task_run.tags if here.task_run is not None else ()
        """The tags of the calling task, whose slots of their limits serve what it calls too."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of a submitted async task."""
        self.user_context: Context | None = None
        """The context variables of whoever submitted the call; None for a direct call, which runs among them."""
        self.scope = scope
        self.template = template
        self.parameters = parameters
        started = time.perf_counter()
        self.dependencies, self.names = find_dependencies(parameters, wait_for, scope.lineage)
        warn_if_slow(scope, task_name=template.spec.name, seconds=time.perf_counter() - started)
        if mapped_from:
            # `map` took these values out of futures, which the children depend on all the same.
            self.dependencies = self.dependencies or Dependencies()
            for name, inputs in mapped_from.items():
                self.dependencies.task_inputs.setdefault(name, []).extend(inputs)
        tags = template.tags | here.tags if here.tags else template.tags
        self.tags = here.tags
        self.transaction: Staging | None = here.transaction
        """What takes this call together with others; None for nothing."""
        self.run = _task_run(scope, template, self.dependencies, tags, here.task_run, identity)

    @property
    def loops(self) -> frozenset[asyncio.AbstractEventLoop]:
        """The event loops that the upstreams of this call need."""
        return self.dependencies.loops if self.dependencies is not None else frozenset()


def _task_run(
    scope: Scope,
    template: TaskTemplate,
    dependencies: Dependencies | None,
    tags: frozenset[str],
    caller: TaskRunContext | None,
    identity: tuple[str, str] | None,
) -> TaskRun:
    """Create and record the run of a call, or find the one that an earlier attempt of the flow run made.

    `identity` is dynamic key and name where they were given out before; None takes the next number.
    """
    spec = template.spec
    if identity is None:
        number = scope.take_numbers(template.task_key, caller)
        identity = dynamic_key_of(number, caller), f"{spec.name}-{number}"
    dynamic_key, name = identity
    if scope.earlier is not None:
        known = scope.earlier.runs.get((template.task_key, dynamic_key))
        if known is not None:
            return known
    flow_run = scope.flow_run
    run = TaskRun(
        template.task_key,
        dynamic_key,
        name,
        spec.name,
        flow_run.id if flow_run is not None else None,
        caller.task_run.id if caller is not None else None,
        task_version=template.version,
        tags=tuple(sorted(tags)) if tags else (),
        policy=template.policy,
    )
    if flow_run is None:
        # Without a flow run there is no counter: part of the id keeps key and name apart from other calls.
        suffix = run.id.hex[-8:]
        run.dynamic_key = f"{template.task_key}-{suffix}"
        run.name = f"{spec.name}-{suffix}"
    else:
        run.flow_run_run_count = flow_run.run_count
    if dependencies is not None:
        run.task_inputs = dependencies.task_inputs
    scope.recorder.append(TaskRunCreated(run))
    pending = State(StateType.PENDING)
    enter_state(run, pending)
    scope.recorder.append(TaskRunEntered(run.id, pending))
    if scope.earlier is not None:
        scope.earlier.runs[template.task_key, dynamic_key] = run
    return run


def warn_if_slow(scope: Scope, *, task_name: str, seconds: float) -> None:
    """Say that the engine spends long on looking for futures in the arguments of a task."""
    threshold = scope.slow_inputs_seconds
    if threshold is not None and seconds > threshold:
        log = scope.log if scope.log is not None else get_logger("engine")
        log.warning(
            "Looking for futures in the arguments of task %r took %.1f seconds. A large one without any can be passed "
            "as `quote(value)`: nobody looks into it then. (FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD is the limit.)",
            task_name,
            seconds,
        )
