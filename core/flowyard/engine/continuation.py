"""Going on with a flow run that another process began, or beginning one with what another run has done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from flowyard.engine.replay import Earlier, Identity, Kept, affected_by
from flowyard.filesystems.folder import LocalFiles
from flowyard.ports import ControlPlane
from flowyard.results.commits import Commits
from flowyard.results.factory import ResultFactory
from flowyard.results.records import stored_results
from flowyard.rules.decision import has_persisted_result
from flowyard.schemas.filters import FlowRunFilter, TaskRunFilter
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType

_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a flow run starts from."""

    flow_run: FlowRun | None
    """The run that goes on; None for a new one, which only uses what `source` has done."""
    source: FlowRun
    from_task: str | None = None
    """The task whose calls, and all that used what they made, are executed again."""
    only_failed: bool = False
    """Calls that completed are used whatever their inputs are."""

    def earlier(self, control: ControlPlane, results: ResultFactory) -> Earlier:
        """Return what the source has done: one query, and one look into its folder of results."""
        runs = control.read_task_runs(TaskRunFilter(flow_run_ids=(self.source.id,)), limit=_ALL)
        kept = _kept(runs, results)
        kept = dict(_stored(results, self.source.id, kept)) | kept
        if self.from_task is not None:
            for identity in affected_by(runs, self.from_task):
                kept.pop(identity, None)
        earlier = Earlier(runs if self.flow_run is not None else (), kept, compares_inputs=not self.only_failed)
        earlier.sources = {(run.task_key, run.dynamic_key): run.id for run in runs}
        return earlier

    def of_subflow(self, control: ControlPlane, source_id: UUID) -> Continuation | None:
        """Return where a subflow starts from, given the task run that stood for it; None when it had not begun."""
        found = control.read_flow_runs(FlowRunFilter(parent_task_run_ids=(source_id,)), limit=1)
        if not found:
            return None
        goes_on = None if self.flow_run is None else found[0]
        return Continuation(goes_on, found[0], from_task=self.from_task, only_failed=self.only_failed)


def _kept(runs: Iterable[TaskRun], results: ResultFactory) -> dict[Identity, Kept]:
    """Return the calls whose completion and value are recorded, and whose transaction, if any, has committed."""
    kept: dict[Identity, Kept] = {}
    commits = Commits(results.storage, results.signing_key)
    for run in runs:
        state = run.state
        if (
            state is not None
            and state.is_completed()
            and has_persisted_result(state)
            and commits.has(state.state_details.transaction)
        ):
            fingerprint = state.data.to_record().get("fingerprint")
            kept[run.task_key, run.dynamic_key] = Kept(run.name, state, fingerprint)
    return kept


def _stored(results: ResultFactory, flow_run_id: UUID, kept: dict[Identity, Kept]) -> Iterable[tuple[Identity, Kept]]:
    """Yield the calls whose value is there although the process died before their completion was recorded."""
    if not isinstance(results.storage, LocalFiles):
        return
    commits = Commits(results.storage, results.signing_key)
    known = {kept_call.state.data.to_record().get("storage_key", "") for kept_call in kept.values()}
    for key, header in stored_results(results.storage, flow_run_id, results.signing_key, known=known):
        if header.task_key is None or header.dynamic_key is None or header.state_type != StateType.COMPLETED:
            continue
        if not commits.has(header.transaction):
            continue
        record = {
            "type": "reference",
            "storage_key": key,
            "serializer_type": header.serializer["type"],
            "fingerprint": header.fingerprint,
        }
        state = State(StateType.COMPLETED, data=RecordedResult(record))
        yield (header.task_key, header.dynamic_key), Kept(header.dynamic_key, state, header.fingerprint)
