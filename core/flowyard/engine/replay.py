"""What a further attempt of a flow run does not do again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flowyard.logging.run_log import RunLog
from flowyard.results.fingerprints import fingerprint_of
from flowyard.results.handles import UnpersistedResult
from flowyard.results.records import loss_of
from flowyard.rules.decision import has_persisted_result, revised
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State

Identity = tuple[str, str]
"""Task key, which has the hash of the task's code in it, and dynamic key: the same call in every attempt, if the flow
calls in the same order."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A call that completed in an earlier attempt, and whose value can still be had."""

    name: str
    """Of its task run, for people."""
    state: State[Any]
    fingerprint: str | None


class Earlier:
    """What earlier attempts left: task runs, and values that calls of this attempt use instead of being executed.

    A value is used by the call with the same identity and the same inputs, or else by another call of that task with
    the same inputs: a flow that submits in the order in which things complete gives its calls other numbers each time.
    Each value is used once in an attempt: two calls with equal inputs are two calls.
    """

    def __init__(
        self,
        runs: Iterable[TaskRun] = (),
        kept: Mapping[Identity, Kept] | None = None,
        *,
        compares_inputs: bool = True,
    ) -> None:
        self.runs: dict[Identity, TaskRun] = {(run.task_key, run.dynamic_key): run for run in runs}
        self.sources: dict[Identity, UUID] = {}
        """The task runs of the flow run that this one started from."""
        self._compares_inputs = compares_inputs
        self._new: dict[Identity, Kept] = dict(kept or {})
        self._kept: dict[Identity, Kept] = {}
        self._by_inputs: dict[tuple[str, str], list[Identity]] = {}
        self._claimed: set[Identity] = set()
        self._task_keys: set[str] = set()
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Let the values of the attempt that ended be used by the one that begins."""
        self._kept |= self._new
        self._new = {}
        self._claimed = set()
        self._by_inputs = {}
        self._task_keys = {identity[0] for identity in self._kept}
        for identity, kept in self._kept.items():
            if kept.fingerprint is not None:
                self._by_inputs.setdefault((identity[0], kept.fingerprint), []).append(identity)

    def keep(self, run: TaskRun, state: State[Any], fingerprint: str | None) -> None:
        """Note a call that completed, for the next attempt."""
        self._new[run.task_key, run.dynamic_key] = Kept(run.name, state, fingerprint)

    def forget(self, run: TaskRun) -> None:
        """Take `keep` back: the transaction of the call was rolled back."""
        self._new.pop((run.task_key, run.dynamic_key), None)

    @property
    def is_empty(self) -> bool:
        """Whether there is no value to use."""
        return not self._kept

    def knows(self, task_key: str) -> bool:
        """Say whether there are values of a task: its inputs are needed here then, to tell whether they changed."""
        return task_key in self._task_keys

    def claim(self, run: TaskRun, fingerprint: Fingerprint) -> tuple[Kept | None, str | None]:
        """Return the value that a call uses, or None and why the one of its identity does not count (None: no such)."""
        identity = (run.task_key, run.dynamic_key)
        own = self._kept.get(identity)
        if own is not None and not self._compares_inputs and identity not in self._claimed:
            return self._take(identity, own), None
        inputs = fingerprint.get()
        if inputs is None:
            return None, None if own is None else "its inputs cannot be hashed to tell whether they changed"
        candidates = self._by_inputs.get((run.task_key, inputs), ())
        for other in ([identity] if own is not None and own.fingerprint == inputs else []) + list(candidates):
            kept = self._kept[other]
            if other not in self._claimed:
                self._new[identity] = kept
                return self._take(other, kept), None
        if own is None:
            return None, None
        if own.fingerprint is None:
            return None, "its inputs cannot be hashed to tell whether they changed"
        return None, "its inputs are not those of the last attempt"

    def _take(self, identity: Identity, kept: Kept) -> Kept:
        self._claimed.add(identity)
        return kept


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

    def keep_for_retry(self, earlier: Earlier | None, run: TaskRun, *, is_subflow: bool = False) -> None:
        """Remember the hash, if a later attempt of the flow run can come back to this task run."""
        state = run.state
        if earlier is None or state is None or not state.is_completed() or not can_be_used(state, is_subflow):
            self._parameters = {}
            return
        # What was made on a cluster was hashed there: its inputs never came here.
        earlier.keep(run, state, getattr(state.data, "fingerprint", None) or self.get())


def can_be_used(state: State[Any], is_subflow: bool) -> bool:
    """Say whether the value of a Completed state can be had again: a persisted one, or a subflow's in this process."""
    return has_persisted_result(state) or (is_subflow and not isinstance(state.data, RecordedResult))


def reusable_state(earlier: Earlier | None, run: TaskRun, fingerprint: Fingerprint, log: RunLog) -> State[Any] | None:
    """Return the Completed state whose value a call uses, or None when it has to be executed.

    The state is that of the run itself, or one that the caller enters into it. A log line says why a value that the
    run's last attempt left does not count.
    """
    if earlier is None:
        return None
    # Nothing is hashed in a first attempt.
    kept, refusal = (None, None) if earlier.is_empty else earlier.claim(run, fingerprint)
    if kept is not None and (loss := loss_of(kept.state.data)) is not None:
        kept, refusal = None, loss
    if kept is not None:
        log.info("Task run '%s' is already completed; its persisted result is used", run.name)
        return kept.state
    if refusal is not None:
        log.info("Task run '%s' is executed again: %s", run.name, refusal)
    if run.state is not None and run.state.is_completed():
        # The rules keep a run whose result is persisted; this one does not count.
        run.state = revised(run.state, data=UnpersistedResult())
    return None


def affected_by(runs: Collection[TaskRun], task: str) -> set[Identity]:
    """Return the calls of a task, by its name or its key, and all that used what they made."""
    users: dict[str, list[TaskRun]] = {}
    for run in runs:
        for inputs in run.task_inputs.values():
            for used in inputs:
                if "id" in used:
                    users.setdefault(used["id"], []).append(run)
    found: dict[Identity, TaskRun] = {}
    waiting = [run for run in runs if task in (run.task_name, run.task_key)]
    while waiting:
        run = waiting.pop()
        if found.setdefault((run.task_key, run.dynamic_key), run) is run:
            waiting.extend(
                user for user in users.get(str(run.id), ()) if (user.task_key, user.dynamic_key) not in found
            )
    return set(found)
