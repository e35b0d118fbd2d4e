"""Going on with a flow run that another process began, or beginning one with what another run has done."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from typing_extensions import override

from flowyard.engine.replay import Earlier, Identity, Kept, affected_by
from flowyard.exceptions import ResultStorageFailed
from flowyard.filesystems.contract import ListedFiles
from flowyard.logging.loggers import get_logger
from flowyard.ports import ControlPlane
from flowyard.results.blocks import saved_id
from flowyard.results.commits import Commits
from flowyard.results.factory import ResultFactory
from flowyard.results.handles import ONLY_HERE, PersistedResult
from flowyard.results.read_ahead import MOST_BYTES, ReadAheadResult
from flowyard.results.records import StoredResult, stored_results
from flowyard.rules.decision import has_persisted_result
from flowyard.schemas.filters import FlowRunFilter, TaskRunFilter
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
        stored = _stored(results, self.source.id, kept)
        if self.from_task is not None:
            # Of what a call used that is not recorded, nobody knows: it may be what is to be made again.
            recorded = {(run.task_key, run.dynamic_key) for run in runs}
            stored = {identity: call for identity, call in stored.items() if identity in recorded}
        kept |= stored
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
            and ONLY_HERE not in (record := state.data.to_record())
        ):
            fingerprint = record.get("fingerprint")
            kept[run.task_key, run.dynamic_key] = Kept(run.name, state, fingerprint)
    return kept


def _stored(results: ResultFactory, flow_run_id: UUID, kept: Mapping[Identity, Kept]) -> dict[Identity, Kept]:
    """Return the calls whose value is there although the process died before their completion was recorded."""
    storage = results.storage
    if not isinstance(storage, ListedFiles):
        return {}
    commits = Commits(storage, results.signing_key)
    known = _Known(results, kept.values())
    found: dict[Identity, Kept] = {}
    listed = stored_results(storage, flow_run_id, results.signing_key, known=known, on_known=known.read_ahead)
    try:
        everything = sorted(listed, key=lambda stored: stored.header.created)
    except ResultStorageFailed as error:
        get_logger("recovery").warning("Only what was recorded is used again: %s", error)
        return {}
    for stored in everything:
        header = stored.header
        if header.task_key is None or header.dynamic_key is None or header.state_type != StateType.COMPLETED:
            continue
        if not commits.has(header.transaction):
            continue
        identity = header.task_key, header.dynamic_key
        call = _kept_as_stored(results, stored)
        before = found.get(identity) or kept.get(identity)
        if before is not None and before.state.timestamp > call.state.timestamp:
            continue
        if before is not None and before.fingerprint != call.fingerprint:
            # A further attempt executed the call of this number with other inputs. What was made of the first ones is
            # found by them: a flow that calls in the order of completion asks for it under another number.
            found[header.task_key, f"{header.dynamic_key} until {header.created}"] = before
        found[identity] = call
    return found


class _Known(Container[tuple[str, int | None]]):
    """The places of results whose states are recorded, as a listing of their storage has them."""

    def __init__(self, results: ResultFactory, kept: Iterable[Kept]) -> None:
        self._calls: dict[tuple[str | None, int | None], Kept] = {}
        for call in kept:
            record = call.state.data.to_record()
            self._calls[record.get("storage_key"), record.get("offset")] = call
        self._results = results
        self._keys: dict[str, str] = {}
        self._room = MOST_BYTES

    @override
    def __contains__(self, place: object) -> bool:
        key, offset = cast("tuple[str, int | None]", place)
        return (self._recorded(key), offset) in self._calls

    def read_ahead(self, key: str, offset: int, content: bytes) -> None:
        """Keep what a resume is about to ask for, while there is room."""
        if len(content) <= self._room:
            self._room -= len(content)
            state = self._calls[self._recorded(key), offset].state
            state.data = ReadAheadResult(state.data.to_record(), content)

    def _recorded(self, key: str) -> str:
        recorded = self._keys.get(key)
        if recorded is None:
            recorded = self._keys[key] = self._results.recorded_key(key)
        return recorded


def _kept_as_stored(results: ResultFactory, stored: StoredResult) -> Kept:
    header = stored.header
    assert header.dynamic_key is not None
    handle: PersistedResult[Any] = PersistedResult(
        storage=results.storage,
        storage_key=results.recorded_key(stored.key),
        # A flow that keeps nothing itself does not know the id of the block that its tasks keep theirs in.
        storage_block_id=results.storage_block_id or saved_id(results.storage),
        serializer_type=header.serializer["type"],
        cache_object=False,
        size=header.size,
        value_type=header.value_type,
        checksum=header.checksum,
        signing_key=results.signing_key,
        fingerprint=header.fingerprint,
        offset=stored.offset,
    )
    made = datetime.fromisoformat(header.created)
    return Kept(header.dynamic_key, State(StateType.COMPLETED, data=handle, timestamp=made), header.fingerprint)
