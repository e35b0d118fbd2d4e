"""From what a flow function returned to the state in which its run ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from flowyard.annotations import quote
from flowyard.engine.completion import Completion
from flowyard.engine.scope import Scope
from flowyard.engine.submission import Submission
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.aggregate import aggregate_states
from flowyard.schemas.states import State, StateType


def unfinished_in(returned: Any) -> list[Completion]:
    """Return the futures in a returned value that are not done yet."""
    return [item for item in _runs_in(returned) if isinstance(item, Submission) and item.settled_state is None]


def final_state_of(returned: Any, scope: Scope, keep: Callable[[Any], Any]) -> State[Any]:
    """Return the state that a returned value stands for (behaviour A1, F12); its futures are done.

    None stands for all runs of the flow; a state made by hand for itself; futures and states, alone or in a list,
    tuple or set, for what they add up to, with the states as the value; anything else is the value of a Completed
    state, which `keep` makes a handle of.
    """
    if returned is None:
        state = scope.final_state()
        if state.is_completed():
            state.data = UnpersistedResult(None)
        return state
    if stands_for_runs(returned):
        return returned_state(returned, keep)
    if isinstance(returned, quote):
        return State(StateType.COMPLETED, data=keep(cast("quote[Any]", returned).unwrap()))
    return State(StateType.COMPLETED, data=keep(returned))


def stands_for_runs(returned: Any) -> bool:
    """Say whether a returned value is a state, or futures and states of runs, and not a value of its own."""
    return isinstance(returned, State) or bool(_runs_in(returned))


def returned_state(returned: Any, keep: Callable[[Any], Any]) -> State[Any]:
    """Return the state that a value stands for which `stands_for_runs`; its futures are done.

    A state made by hand is copied under an id of its own: the same object may be returned by many runs.
    """
    if isinstance(returned, State):
        state = cast("State[Any]", returned)
        if state.state_details.flow_run_id is None and state.state_details.task_run_id is None:
            is_kept = hasattr(state.data, "to_record") and not isinstance(state.data, type)
            data = state.data if is_kept or (state.data is None and not state.is_completed()) else keep(state.data)
            return state.copy(update={"data": data}, reset_fields=True)
    runs = _runs_in(returned)
    states = [cast("State[Any]", run.settled_state) if isinstance(run, Submission) else run for run in runs]
    state_type, message = aggregate_states(states)
    combined: Any = states[0] if isinstance(returned, (Submission, State)) else _like(returned, states)
    if state_type is StateType.COMPLETED:
        return State(state_type, message=message, data=UnpersistedResult(combined))
    return State(state_type, message=message, data=combined)


def _runs_in(returned: Any) -> list[Submission | State[Any]]:
    """Return the futures and states that `returned` is, or consists of; nothing if it is anything else too."""
    if isinstance(returned, (Submission, State)):
        return [cast("Submission | State[Any]", returned)]
    if isinstance(returned, (list, tuple, set)) and returned:
        items = list(cast("list[Any]", returned))
        if all(isinstance(item, (Submission, State)) for item in items):
            return items
    return []


def _like(returned: Any, states: list[State[Any]]) -> Any:
    return tuple(states) if isinstance(returned, tuple) else set(states) if isinstance(returned, set) else states
