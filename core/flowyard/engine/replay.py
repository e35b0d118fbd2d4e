"""What a further attempt of a flow run does not do again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.engine.scope import Scope
from flowyard.logging.run_log import RunLog, run_log_for_task
from flowyard.results.fingerprints import fingerprint_of
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.decision import has_persisted_result, revised
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State


class Fingerprint:
    """A hash of a call's inputs, made only where an attempt may need it (pickling the inputs is not free)."""

    __slots__ = ("_is_made", "_parameters", "_value")

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters: Mapping[str, Any] = parameters
        self._is_made = False
        self._value: str | None = None

    def get(self) -> str | None:
        """Return the hash; None when the inputs cannot be hashed."""
        if not self._is_made:
            self._value = fingerprint_of(self._parameters)
            self._is_made = True
            self._parameters = {}
        return self._value

    def keep_for_retry(self, scope: Scope, run: TaskRun) -> None:
        """Remember the hash, if a later attempt of the flow run can come back to this task run."""
        if scope.earlier_runs is not None and run.state is not None and run.state.is_completed():
            scope.fingerprints[run.id] = self.get()
        else:
            self._parameters = {}


def reusable_state(
    scope: Scope, run: TaskRun, fingerprint: Fingerprint, log: RunLog | None, *, is_subflow: bool = False
) -> State[Any] | None:
    """Return the Completed state that an earlier attempt left for this call, or None when it has to be executed.

    It counts when its inputs are the same and its result was persisted (a subflow's need not be: this process has it).
    A log line says why it does not count.
    """
    state = run.state
    if scope.earlier_runs is None or state is None or not state.is_completed():
        return None
    if not is_subflow and not has_persisted_result(state):
        return None
    log = log if log is not None else run_log_for_task(run, scope.recorder)
    before = scope.fingerprints.get(run.id)
    if before is None or fingerprint.get() is None:
        log.info("Task run '%s' is executed again: its inputs cannot be hashed to tell whether they changed", run.name)
        _forget_result(run, state)
        return None
    if before != fingerprint.get():
        log.info("Task run '%s' is executed again: its inputs are not those of the last attempt", run.name)
        _forget_result(run, state)
        return None
    log.info("Task run '%s' is already completed; its persisted result is used", run.name)
    return state


def _forget_result(run: TaskRun, state: State[Any]) -> None:
    """Make the rules see that the last result does not count: they keep a run whose result is persisted."""
    run.state = revised(state, data=UnpersistedResult())
