"""Which runs a call depends on, and the values they hand over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast
from uuid import UUID

from flowyard import containers
from flowyard.aio import asyncio
from flowyard.annotations import BaseAnnotation
from flowyard.engine.completion import Completion
from flowyard.engine.lineage import Lineage
from flowyard.engine.submission import Submission
from flowyard.schemas.states import State, StateType, state_exception, state_value
from flowyard.task_runners.base import TaskRunner, Upstream

_UPSTREAMS = (Submission, State)
WAIT_FOR = "wait_for"
_NOTHING: Mapping[int, Submission] = {}


class UpstreamFailed(Exception):
    """An upstream run did not complete."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Dependencies:
    """The futures and states in the arguments of one call."""

    __slots__ = ("_found", "completions", "loops", "task_inputs")

    def __init__(self) -> None:
        self._found: list[tuple[Submission | State[Any], bool]] = []
        self.completions: list[Completion] = []
        self.loops: frozenset[asyncio.AbstractEventLoop] = frozenset()
        self.task_inputs: dict[str, list[dict[str, str]]] = {}

    def add(self, parameter: str, value: object) -> bool:
        """Note what `value` depends on; True when it must be rebuilt before the call."""
        found = containers.scan(value, _UPSTREAMS)
        if found is None:
            return False
        if not found.items:
            return found.annotated
        inputs = self.task_inputs.setdefault(parameter, [])
        items = cast("list[tuple[Submission | State[Any], bool]]", found.items)
        for upstream, allow_failure in items:
            self._found.append((upstream, allow_failure))
            if isinstance(upstream, Submission):
                if upstream.settled_state is None:
                    self.completions.append(upstream)
                    self.loops |= upstream.loops
                run_id: UUID | None = upstream.task_run.id
            else:
                run_id = upstream.state_details.task_run_id
            if run_id is not None:
                inputs.append({"input_type": "task_run", "id": str(run_id)})
        return True

    def hand_over(self, runner: TaskRunner) -> dict[int, Submission]:
        """Return the upstreams whose values stay with a runner (one with `locality`), by their key in the call."""
        held: dict[int, Submission] = {}
        for upstream, _ in self._found:
            if isinstance(upstream, Submission) and upstream.is_held_by(runner) and id(upstream) not in held:
                held[id(upstream)] = upstream
        return held

    def waits(self, runner: TaskRunner, held: Mapping[int, Submission]) -> list[Completion]:
        """Return what must be done before the call can be handed to a runner with `locality` that has `held`.

        An upstream that waits for its chunk to fill need only be sent: its value will be with the runner.
        """
        waits: list[Completion] = []
        for completion in self.completions:
            if id(completion) in held:
                continue
            sent = completion.when_sent(runner) if isinstance(completion, Submission) else None
            waits.append(completion if sent is None else sent)
        return waits

    def needs(self, held: Mapping[int, Submission]) -> tuple[Upstream, ...]:
        """Return what the call must find completed among what the runner holds."""
        return tuple(Upstream(id(upstream), allowed) for upstream, allowed in self._found if id(upstream) in held)

    def require_ready(self, held: Mapping[int, Submission] = _NOTHING) -> None:
        """Check that every upstream allows the call to start; those in `held` are checked where it executes.

        Raises:
            UpstreamFailed: one did not complete (and is not a failure that `allow_failure` lets through).
        """
        for upstream, allow_failure in self._found:
            if id(upstream) in held:
                continue
            state = _state_of(upstream)
            if not (state.is_completed() or (allow_failure and state.is_failed())):
                raise UpstreamFailed(_name_of(upstream))


def waited_for(wait_for: Iterable[Any]) -> list[Any]:
    """Return what a call waits for as a list; one future or state may be given without a list around it."""
    return [wait_for] if isinstance(wait_for, (Submission, State, BaseAnnotation)) else list(wait_for)


def find_dependencies(
    parameters: Mapping[str, Any], wait_for: Iterable[Any] | None, lineage: Lineage
) -> tuple[Dependencies | None, tuple[str, ...]]:
    """Return what the call depends on, and the names of the parameters to resolve; (None, ()) when there is nothing.

    Arguments that are all scalars and strings cost about 0.1 microseconds each and no visit.
    """
    dependencies: Dependencies | None = None
    names: list[str] = []
    for name, value in parameters.items():
        makers = lineage.makers_of(value)
        is_atom = value.__class__ in containers.ATOMS
        if is_atom and not makers:
            continue
        if dependencies is None:
            dependencies = Dependencies()
        if not is_atom and dependencies.add(name, value):
            names.append(name)
        if makers:
            inputs = dependencies.task_inputs.setdefault(name, [])
            inputs.extend({"input_type": "task_run", "id": str(run_id)} for run_id in makers)
    if wait_for is not None:
        if dependencies is None:
            dependencies = Dependencies()
        dependencies.add(WAIT_FOR, waited_for(wait_for))
    return dependencies, tuple(names)


def resolve(
    parameters: Mapping[str, Any], names: Iterable[str], held: Mapping[int, Submission] = _NOTHING
) -> dict[str, Any]:
    """Return the parameters with every upstream in `names` replaced by its value, or by its place in `held`.

    Under `allow_failure` a failed upstream hands over its exception.
    """

    def value(upstream: Any, allow_failure: bool) -> Any:
        return Upstream(id(upstream), allow_failure) if id(upstream) in held else _value_of(upstream, allow_failure)

    resolved = dict(parameters)
    for name in names:
        resolved[name] = containers.rebuild(resolved[name], _UPSTREAMS, value)
    return resolved


def _value_of(upstream: Any, allow_failure: bool) -> Any:
    state = _state_of(upstream)
    return state_exception(state) if allow_failure and state.is_failed() else state_value(state, raise_on_failure=True)


def _state_of(upstream: Submission | State[Any]) -> State[Any]:
    state = upstream.settled_state if isinstance(upstream, Submission) else upstream
    return state if state is not None else State(StateType.PENDING)


def _name_of(upstream: Submission | State[Any]) -> str:
    if isinstance(upstream, Submission):
        return upstream.task_run.name
    return str(upstream.state_details.task_run_id or upstream.state_details.flow_run_id or upstream.name)
