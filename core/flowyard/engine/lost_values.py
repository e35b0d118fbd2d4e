"""Values of completed runs that were lost with a worker of a cluster: read from where they are kept, or made again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flowyard.containers import rebuild
from flowyard.engine.completion import Completion
from flowyard.engine.submission import Submission
from flowyard.exceptions import ValueLost
from flowyard.schemas.states import State
from flowyard.task_runners.base import Handle, Outcome, Upstream


class Regained(NamedTuple):
    """Where the lost inputs of a call come from now."""

    made_again: list[Completion]
    here: dict[int, Submission]
    """Those whose values can be had without the cluster, by their key in the call."""

    def fill_in(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with the values that can be had here in them."""

        def value(upstream: Any, _allow_failure: bool) -> Any:
            found = self.here.get(upstream.key)
            state = found.settled_state if found is not None else None
            return upstream if state is None else state.result()

        return {name: rebuild(argument, Upstream, value) for name, argument in parameters.items()}


def regain(outcome: Outcome, held: Mapping[int, Submission], used: Mapping[int, Handle | None]) -> Regained | None:
    """Begin to get back what a call found lost; None when it was not that, or there is no way.

    `used` has the handles that the call was submitted with.
    """
    data: Any = outcome.state.data
    error = data.get() if hasattr(data, "get") else data
    if not isinstance(error, ValueLost):
        return None
    regained = Regained([], {})
    for key in error.inputs or held:
        submission = held.get(key)
        if submission is None or submission.settled_state is None:
            continue
        if _is_here(submission.settled_state):
            regained.here[key] = submission
        else:
            making = submission.revival.begin(used.get(key)) if submission.revival is not None else None
            if making is None:
                return None
            regained.made_again.append(making)
    return regained if regained.here or regained.made_again else None


def _is_here(state: State[Any]) -> bool:
    """Say whether a value can be had without the cluster: it is persisted, or came with the outcome."""
    return not getattr(state.data, "is_on_cluster", False)
