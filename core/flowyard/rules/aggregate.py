"""The state of a flow that is judged by the states of its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from flowyard.rules.decision import RunState
from flowyard.schemas.states import FINAL_TYPES, StateType

_FINAL_TYPES = tuple(FINAL_TYPES)


def aggregate(counts: Mapping[StateType, int]) -> tuple[StateType, str]:
    """Return type and message of the state that stands for several, given how many there are of each type.

    All Completed (or none at all) is COMPLETED. Otherwise the first that there is decides: Cancelled, Paused,
    Failed or Crashed, not final; the last two make FAILED. Cancelled wins over Failed, as in Prefect 2's code (its
    documentation has it the other way round): somebody asked for the end, the failures may just follow from it.
    """
    total = sum(counts.values())
    count = counts.get
    if count(StateType.COMPLETED, 0) == total:
        return StateType.COMPLETED, "All states completed."
    if cancelled := count(StateType.CANCELLED, 0):
        return StateType.CANCELLED, f"{cancelled}/{total} states cancelled."
    if paused := count(StateType.PAUSED, 0):
        return StateType.PAUSED, f"{paused}/{total} states paused."
    if failed := count(StateType.FAILED, 0) + count(StateType.CRASHED, 0):
        return StateType.FAILED, f"{failed}/{total} states failed."
    unfinished = total - sum(count(kind, 0) for kind in _FINAL_TYPES)
    return StateType.FAILED, f"{unfinished}/{total} states are not final."


def aggregate_states(states: Iterable[RunState]) -> tuple[StateType, str]:
    """Return type and message of the state that stands for the given ones."""
    return aggregate(Counter(state.type for state in states))
